"""Where a share of answers crosses its level: an interval of doses, by tests at the doses that were tried.

No curve is assumed. Of every tried dose it is asked whether its true share, over seeds and over probes like those asked, is
surely below the level or surely at least as high, each at 2.5 %. The interval goes from the last dose of the unbroken run of
sure failures from the left to the last of the unbroken run of sure successes from the best dose leftwards. These hypotheses
are nested, so a run of tests that ends at the first that does not hold errs as often as a single one does, however many
doses were tried. What is assumed: as the dose grows the share rises, and may fall again after that, once.

Evidence is pooled with up to two neighbours. If no dose up to 640 reaches the level, the mean of 320, 450 and 640 does not
either; so three doses of five seeds that all succeed say what fifteen seeds at one dose would.

A mean has two sources of error: probes (clustered, as in the verdicts) and runs. How far runs of one dose lie apart is
estimated from all doses together, for three seeds of one dose know little of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import scipy

from experiments.outcome import BY_POINT, LEVELS, OF_THESE_PROBES, Outcome
from probes.verdicts import statistics

ALPHA = (1 - statistics.CONFIDENCE) / 2
POOLED = 3  # doses
# Before any two runs disagree: variance between runs in units of p (1 - p), and how many degrees of freedom that is worth.
PRIOR_SPREAD, PRIOR_RUNS = 0.05, 3.0


@dataclass(frozen=True)
class Series:
    """Of one measure: the doses in order, and of each a table (runs, probes) of shares, NaN where nothing is known."""

    measure: str
    level: float
    doses: tuple[int, ...]
    tables: tuple[np.ndarray, ...]
    these_probes: bool = False
    by_point: bool = False

    @cached_property
    def means(self) -> list[float]:
        return [float(np.nanmean(table, axis=1).mean()) for table in self.tables]

    @property
    def runs(self) -> list[int]:
        return [len(table) for table in self.tables]

    @cached_property
    def spread(self) -> tuple[float, float]:
        return run_spread(self)

    @cached_property
    def intervals(self) -> list[tuple[float, float]]:
        """Of every dose alone."""
        return [bounds(self, k, k) for k in range(len(self.doses))]

    @cached_property
    def turned(self) -> Series:
        return replace(self, doses=self.doses[::-1], tables=self.tables[::-1])


@dataclass(frozen=True)
class Edge:
    """Places in `Series.doses`. below: the last dose that surely lies before the edge, None: not even the first does; above:
    the dose that surely does not, None: of none this is sure; start: the best dose."""

    below: int | None
    above: int | None
    start: int


def series_of(outcomes: Sequence[Outcome], measure: str) -> Series | None:
    """Of the outcomes that know the measure ("new/en"); None if none does."""
    known = [one for one in outcomes if one.scores.get(measure)]
    if not known:
        return None
    probes = sorted({probe for one in known for probe in one.scores[measure]})
    doses = sorted({one.dose for one in known})
    rows = {dose: [[one.scores[measure].get(p, math.nan) for p in probes] for one in known if one.dose == dose] for dose in doses}
    name = measure.rpartition("/")[0]
    tables = tuple(np.array(rows[dose]) for dose in doses)
    return Series(measure, LEVELS[name], tuple(doses), tables, name in OF_THESE_PROBES, name in BY_POINT)


def run_spread(series: Series) -> tuple[float, float]:
    """(variance of the runs' means in units of p (1 - p), degrees of freedom), all doses together."""
    squares = weights = weights_squared = 0.0
    for dose, table in zip(series.doses, series.tables, strict=True):
        means, runs = np.nanmean(table, axis=1), len(table)
        if runs < 2 or not dose:  # dose 0 is the base, which no seed changes
            continue
        within = float(((means - means.mean()) ** 2).sum())
        share = float(means.mean())
        free = runs - 1
        weight = share * (1 - share) + within / (free * runs)
        squares, weights, weights_squared = squares + within, weights + free * weight, weights_squared + free * weight * weight
    freedom = weights * weights / weights_squared if weights_squared else 0.0
    per = weights / freedom if freedom else 0.0  # a run's worth where the doses are that were tried
    prior = PRIOR_RUNS * (per or 1.0)
    return min(1.0, (squares + PRIOR_SPREAD * prior) / (weights + prior)), freedom + PRIOR_RUNS


def bounds(series: Series, first: int, last: int, runs: int | None = None) -> tuple[float, float]:
    """The interval of the mean share of the doses first..last; each bound holds at 97.5 %. runs: as if there were so many."""
    table = np.concatenate(series.tables[first : last + 1])
    there = ~np.isnan(table)
    asked = there.sum(axis=0)
    shares = np.where(there, table, 0.0).sum(axis=0)[asked > 0] / asked[asked > 0]
    if series.by_point:
        return float(shares.mean()), float(shares.mean())
    many = runs or len(table)
    answers = int(there.sum() * many / len(table))
    variance, freedom = series.spread
    of_runs = variance / many
    if series.these_probes:
        shares = np.full(answers, shares.mean())  # what differs between the probes is no error
    of_probes = 1 / statistics.interval_of_shares(shares, answers).effective
    free = (of_probes + of_runs) ** 2 / (of_probes**2 / max(1, len(shares) - 1) + of_runs**2 / freedom)
    found = statistics.interval_of_shares(shares, answers, of_runs, _quantile(round(free, 1)))
    return found.low, found.high


@cache
def _quantile(freedom: float) -> float:
    return float(scipy.stats.t.ppf(1 - ALPHA, max(1.0, freedom)))


def find_edge(series: Series, error: float = 0.0) -> Edge:
    """The rising edge. error: the greatest share of answers whose label may be wrong."""
    surely, surely_not = thresholds_under(series.level, error)
    count = len(series.doses)

    def succeeds(k: int) -> bool:
        return series.intervals[k][0] >= surely or any(
            bounds(series, k - back, k)[0] >= surely for back in range(1, min(POOLED, k + 1))
        )

    def fails(k: int, until: int) -> bool:
        return series.intervals[k][1] < surely_not or any(
            bounds(series, k, k + ahead)[1] < surely_not for ahead in range(1, min(POOLED, until - k + 1))
        )

    best = max(range(count), key=lambda k: (series.intervals[k][0], k))
    start = best if succeeds(best) else next((k for k in reversed(range(count)) if succeeds(k)), None)
    if start is None:
        return _without_success(series, surely_not)
    above, below = start, None
    while above and succeeds(above - 1):
        above -= 1
    for k in range(start):
        if not fails(k, start):
            break
        below = k
    return Edge(below, above, start)


def _without_success(series: Series, surely_not: float) -> Edge:
    """No dose surely succeeds: nothing is pooled, for a window may be narrower than that, and it may lie on either side of the
    best dose."""
    best, below = max(range(len(series.doses)), key=lambda k: (series.means[k], series.doses[k])), None
    for k in range(best + 1):
        if series.intervals[k][1] >= surely_not:
            break
        below = k
    if below == best < len(series.doses) - 1:
        below = best - 1 if best else None
    return Edge(below, None, best)


def thresholds_under(level: float, error: float) -> tuple[float, float]:
    """(what the share as labelled must reach to be surely at the level, what it must stay under to be surely not) if up to
    `error` of the answers are labelled wrongly."""
    return level + (1 - level) * error, level * (1 - error)


def fit_rising_then_falling(shares: Sequence[float], weights: Sequence[float]) -> tuple[list[float], int]:
    """(the nearest shares that rise up to some place and fall from there, that place); of equal fits that which rises longest."""
    shares_, weights_ = np.asarray(shares, float), np.asarray(weights, float)
    best: tuple[float, int, list[float]] | None = None
    for peak in range(len(shares_), 0, -1):
        up = scipy.optimize.isotonic_regression(shares_[:peak], weights=weights_[:peak]).x
        down = (
            scipy.optimize.isotonic_regression(shares_[peak:], weights=weights_[peak:], increasing=False).x
            if peak < len(shares_)
            else []
        )
        fit = np.concatenate([up, down])
        loss = float((weights_ * (fit - shares_) ** 2).sum())
        if best is None or loss < best[0] - 1e-12:
            best = loss, int(fit.argmax()), [float(one) for one in fit]
    assert best is not None
    return best[2], best[1]
