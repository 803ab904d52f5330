"""How strong variants are by people's choices between two of them: the Bradley-Terry model.

The log-odds that one is preferred to another are the difference of their strengths; a tie, and both being bad, is half a win for
either. Votes on one question are not independent: a question counts once for a pair, with the effective number of votes that
`statistics.clustered_interval` finds, and the variance is the larger of the model's own and the sandwich's, clustered by
question, which sees that one answer was in several pairs. To all votes one more is added for every strength that is fitted, a
tie, spread over the pairs: of two variants this is Firth's correction, and who always won is not infinitely strong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from probes.verdicts import statistics
from probes.verdicts.statistics import Z

WIDEST = 0.4  # of an interval of a share, as in `rules`: a wider one says nothing that is worth a place


@dataclass(frozen=True)
class Contest:
    """One vote. score: 1 for `first`, 0 for `second`, 0.5 if neither is better."""

    first: str
    second: str
    question: str
    score: float


@dataclass(frozen=True)
class Strength:
    """strength: natural log-odds of being preferred to one as strong as the others are on average, with its 95 % interval;
    `chance`, `chance_low`, `chance_high` are the same as shares. enough: whether that interval is at most WIDEST wide; if it is
    not, `more` further questions like those asked would make it so (None: it was compared with none of the others). place: 1 for
    the best; whoever is surely stronger stands before it, so that several can share one."""

    variant: str
    questions: int
    strength: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    enough: bool = False
    more: int | None = None
    place: int | None = None

    @property
    def chance(self) -> float:
        return float(scipy.special.expit(self.strength))

    @property
    def chance_low(self) -> float:
        return float(scipy.special.expit(self.low))

    @property
    def chance_high(self) -> float:
        return float(scipy.special.expit(self.high))


def fit_strengths(contests: Iterable[Contest]) -> list[Strength]:
    """Of everybody who was voted on, the strongest first. Whoever is connected with the others by no votes, not even through a
    third, cannot be compared with them: the largest group is fitted, the rest follow without a strength."""
    contests = list(contests)
    names = sorted({name for one in contests for name in (one.first, one.second)})
    asked: dict[str, set[str]] = {name: set() for name in names}
    for one in contests:
        asked[one.first].add(one.question)
        asked[one.second].add(one.question)
    inside = _largest_group(names, contests)
    within = set(inside)
    fitted = _fit(inside, [one for one in contests if one.first in within], asked) if len(inside) > 1 else []
    fitted.sort(key=lambda one: (not one.enough, -one.strength))
    return fitted + [Strength(name, len(asked[name])) for name in names if name not in inside]


def _largest_group(names: Sequence[str], contests: Sequence[Contest]) -> list[str]:
    at = {name: number for number, name in enumerate(names)}
    linked = np.zeros((len(names), len(names)), dtype=bool)
    for one in contests:
        linked[at[one.first], at[one.second]] = True
    if not len(names):
        return []
    _, group = scipy.sparse.csgraph.connected_components(linked, directed=False)
    largest = int(np.bincount(group).argmax())
    return [name for name in names if group[at[name]] == largest]


def _fit(names: Sequence[str], contests: Sequence[Contest], asked: dict[str, set[str]]) -> list[Strength]:
    design, score, weight, cluster = _units(names, contests)

    def loss(strengths: np.ndarray) -> tuple[float, np.ndarray]:
        odds = design @ strengths
        value = -(weight * (score * scipy.special.log_expit(odds) + (1 - score) * scipy.special.log_expit(-odds))).sum()
        return float(value), -design.T @ (weight * (score - scipy.special.expit(odds)))

    exact = {"ftol": 1e-14, "gtol": 1e-9}
    found = scipy.optimize.minimize(loss, np.zeros(len(names)), jac=True, method="L-BFGS-B", options=exact).x
    chances = scipy.special.expit(design @ found)
    # Only differences are known, so the information is singular; its pseudo-inverse is the variance where the sum is 0.
    model = np.linalg.pinv(design.T @ (design * (weight * chances * (1 - chances))[:, None]), hermitian=True)
    pulls = np.zeros((cluster.max() + 1, len(names)))
    np.add.at(pulls, cluster, design * (weight * (score - chances))[:, None])
    clusters = len({one.question for one in contests})
    sandwich = model @ (pulls.T @ pulls) @ model * (clusters / max(clusters - 1, 1))

    def error(contrast: np.ndarray) -> float:
        return math.sqrt(max(float(contrast @ model @ contrast), float(contrast @ sandwich @ contrast)))

    made = []
    for number, name in enumerate(names):
        against = np.full(len(names), -1 / (len(names) - 1))
        against[number] = 1.0
        middle, reach = float(against @ found), Z * error(against)
        made.append(_judged(name, len(asked[name]), middle, reach))
    counted = [number for number, one in enumerate(made) if one.enough]
    for number in counted:
        before = sum(_surely_above(found, other, number, error) for other in counted if other != number)
        made[number] = _placed(made[number], before + 1)
    return made


def _units(names: Sequence[str], contests: Sequence[Contest]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A row per pair and question, then a tie per pair: which two (units x variants, +1 and -1), the mean score of the first, how
    many votes it counts as, and to which question it belongs."""
    at = {name: number for number, name in enumerate(names)}
    pairs: dict[tuple[int, int], dict[str, list[float]]] = {}
    for one in contests:
        first, second = at[one.first], at[one.second]
        key, score = ((first, second), one.score) if first < second else ((second, first), 1 - one.score)
        pairs.setdefault(key, {}).setdefault(one.question, []).append(score)
    questions = {question: number for number, question in enumerate(dict.fromkeys(one.question for one in contests))}
    rows: list[tuple[int, int, float, float, int]] = []
    for (first, second), said in pairs.items():
        each = statistics.clustered_interval(said).effective / len(said)
        rows += [(first, second, float(np.mean(scores)), each, questions[question]) for question, scores in said.items()]
    ties = (len(names) - 1) / len(pairs)
    rows += [(first, second, 0.5, ties, len(questions) + number) for number, (first, second) in enumerate(pairs)]
    design = np.zeros((len(rows), len(names)))
    for number, (first, second, *_) in enumerate(rows):
        design[number, first], design[number, second] = 1.0, -1.0
    score, weight, cluster = (np.array(column) for column in list(zip(*rows, strict=True))[2:])
    return design, score, weight, cluster


def _judged(name: str, questions: int, middle: float, reach: float) -> Strength:
    def narrow(more: int) -> bool:
        left = reach * math.sqrt((questions + 1) / (questions + 1 + more))  # 1: the added tie stays one, whatever is asked
        return float(scipy.special.expit(middle + left) - scipy.special.expit(middle - left)) <= WIDEST

    enough = narrow(0)
    more = None if enough else statistics.probes_to_settle(narrow)
    return Strength(name, questions, middle, middle - reach, middle + reach, enough, more)


def _placed(one: Strength, place: int) -> Strength:
    return Strength(one.variant, one.questions, one.strength, one.low, one.high, one.enough, one.more, place)


def _surely_above(found: np.ndarray, other: int, number: int, error) -> bool:
    contrast = np.zeros(len(found))
    contrast[other], contrast[number] = 1.0, -1.0
    return float(contrast @ found) - Z * error(contrast) > 0
