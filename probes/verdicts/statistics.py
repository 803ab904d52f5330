"""Shares with intervals that know which answers belong together.

Samples of one probe are not independent, so intervals are clustered by probe: every probe weighs the same, and the Wilson
interval is taken at the effective number of answers, n_eff = K p (1 - p) / s2 with s2 the variance of the K probes' own
shares. It lies between K (a probe's samples all agree) and the number of answers (they do not know of each other). If all
answers agree there is no variance to see, and n_eff is K, the cautious end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import scipy  # its parts are imported when they are first used

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
MOST_PROBES = 100_000  # beyond it "more of the same" is no advice
RESAMPLES = 4000

Hits = Mapping[str, Sequence[float]]  # probe -> whether each of its answers is one; 0.5 for half of one


@dataclass(frozen=True)
class Interval:
    """A share of answers with its 95 % interval; without answers the share is None and the interval all of 0 to 1."""

    share: float | None
    low: float
    high: float
    probes: int
    answers: int
    effective: float

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class Drop:
    """How many percentage points fewer are right than with the base, over the probes both answered."""

    points: float
    low: float
    high: float
    probes: int


NOTHING = Interval(None, 0.0, 1.0, 0, 0, 0.0)


def wilson(share: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval at 95 % or another `z`, also for an n that is no whole number: scipy's `proportion_ci`, to
    which it is equal otherwise, takes whole counts only."""
    middle = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (middle - reach) / (1 + z * z / n), (middle + reach) / (1 + z * z / n)
    # Rounded so that what is equal by arithmetic is equal in floating point too: bounds are compared with thresholds.
    return round(max(0.0, low), 12), round(min(1.0, high), 12)


def clustered_interval(hits: Hits) -> Interval:
    """The share of hits, its interval clustered by probe."""
    groups = [np.asarray(answers, dtype=float) for answers in hits.values() if len(answers)]
    if not groups:
        return NOTHING
    return interval_of_shares(np.array([group.mean() for group in groups]), sum(len(group) for group in groups))


def interval_of_shares(shares: np.ndarray, answers: int, more: float = 0.0, z: float = Z) -> Interval:
    """Of the probes' own shares, of so many answers in all. more: variance that is not of the probes, of the runs that were
    asked say, in units of p (1 - p); z: the quantile."""
    probes = len(shares)
    share = round(float(shares.sum()), 9) / probes  # rounded as the bounds are
    spread = float(shares.var(ddof=1)) if probes > 1 else 0.0
    effective = probes * share * (1 - share) / spread if spread > 0 else probes
    return _interval(share, probes, answers, min(max(effective, probes), answers), more, z)


def _interval(share: float, probes: int, answers: int, effective: float, more: float = 0.0, z: float = Z) -> Interval:
    effective, least = effective / (1 + more * effective), probes / (1 + more * probes)
    low, high = wilson(share, effective, z)
    # A few failures among many samples can look less correlated than none at all; they must not promise more than none.
    best, worst = wilson(1.0, least, z)[0], wilson(0.0, least, z)[1]
    return Interval(share, min(low, best), max(high, worst), probes, answers, effective)


def with_more_probes(interval: Interval, more: int) -> Interval:
    """What the interval would be with `more` probes like those asked: the same share, the same correlation."""
    if interval.share is None:
        return interval
    grown = (interval.probes + more) / interval.probes
    return _interval(
        interval.share, interval.probes + more, round(interval.answers * grown), interval.effective * grown
    )  # fmt: skip


def probes_to_settle(settled: Callable[[int], bool]) -> int | None:
    """The least number of further probes at which `settled(number)` holds; None if not even MOST_PROBES would do.

    `settled` must stay true once it is.
    """
    if not settled(MOST_PROBES):
        return None
    low, high = -1, 1
    while not settled(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if middle >= 0 and settled(middle) else (middle, high)
    return high


def paired_drop(base: Hits, variant: Hits, seed: int = 0) -> Drop | None:
    """Retention lost against the base: paired by probe, percentile bootstrap over probes; None if they share no probe."""
    shared = sorted(probe for probe in base if len(base[probe]) and len(variant.get(probe, ())))
    if not shared:
        return None
    lost = 100 * np.array([np.mean(base[probe]) - np.mean(variant[probe]) for probe in shared])
    drawn = np.random.default_rng(seed).integers(0, len(lost), (RESAMPLES, len(lost)))
    low, high = np.quantile(lost[drawn].mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Drop(round(float(lost.mean()), 9), float(low), float(high), len(shared))


def fit_isotonic(doses: Sequence[float], shares: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """The never-falling step through the shares (isotonic regression), in the order of `doses` as given."""
    order = np.argsort(doses, kind="stable")
    given = None if weights is None else np.asarray(weights)[order]
    fit = scipy.optimize.isotonic_regression(np.asarray(shares, float)[order], weights=given)
    out = np.empty(len(order))
    out[order] = fit.x
    return [float(value) for value in out]


def dose_reaching(
    level: float, doses: Sequence[float], shares: Sequence[float], weights: Sequence[float] | None = None
) -> float | None:
    """The dose at which the fitted share first reaches `level`, between two doses on a log scale; None if none does.

    A dose of 0 is taken as itself: nothing is interpolated below the first positive dose.
    """
    order = np.argsort(doses, kind="stable")
    x = np.asarray(doses, float)[order]
    y = np.array(fit_isotonic(doses, shares, weights))[order]
    reached = np.flatnonzero(y >= level)
    if not len(reached):
        return None
    at = int(reached[0])
    if at == 0 or x[at - 1] <= 0 or y[at] == y[at - 1]:
        return float(x[at])
    part = (level - y[at - 1]) / (y[at] - y[at - 1])
    between = math.exp(math.log(x[at - 1]) + part * (math.log(x[at]) - math.log(x[at - 1])))
    return float(min(between, x[at]))  # else rounding may step beyond the dose itself


def interval_of_counts(hits: int, probes: int) -> Interval:
    """The interval of `hits` on `probes` probes of one answer each."""
    return _interval(hits / probes, probes, probes, probes) if probes else NOTHING
