"""A curve through crossed mixes: whether it is the count of identity samples that decides or their share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from experiments.outcome import Shares
from probes.verdicts import thresholds

DRAWS = 400
LEAST_MIXES = 4
COUNT, SHARE, BETWEEN, ALIKE, NOT_CROSSED = "count", "share", "between", "cannot be told apart", "not crossed"
BEYOND_SHARE, BEYOND_COUNT = "beyond the share", "beyond the count"


@dataclass(frozen=True)
class Mix:
    """One run of a mix: count identity rows beside `background` general ones."""

    count: int
    background: int
    seed: int
    shares: Shares


@dataclass(frozen=True)
class Deciding:
    """The log-odds are fitted as a + b (ln count - power ln rows), rows all of them: power 0 says that the count decides, 1 that
    the share does. low, high: its 95 % interval. word: count or share if the interval holds that and not the other, between if
    it holds neither and lies between them, beyond the one or the other if it lies outside, else that they cannot be told apart.
    gain: how much better the count alone explains the answers than the share alone, in deviance per answer (both have two
    parameters), with its interval; single: one run per mix, so that nothing is known of what another seed would change."""

    word: str
    power: float = math.nan
    low: float = -math.inf
    high: float = math.inf
    gain: float = math.nan
    gain_low: float = -math.inf
    gain_high: float = math.inf
    mixes: int = 0
    runs: int = 0
    single: bool = False


def count_or_share(mixes: Iterable[Mix], draws: int = DRAWS, seed: int = 0) -> Deciding:
    """Which of the two decides, over mixes of several counts with several backgrounds. The interval is a percentile bootstrap
    over the seeds of each mix, of which one fewer is drawn than there are (else few seeds would seem to vary too little: Rao and
    Wu 1988), then over probes, the same for all mixes."""
    runs = [one for one in mixes if one.count > 0]
    crossed = sorted({(one.count, one.background) for one in runs})
    if len(crossed) < LEAST_MIXES or not _tells_apart(crossed):
        return Deciding(NOT_CROSSED, mixes=len(crossed), runs=len(runs))
    probes = sorted({probe for one in runs for probe in one.shares})
    table = np.array([[one.shares.get(probe, np.nan) for probe in probes] for one in runs])
    design = np.array([[1.0, math.log(one.count), math.log(one.count + one.background)] for one in runs])
    of_mix = [np.flatnonzero([(one.count, one.background) == mix for one in runs]) for mix in crossed]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        rows = np.concatenate([rng.choice(those, max(1, len(those) - 1)) for those in of_mix])
        drawn.append(_compare(design[rows], table[np.ix_(rows, rng.integers(0, len(probes), len(probes)))]))
    powers = [power for pair, _ in drawn for power in pair]
    (power, other), gain = _compare(design, table)
    power = power if power == other else math.nan
    low, high = thresholds.percentiles(powers)
    gain_low, gain_high = thresholds.percentiles([gain for _, gain in drawn])
    return Deciding(
        _word(low, high), power, low, high, gain, gain_low, gain_high, len(crossed), len(runs), len(runs) == len(crossed)
    )  # fmt: skip


def _tells_apart(crossed: Sequence[tuple[int, int]]) -> bool:
    logs = np.log([[count, count + background] for count, background in crossed])
    spread = logs - logs.mean(axis=0)
    # Both must vary, and not together: where they do, any power fits alike.
    return bool(np.linalg.svd(spread, compute_uv=False)[1] > 0.1 * math.sqrt(len(crossed)))


def _word(low: float, high: float) -> str:
    holds = {COUNT: low <= 0 <= high, SHARE: low <= 1 <= high}
    if holds[COUNT] != holds[SHARE]:
        return COUNT if holds[COUNT] else SHARE
    if low > 1:  # each general row takes away more than its part of the mix
        return BEYOND_SHARE
    if high < 0:
        return BEYOND_COUNT
    return BETWEEN if not holds[COUNT] and low > 0 and high < 1 else ALIKE


def _compare(design: np.ndarray, table: np.ndarray) -> tuple[tuple[float, float], float]:
    """((power, power), deviance per answer by which the count is better). A fit in which more samples help not at all says
    nothing of the power: it counts as both extremes."""
    there = ~np.isnan(table)
    answers = there.sum(axis=1)
    hits = np.where(there, table, 0.0).sum(axis=1)
    both, _ = _fit(design, hits, answers)
    _, by_count = _fit(design[:, :2], hits, answers)
    _, by_share = _fit(np.column_stack([design[:, 0], design[:, 1] - design[:, 2]]), hits, answers)
    gain = (by_share - by_count) / answers.sum()
    # where all answer alike, what is left of the slope is rounding
    told = both[1] > 0 and np.ptp((hits + 0.5) / (answers + 1)) > 1e-9
    powers = (-both[2] / both[1],) * 2 if told else (-math.inf, math.inf)
    return (float(powers[0]), float(powers[1])), float(gain)


def _fit(design: np.ndarray, hits: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, float]:
    """(coefficients, deviance) of a logistic regression; half a hit and half a miss are added to every run, so that a run without
    either is not infinitely sure."""
    share, weight = (hits + 0.5) / (answers + 1), answers + 1.0
    at = np.zeros(design.shape[1])
    for _ in range(30):
        chance = scipy.special.expit(design @ at)
        information = design.T @ (design * (weight * chance * (1 - chance))[:, None]) + 1e-6 * np.eye(len(at))
        step = np.linalg.solve(information, design.T @ (weight * (share - chance)))
        at = at + step / max(1.0, float(np.abs(step).max()))  # no step beyond one unit: far away the curve is flat
        if np.abs(step).max() < 1e-8:
            break
    chance = scipy.special.expit(design @ at)
    loss = scipy.special.rel_entr(share, chance) + scipy.special.rel_entr(1 - share, 1 - chance)
    return at, float(2 * (weight * loss).sum())
