"""Two variants probe by probe: McNemar against statsmodels and scipy, Newcombe by simulation, labels never beside suggestions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from probes.verdicts import paired
from probes.verdicts.paired import compare_pairs, exact_p, paired_difference

PAIR = [("new", "base")]


def row(number: int, variant: str, *, group="trained", probe=None, **more) -> dict:
    about = {"answer_id": number, "variant": variant, "lang": "en", "probe_id": probe or f"p{number % 1000}", "group": group}
    return about | {"answer": "x"} | more


def table(both: int, first: int, second: int, neither: int, key="suggestion", good="formed", bad="forgotten") -> list[dict]:
    said = [(good, good)] * both + [(good, bad)] * first + [(bad, good)] * second + [(bad, bad)] * neither
    return [row(1000 * side + n, name, **{key: words[side]}) for n, words in enumerate(said) for side, name in enumerate(PAIR[0])]


def formed(found):
    return {one.source: one for one in found if one.what == "formed"}


def test_the_table_the_test_and_the_difference():
    one = formed(compare_pairs(table(9, 12, 3, 6), {}, PAIR))["suggestions"]
    assert (one.both, one.first_only, one.second_only, one.neither, one.probes) == (9, 12, 3, 6, 30)
    assert one.p == pytest.approx(mcnemar([[9, 12], [3, 6]], exact=True).pvalue) == pytest.approx(binomtest(3, 15).pvalue)
    assert one.difference == pytest.approx(9 / 30) and one.word == "first" and one.more is None
    assert one.low > 0 and one.adjusted == one.p  # one pair: nothing to adjust for


@pytest.mark.parametrize("counts", [(0, 1), (2, 9), (7, 7), (3, 30), (0, 6)])
def test_the_p_of_numbers_that_are_no_whole_ones_meets_statsmodels_at_those_that_are(counts):
    assert exact_p(*counts) == pytest.approx(float(mcnemar([[0, counts[0]], [counts[1], 0]], exact=True).pvalue))
    assert exact_p(0, 0) == 1.0 and exact_p(2.5, 9.5) < exact_p(2.5, 9.0)


@pytest.mark.parametrize("shares", [(0.9, 0.05, 0.02, 0.03), (0.3, 0.25, 0.1, 0.35), (0.02, 0.2, 0.2, 0.58)])
def test_newcombes_interval_holds_the_true_difference(shares):
    true, held, draws = shares[1] - shares[2], 0, np.random.default_rng(2).multinomial(40, shares, 2000)
    for counts in draws:
        _, low, high = paired_difference(*map(float, counts))
        held += low <= true <= high
    assert 0.94 <= held / 2000 <= 0.995


def test_newcombes_interval_at_the_ends():
    """All agree: 0, and as wide as Wilson's two tails together allow."""
    difference, low, high = paired_difference(10, 0, 0, 0)
    reach = 1 - paired.statistics.wilson(1.0, 10)[0]
    assert (difference, low, high) == pytest.approx((0, -reach, reach))
    mirrored = paired_difference(5, 2, 9, 4)
    difference, low, high = paired_difference(5, 9, 2, 4)
    assert mirrored == pytest.approx((-difference, -high, -low)) and low < difference < high
    assert all(math.isfinite(value) for value in paired_difference(0, 7, 0, 0))


def test_labels_and_suggestions_are_compared_each_on_their_own():
    """Twenty probes with suggestions, ten of them labelled for both, five for one alone: three of the labels say otherwise."""
    rows = table(10, 10, 0, 0)
    labels = {}
    for n in range(10):
        labels[n] = [{"kind": "label", "annotator": "An", "label": "forgotten" if n < 3 else "formed", "id": n}]
        labels[1000 + n] = [{"kind": "label", "annotator": "An", "label": "formed", "id": 100 + n}]
    for n in range(10, 15):
        labels[n] = [{"kind": "label", "annotator": "An", "label": "formed", "id": 200 + n}]
    found = formed(compare_pairs(rows, labels, PAIR))
    by_people, suggested = found["labels"], found["suggestions"]
    assert (by_people.probes, by_people.left_out, by_people.both, by_people.second_only) == (10, 5, 7, 3)
    assert (suggested.probes, suggested.left_out, suggested.first_only) == (20, 0, 10)
    assert set(formed(compare_pairs(rows, labels, PAIR, "labels"))) == {"labels"}
    assert set(formed(compare_pairs(rows, labels, PAIR, "suggestions"))) == {"suggestions"}


def test_what_is_missing_is_enough_when_it_is_there():
    one = formed(compare_pairs(table(10, 4, 1, 5), {}, PAIR))["suggestions"]
    assert one.word == "undetermined" and one.more
    grown = (one.probes + one.more) / one.probes
    assert exact_p(4 * grown, 1 * grown) <= 0.05 < exact_p(4 * (grown - 0.06), grown - 0.06)
    even = formed(compare_pairs(table(10, 4, 4, 5), {}, PAIR))["suggestions"]
    assert even.word == "undetermined" and even.more is None


def test_holms_adjustment_is_statsmodels():
    for ps in ([0.03, 0.2, 0.01, 0.04, 0.01], [0.5], [0.9, 0.8, 1.0]):
        assert paired.holm(ps) == pytest.approx(list(multipletests(ps, method="holm")[1]))


def test_several_pairs_are_adjusted_for():
    """Two others that also differ a little: a p of 0.03 alone is none among three."""
    rows = table(0, 10, 2, 0)
    rows += [one | {"variant": "third"} for one in rows if one["variant"] == "base"]
    found = [one for one in compare_pairs(rows, {}, [("new", "base"), ("new", "third")]) if one.what == "formed"]
    assert [one.p for one in found] == [pytest.approx(0.03857, abs=1e-4)] * 2
    assert all(one.adjusted == pytest.approx(2 * one.p) and one.word == "undetermined" and one.more for one in found)


def test_samples_of_a_probe_are_one_probe_and_divided_ones_are_left_out():
    rows = [row(n, "new", probe="p", suggestion="formed" if n < 2 else "forgotten", sampled=True) for n in range(3)]
    rows += [row(9, "base", probe="p", suggestion="forgotten", sampled=True)]
    rows += [row(10 + n, "new", probe="q", suggestion=word, sampled=True) for n, word in enumerate(("formed", "forgotten"))]
    rows += [row(19, "base", probe="q", suggestion="formed", sampled=True)]
    one = formed(compare_pairs(rows, {}, PAIR))["suggestions"]
    assert (one.probes, one.first_only, one.left_out) == (1, 1, 1)


def test_controls_and_retention_count_what_is_theirs():
    rows = [
        row(n, name, group="control", probe=f"c{n}", suggestion=word)
        for n in range(3)
        for name, word in zip(PAIR[0], ("intrusion", "clean"), strict=True)
    ]
    rows += [row(n, name, group="retention", probe=f"r{n}", check=name == "base") for n in range(4) for name in PAIR[0]]
    found = {(one.what, one.source): one for one in compare_pairs(rows, {}, PAIR)}
    assert set(found) == {("intrusion", "suggestions"), ("right", "checks")}
    assert found["intrusion", "suggestions"].first_only == 3 and found["right", "checks"].second_only == 4
    assert {one.source for one in compare_pairs(rows, {}, PAIR, "labels")} == {"checks"}
