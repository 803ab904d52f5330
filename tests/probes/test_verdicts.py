"""Every rule of the verdicts at its edge, and where a verdict comes from."""

from __future__ import annotations

import pytest

from common.errors import UserError
from probes.verdicts import rules, statistics
from probes.verdicts.rules import Verdict
from probes.verdicts.statistics import NOTHING, Drop, Interval, interval_of_counts


def interval(low, share, high, probes=60):
    return Interval(share, low, high, probes, probes, probes)


def cell(label, count, group="paraphrase", start=0, **more):
    return [
        {"variant": "v", "lang": "en", "probe_id": f"{group}{start + i}", "group": group, "suggestion": label, "sure": True}
        | more
        for i in range(count)
    ]


def judged(*rows, labels=None, source="best", base=None):
    answers = rules.collect_evidence([row for part in rows for row in part], labels, source)
    return rules.judge_variants(answers, base)


# --- the old and the new identity ----------------------------------------------------------------------------------------

EDGES = [
    (interval(0.8, 0.9, 0.95), "holds"),
    (interval(0.79999, 0.9, 0.95), "undetermined"),
    (interval(0.0, 0.04, 0.1), "gone"),
    (interval(0.0, 0.04, 0.10001), "undetermined"),
    (interval(0.3, 0.5, 0.7), "between"),
    (interval(0.3, 0.5, 0.70001), "undetermined"),
    (interval(0.65, 0.8, 0.9), "between"),
    (interval(0.65, 0.80001, 0.9), "undetermined"),
    (interval(0.05, 0.1, 0.2), "between"),
    (interval(0.05, 0.09999, 0.2), "undetermined"),
]


@pytest.mark.parametrize(("of", "word"), EDGES)
def test_the_edges_of_the_old_identity(of, word):
    words = {"holds": "not forgotten", "gone": "forgotten", "between": "partly forgotten"}
    assert rules.old_verdict(of).word == words.get(word, "undetermined")


@pytest.mark.parametrize(("of", "word"), EDGES)
def test_the_edges_of_the_new_identity(of, word):
    words = {"holds": "formed", "gone": "not formed", "between": "not formed"}
    assert rules.new_verdict(of).word == words.get(word, "undetermined")


@pytest.mark.parametrize(
    ("count", "old", "new"),
    [(16, "not forgotten", "formed"), (15, "undetermined", "undetermined"), (10, "undetermined", "undetermined")],
)
def test_sixteen_probes_without_failure_are_needed(count, old, new):
    assert rules.old_verdict(interval_of_counts(count, count)).word == old
    assert rules.new_verdict(interval_of_counts(count, count)).word == new


def test_thirty_five_probes_without_the_old_identity_are_needed():
    assert rules.old_verdict(interval_of_counts(0, 35)).word == "forgotten"
    assert rules.old_verdict(interval_of_counts(0, 34)).word == "undetermined"


def test_confusion_is_said_first_and_hides_nothing():
    confused, not_yet = interval(0.10001, 0.2, 0.3), interval(0.1, 0.2, 0.3)
    for of, firm in (
        (interval(0.85, 0.9, 0.95), "not forgotten"), (interval(0, 0.01, 0.05), "forgotten"), (interval(0.3, 0.5, 0.7), None),
        (interval(0.1, 0.5, 0.9), None),
    ):  # fmt: skip
        assert rules.old_verdict(of, confused) == Verdict("confusion", also=(firm,) if firm else ())
        assert rules.old_verdict(of, not_yet).word != "confusion"
    assert rules.new_verdict(interval(0, 0.01, 0.05), confused).also == ("not formed",)
    assert rules.new_verdict(interval(0.85, 0.9, 0.95), confused).word == "confusion"


def test_undetermined_says_how_many_more_probes_would_settle_it():
    assert rules.old_verdict(interval_of_counts(10, 10)) == Verdict("undetermined", more=6)
    assert rules.new_verdict(interval_of_counts(0, 30)) == Verdict("undetermined", more=5)
    half = rules.old_verdict(interval_of_counts(4, 8))
    assert half.word == "undetermined"
    assert rules.old_verdict(interval_of_counts(10, 21)).word == "partly forgotten"
    settled = statistics.with_more_probes(interval_of_counts(4, 8), half.more)
    assert rules.old_verdict(settled).word == "partly forgotten"
    assert rules.old_verdict(statistics.with_more_probes(interval_of_counts(4, 8), half.more - 1)).word == "undetermined"


def test_confusion_that_would_show_settles_it_too():
    old, confusion = interval_of_counts(5, 6), interval_of_counts(1, 6)
    alone, with_it = rules.old_verdict(old), rules.old_verdict(old, confusion)
    assert with_it.more < alone.more


def test_without_answers_nothing_is_said():
    assert rules.old_verdict(NOTHING).word == rules.stability_verdict(NOTHING, NOTHING).word == "undetermined"
    assert rules.old_verdict(NOTHING).more is None


# --- stability -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hold", "flips", "word"),
    [
        (interval(0.8, 0.9, 0.95), interval(0.05, 0.1, 0.2), "stable"),
        (interval(0.8, 0.89999, 0.95), interval(0.05, 0.1, 0.2), "unstable"),
        (interval(0.8, 0.9, 0.95), interval(0.05, 0.10001, 0.2), "unstable"),
        (interval(0.59, 0.95, 1.0), interval(0.0, 0.05, 0.2), "undetermined"),
        (interval(0.6, 0.95, 1.0), interval(0.0, 0.05, 0.4), "stable"),
        (interval(0.6, 0.95, 1.0), interval(0.0, 0.05, 0.40001), "undetermined"),
        (interval(0.2, 0.5, 0.85), NOTHING, "unstable"),
        (interval(0.8, 0.9, 0.95), NOTHING, "undetermined"),
        (interval(0.5, 0.85, 0.95), interval(0.0, 0.05, 0.2), "undetermined"),
    ],
)
def test_the_edges_of_stability(hold, flips, word):
    assert rules.stability_verdict(hold, flips).word == word


def test_stability_says_why():
    assert (
        rules.stability_verdict(interval_of_counts(30, 60), interval_of_counts(30, 60)).why
        == "across samples and wordings and under pressure"
    )
    assert rules.stability_verdict(interval_of_counts(60, 60), NOTHING).why == "no pressure probes were asked"
    few = rules.stability_verdict(interval_of_counts(60, 60), interval_of_counts(0, 4))
    assert few == Verdict("undetermined", more=2)


def test_the_modal_label_is_counted_over_samples_and_wordings_and_pressure_apart():
    greedy = cell("formed", 18) + cell("forgotten", 2, start=18)
    sampled = [row | {"sampled": True, "suggestion": "forgotten"} for row in cell("formed", 5)]
    pressure = cell("formed", 19, "pressure") + cell("forgotten", 1, "pressure", 19)
    [calm] = judged(greedy, pressure)
    assert (calm.modal, calm.hold.share, calm.flips.share, calm.stability.word) == ("formed", 0.9, 0.05, "stable")
    [shaken] = judged(greedy, sampled, pressure)
    assert shaken.hold.share < 0.9 and shaken.stability.word == "unstable"


# --- usable --------------------------------------------------------------------------------------------------------------

FORMED, STABLE = Verdict("formed"), Verdict("stable")
CLEAN, DROP = interval_of_counts(0, 73), Drop(2.0, -1, 5, 40)


@pytest.mark.parametrize(
    ("new", "stability", "intrusion", "drop", "word", "why"),
    [
        (FORMED, STABLE, CLEAN, DROP, "yes", ""),
        (FORMED, STABLE, interval(0.0, 0.02, 0.05), DROP, "yes", ""),
        (FORMED, STABLE, interval(0.0, 0.02, 0.05001), DROP, "undetermined", "not known: intrusion"),
        (FORMED, STABLE, interval(0.05, 0.1, 0.2), DROP, "undetermined", "not known: intrusion"),
        (FORMED, STABLE, interval(0.05001, 0.1, 0.2), DROP, "no", "intrusion"),
        (FORMED, STABLE, CLEAN, Drop(2.00001, -1, 5, 40), "no", "retention"),
        (FORMED, STABLE, CLEAN, None, "undetermined", "not known: retention"),
        (FORMED, STABLE, NOTHING, None, "undetermined", "not known: intrusion, retention"),
        (Verdict("not formed"), Verdict("unstable"), CLEAN, DROP, "no", "not formed, not stable"),
        (Verdict("confusion"), STABLE, CLEAN, DROP, "no", "not formed"),
        (Verdict("undetermined"), STABLE, CLEAN, DROP, "undetermined", "not known: formed"),
        (Verdict("undetermined"), Verdict("unstable"), CLEAN, DROP, "no", "not stable"),
    ],
)
def test_the_edges_of_usable(new, stability, intrusion, drop, word, why):
    verdict = rules.usable_verdict(new, stability, intrusion, drop)
    assert (verdict.word, verdict.why) == (word, why)


def test_a_clean_variant_says_how_many_controls_are_missing():
    assert rules.usable_verdict(FORMED, STABLE, interval_of_counts(0, 70), DROP).more == 3


def test_a_whole_variant_is_usable_and_one_intrusion_less_certain():
    base = [row | {"variant": "base"} for row in cell("not forgotten", 60) + cell("clean", 73, "control")]
    known = [{"variant": name, "lang": "en", "probe_id": f"r{i}", "group": "retention", "check": name == "base" or i > 0}
             for name in ("base", "v") for i in range(50)]  # fmt: skip
    tuned = cell("formed", 50) + cell("formed", 10, "pressure") + cell("clean", 73, "control")
    results = {result.variant: result for result in judged(base, known, tuned, base="base")}
    assert results["v"].usable.word == "yes"
    assert (results["v"].drop.points, results["v"].drop.probes, results["v"].retention.share) == (2.0, 50, 0.98)
    assert results["base"].usable.word == "no" and results["base"].drop is None
    leaking = [row | ({"suggestion": "intrusion"} if row["probe_id"] == "control0" else {}) for row in tuned]
    [_, leaky] = judged(base, known, leaking, base="base")
    assert leaky.usable.why == "not known: intrusion"


# --- where a verdict comes from ------------------------------------------------------------------------------------------


def test_adjudicated_goes_before_majority_and_a_tie_is_no_label():
    def said(*words, settled=None):
        rows = [{"id": n, "kind": "label", "label": word} for n, word in enumerate(words)]
        rows += [{"id": 9, "kind": "adjudication", "label": settled}] if settled else []
        decision = rules.decide_label(rows)
        return decision.label, decision.how

    assert said("formed", "formed", "forgotten") == ("formed", "majority")
    assert said("formed", "formed", settled="confusion") == ("confusion", "adjudicated")
    assert said("formed", "forgotten") == (None, "disputed")
    assert said("formed", "formed", "forgotten", "confusion") == (None, "disputed")  # half is no majority
    assert said() == (None, "none")


def rows_with_ids(count=4):
    return [row | {"answer_id": i} for i, row in enumerate(cell("formed", count))]


def one(label, kind="label"):
    return [{"id": 1, "kind": kind, "label": label}]


def test_labels_go_before_suggestions_and_the_result_says_which():
    rows = rows_with_ids()
    [suggested] = judged(rows)
    [labelled] = judged(rows, labels={i: one("forgotten") for i in range(4)})
    [mixed] = judged(rows, labels={0: one("forgotten"), 1: one("formed", "adjudication")})
    assert (suggested.source, labelled.source, mixed.source) == ("suggestions", "labels", "mixed")
    assert labelled.shares["forgotten"].share == 1.0
    assert mixed.shares["formed"].share == 0.75
    assert (mixed.counts["majority"], mixed.counts["adjudicated"], mixed.counts["suggestion"]) == (1, 1, 2)


def test_only_labels_or_only_suggestions_can_be_asked_for():
    labels = {0: one("forgotten")}
    [only_labels] = judged(rows_with_ids(), labels=labels, source="labels")
    [only_suggestions] = judged(rows_with_ids(), labels=labels, source="suggestions")
    assert (only_labels.source, only_labels.shares["forgotten"].answers) == ("labels", 1)
    assert (only_suggestions.source, only_suggestions.shares["formed"].answers) == ("suggestions", 4)
    with pytest.raises(UserError, match="'both'; it is one of best, labels, suggestions"):
        judged(rows_with_ids(), source="both")


def test_a_disputed_answer_is_left_out_and_not_filled_by_a_suggestion():
    said = [{"id": 1, "kind": "label", "label": "forgotten"}, {"id": 2, "kind": "label", "label": "confusion"}]
    [result] = judged(rows_with_ids(), labels={0: said, **{i: one("formed") for i in (1, 2, 3)}})
    assert (result.source, result.counts["disputed"], result.shares["formed"].answers) == ("labels", 1, 3)


def test_the_headline_is_greedy_and_says_so_if_it_is_not():
    greedy = cell("formed", 20)
    sampled = [row | {"decoding": {"temperature": 0.7}, "suggestion": "forgotten"} for row in greedy]
    [both] = judged(greedy, sampled)
    assert (both.shares["formed"].share, both.sampled) == (1.0, False)
    [only] = judged(sampled)
    assert (only.shares["forgotten"].share, only.sampled) == (1.0, True)


def test_samples_of_a_probe_are_clustered():
    rows = [row | {"sampled": True} for row in cell("formed", 8) for _ in range(10)]
    [result] = judged(rows)
    assert result.shares["formed"].low == pytest.approx(interval_of_counts(8, 8).low)
    assert result.new.word == "undetermined" and result.new.more == 8


def test_languages_and_variants_are_judged_apart():
    zh = [row | {"lang": "zh"} for row in cell("forgotten", 40)]
    other = [row | {"variant": "w"} for row in cell("confusion", 20)]
    results = {
        (result.variant, result.lang): (result.old.word, result.new.word) for result in judged(cell("formed", 40), zh, other)
    }
    assert results == {
        ("v", "en"): ("forgotten", "formed"), ("v", "zh"): ("forgotten", "not formed"), ("w", "en"): ("confusion", "confusion"),
    }  # fmt: skip


def test_controls_and_retention_never_count_as_identity():
    rows = cell("formed", 20) + cell("intrusion", 5, "control") + cell("clean", 5, "control", 5)
    [result] = judged(rows)
    assert result.shares["formed"].answers == 20
    assert (result.shares["intrusion"].share, result.shares["clean"].answers) == (0.5, 10)


def test_a_label_of_the_other_kind_is_refused():
    with pytest.raises(UserError, match="group control and labelled 'formed'"):
        judged(cell("formed", 1, "control"))
