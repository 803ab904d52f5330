"""The board: Bradley-Terry strengths against statsmodels and against strengths that are known, and when votes are not enough."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.special import expit

from probes.verdicts import statistics, strengths
from probes.verdicts.strengths import Contest, fit_strengths


def votes(won: dict[tuple[str, str], list[float]]) -> list[Contest]:
    """Each score on a question of its own."""
    return [Contest(*pair, f"{pair} {n}", score) for pair, scores in won.items() for n, score in enumerate(scores)]


def test_strengths_are_those_of_a_logistic_regression_of_who_won():
    """statsmodels, the same votes and the same added ties, one question each: the same strengths and the same variance."""
    draw = np.random.default_rng(3)
    true = {"a": 0.9, "b": 0.1, "c": -1.0}
    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    won = {pair: [float(draw.random() < expit(true[pair[0]] - true[pair[1]])) for _ in range(40)] for pair in pairs}
    design = {("a", "b"): (1, -1), ("a", "c"): (1, 0), ("b", "c"): (0, 1)}  # c is the reference
    rows = [(design[pair], score, 1.0) for pair in pairs for score in won[pair]] + [(design[pair], 0.5, 2 / 3) for pair in pairs]
    x, score, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    fit = sm.GLM(score, x, family=sm.families.Binomial(), var_weights=weight).fit()
    a, b = fit.params
    contrast = np.array([1.0, -0.5])  # a against the mean of b and c
    ours = {one.variant: one for one in fit_strengths(votes(won))}
    assert ours["a"].strength == pytest.approx(a - b / 2, abs=1e-5)
    assert ours["c"].strength == pytest.approx(-(a + b) / 2, abs=1e-5)
    reach = (ours["a"].high - ours["a"].low) / 2
    model = statistics.Z * math.sqrt(contrast @ fit.cov_params() @ contrast)
    assert model - 1e-6 <= reach < 1.3 * model  # the sandwich may say more, never less
    assert [one.variant for one in fit_strengths(votes(won))] == ["a", "b", "c"]


def true_strengths(true: np.ndarray) -> list[float]:
    """Against the mean of the others, as endless votes would have them on answers that are better or worse by a random amount."""
    noise = np.random.default_rng(5).normal(0, math.sqrt(2.0), 400_000)
    pairs = [(i, j) for i in range(len(true)) for j in range(i + 1, len(true))]
    design = np.array([[(n == i) - (n == j) for n in range(len(true) - 1)] for i, j in pairs], dtype=float)
    shares = np.array([expit(true[i] - true[j] + noise).mean() for i, j in pairs])
    whole = np.append(sm.GLM(shares, design, family=sm.families.Binomial()).fit().params, 0.0)
    return [float(value - (whole.sum() - value) / (len(true) - 1)) for value in whole]


def test_the_interval_holds_what_is_true_although_answers_stand_in_several_pairs():
    """Four variants, each of 40 questions judged in all six pairs: whose answer is bad there loses three times, which six votes
    on six questions would not say. Of 95 % intervals at least 93 % have to hold the true strength."""
    draw = np.random.default_rng(11)
    true = np.array([0.8, 0.3, -0.2, -0.9])
    wanted, held = true_strengths(true), []
    for _ in range(100):
        contests = []
        for question in range(40):
            quality = true + draw.normal(0, 1.0, 4)
            for i, j in combinations(range(4), 2):
                contests.append(Contest(f"{i}", f"{j}", f"{question}", float(draw.random() < expit(quality[i] - quality[j]))))
        held += [one.low <= wanted[int(one.variant)] <= one.high for one in fit_strengths(contests)]
    assert 0.93 <= np.mean(held) < 1


def test_twenty_people_on_one_question_are_one_question():
    crowd = [Contest("a", "b", "Q", 1.0)] * 20
    [a, b] = fit_strengths(crowd)
    [alone, _] = fit_strengths([Contest("a", "b", "Q", 1.0)])
    assert (a.strength, a.low) == pytest.approx((alone.strength, alone.low)) and not a.enough
    assert a.strength == pytest.approx(-b.strength) and a.strength == pytest.approx(math.log(3))  # 1.5 of 2, Firth's
    assert a.more and a.more > 3


def test_who_always_wins_is_strong_and_not_infinitely():
    [first, second] = fit_strengths(votes({("a", "b"): [1.0] * 30}))
    assert first.variant == "a" and first.enough and math.isfinite(first.strength) and first.chance_low > 0.75
    assert (first.place, second.place) == (1, 2)


def test_ties_are_half_a_win_and_share_a_place():
    [one, two] = fit_strengths(votes({("a", "b"): [0.5] * 40 + [1.0, 0.0] * 5}))
    assert one.strength == pytest.approx(0, abs=1e-6) and (one.place, two.place) == (1, 1)
    assert one.enough and one.chance == pytest.approx(0.5)


def test_few_votes_have_no_place_and_say_what_is_missing():
    found = fit_strengths(votes({("a", "b"): [1.0, 0.0, 1.0]}))
    assert not any(one.enough for one in found) and [one.place for one in found] == [None, None]
    [missing] = {one.more for one in found}
    grown = fit_strengths(votes({("a", "b"): ([1.0, 0.0, 1.0] * missing)[: 3 + missing]}))
    assert all(one.enough for one in grown)


def test_who_was_compared_with_none_of_the_others_is_on_the_board_without_a_strength():
    found = fit_strengths(votes({("a", "b"): [1.0, 0.0] * 20, ("b", "c"): [1.0] * 20, ("x", "y"): [1.0]}))
    assert [(one.variant, one.enough, one.more) for one in found[-2:]] == [("x", False, None), ("y", False, None)]
    assert {one.variant for one in found[:3]} == {"a", "b", "c"} and fit_strengths([]) == []
    assert strengths.WIDEST == 0.4
