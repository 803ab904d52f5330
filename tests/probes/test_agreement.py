"""Agreement: known values of alpha, and the disagreements that people have to settle."""

from __future__ import annotations

import pytest

from probes.verdicts import agreement


def labels(*rows):
    """One string per annotator ("a", "b", ...), a word per answer, "*" for none; answers count from 0."""
    found = {}
    for name, row in zip("abcdef", rows, strict=False):
        for answer, word in enumerate(row.split()):
            if word != "*":
                found.setdefault(answer, []).append({"id": len(found), "annotator": name, "kind": "label", "label": word})
    return found


# From K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): two coders with two values (A), two coders with
# five (B), four coders with gaps (C).
A = ("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
B = ("a a b b d c c c e d d a", "b a b b b c c c e d d d")
C = ("1 2 3 3 2 1 4 1 2 * * *", "1 2 3 3 2 2 4 1 2 5 * 3", "* 3 3 3 2 3 4 2 2 5 1 *", "1 2 3 3 2 4 4 1 2 5 1 *")


@pytest.mark.parametrize(("rows", "value", "answers", "people"), [(A, 0.095, 10, 2), (B, 0.692, 12, 2), (C, 0.743, 11, 4)])
def test_published_values_any_number_of_people_gaps_allowed(rows, value, answers, people):
    found = agreement.alpha(agreement.labels_by_annotator(labels(*rows)))
    assert (found.value, found.answers, found.people) == (pytest.approx(value, abs=5e-4), answers, people)


def test_agreed_is_the_share_of_equal_pairs():
    assert agreement.alpha(agreement.labels_by_annotator(labels("x y x", "x y y"))).agreed == pytest.approx(2 / 3)
    assert agreement.alpha(agreement.labels_by_annotator(labels("x", "x", "y"))).agreed == pytest.approx(1 / 3)


def test_where_alpha_is_not_defined_it_is_none():
    assert agreement.alpha(agreement.labels_by_annotator(labels("x x", "x x"))).value is None
    assert agreement.alpha(agreement.labels_by_annotator(labels("x x", "x x"))).agreed == 1.0
    assert agreement.alpha(agreement.labels_by_annotator(labels("x *", "* y"))) == agreement.Alpha(None, 0, 0, None)


def test_alpha_per_language_and_per_label():
    said = labels("formed formed forgotten confusion", "formed formed confusion forgotten")
    found = agreement.alphas(said, {0: "en", 1: "zh", 2: "zh", 3: "zh"})
    assert list(found) == ["overall", "lang en", "lang zh", "label confusion", "label forgotten", "label formed"]
    assert found["lang en"].value is None and found["lang zh"].value < found["overall"].value < 1
    assert found["label formed"].value == 1.0
    assert found["label confusion"].value < 0


def test_an_adjudication_is_no_voice():
    said = labels("x y", "x x")
    said[1].append({"id": 9, "annotator": "a", "kind": "adjudication", "label": "x"})
    assert agreement.labels_by_annotator(said)[1] == {"a": "y", "b": "x"}


def test_pairs_of_people_and_what_each_said():
    found = agreement.pair_annotators(labels("x x y *", "x y y *", "* * x z"))
    assert [(pair.first, pair.second, pair.answers) for pair in found] == [("a", "b", 3), ("a", "c", 1), ("b", "c", 1)]
    assert found[0].agreed == pytest.approx(2 / 3)
    assert found[0].confusion == {("x", "x"): 1, ("x", "y"): 1, ("y", "y"): 1}


def test_people_against_the_suggestions():
    said = labels("x x y", "x y y", "x y *")
    found = {pair.first: pair for pair in agreement.pair_with_suggestions(said, {0: "x", 1: "x"})}
    assert (found["a"].agreed, found["b"].agreed, found["c"].answers) == (1.0, 0.5, 2)
    assert found["people"].confusion == {("x", "x"): 1, ("y", "x"): 1}  # decided together: x, y, and y


def test_disagreements_come_most_divided_first_and_leave_when_settled():
    said = labels("x x y", "x x x", "y x z")
    found = agreement.disagreements(said)
    assert [(row["answer"], round(row["split"], 2)) for row in found] == [(2, 0.33), (0, 0.67)]
    assert found[0]["labels"] == {"a": "y", "b": "x", "c": "z"}
    said[2].append({"id": 9, "annotator": "d", "kind": "adjudication", "label": "x"})
    assert [row["answer"] for row in agreement.disagreements(said)] == [0]
    assert [row["settled"] for row in agreement.disagreements(said, settled=True)] == ["x", None]
