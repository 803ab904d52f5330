"""Which cells would narrow an edge: bisect, confirm, add seeds, look beside the best dose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from experiments.edges import POOLED, Edge, Series, bounds, thresholds_under
from experiments.windows import Found

GRID, BISECT, NEAR, CONFIRM, BESIDE, SETTLE, NARROW = "grid", "bisect", "near", "confirm", "beside", "settle", "narrow"

ENDLESS = 10_000  # runs


@dataclass(frozen=True)
class Effort:
    """factor: how near the last failing and the first passing dose must lie; narrow: the ratio of high and low of a threshold
    that is enough; seeds: of any dose of the grid, of one that is scanned since it may lie near an edge, of one beside
    it, and the most of any; label_error as in `find_edge`."""

    factor: float = 1.4
    narrow: float = 2.0
    seeds_first: int = 1
    seeds_scan: int = 3
    seeds_near: int = 5
    seeds_most: int = 8
    label_error: float = 0.0


@dataclass(frozen=True)
class Want:
    """So many runs of a dose, and why; low and high: the doses it lies between or is to tell apart."""

    dose: int
    runs: int
    code: str
    low: float
    high: float


@dataclass(frozen=True)
class _View:
    """An edge that rises from left to right; of a falling one everything is turned."""

    series: Series
    fit: Sequence[float]
    edge: Edge
    turned: bool


def wants_for(found: Found, rise: bool, fall: bool, effort: Effort) -> list[Want]:
    """What would bring the edges of a measure nearer, the most useful first; nothing if they are narrow enough or if neither
    seeds nor doses would help."""
    wants: list[Want] = []
    if rise:
        wants += _wants(_View(found.series, found.fit, found.rise, False), effort)
    if fall and found.fit[-1] < max(found.fit):
        wants += _wants(_View(found.series.turned, found.fit[::-1], found.fall, True), effort)
    return wants


def _wants(view: _View, effort: Effort) -> list[Want]:
    level, doses = view.series.level, view.series.doses
    first = next((k for k, share in enumerate(view.fit) if share >= level), None)
    if first is None:
        return [] if view.turned else _beside(view, effort)
    if first == 0:
        return [] if view.turned else _sure_of(view, 0, effort)
    before, here = doses[first - 1], doses[first]
    scanned = [Want(dose, effort.seeds_scan, GRID, *_span(before, here)) for dose in (before, here)]
    if wants := _lacking(view, scanned):
        return wants
    # Without a dose that surely passes the best of a window may still lie near here.
    hopeless = [view.edge.above is not None and _hopeless(view, k, effort) for k in (first - 1, first)]
    middle = between(before, here, effort.factor)
    if middle is not None and not all(hopeless):
        return [Want(middle, effort.seeds_scan, BISECT, *_span(before, here))]
    beside = zip((before, here), hopeless, strict=True)
    wants = [Want(dose, effort.seeds_near, NEAR, *_span(before, here)) for dose, useless in beside if not useless]
    for k in range(first + 1, min(first + 3, len(doses))):
        doubted = view.series.means[k] < level <= view.fit[k]
        wants.append(Want(doses[k], effort.seeds_near if doubted else effort.seeds_scan, CONFIRM, *_span(here, doses[k])))
    return _lacking(view, wants) or list(_tighten(view, first, effort))


def _lacking(view: _View, wants: Sequence[Want]) -> list[Want]:
    """Those that have fewer runs than wanted. Dose 0 is the base, which has no seeds."""
    runs = dict(zip(view.series.doses, view.series.runs, strict=True))
    return [want for want in wants if want.dose and want.runs > runs[want.dose]]


def _hopeless(view: _View, k: int, effort: Effort) -> bool:
    """Whether not even any number of runs would tell on which side of the level dose k lies: probes are what is missing, and no
    dose between two such ones could be told either."""
    surely, surely_not = thresholds_under(view.series.level, effort.label_error)
    low, high = bounds(view.series, k, k, ENDLESS)
    return low < surely and high >= surely_not


def _around(view: _View, dose: int) -> tuple[int, int]:
    """The nearest tried doses below and above, the dose itself where there is none."""
    doses = view.series.doses
    return max((one for one in doses if one < dose), default=dose), min((one for one in doses if one > dose), default=dose)


def _beside(view: _View, effort: Effort) -> list[Want]:
    """No dose passes: the best one may not be settled, or a narrow window may lie beside it."""
    doses, best = view.series.doses, max(range(len(view.fit)), key=lambda k: view.series.means[k])
    if view.fit[best] < view.series.level / 2:
        return []
    wants = []
    for other in (best - 1, best + 1):
        if 0 <= other < len(doses) and best < len(doses) - 1:
            middle = between(doses[best], doses[other], effort.factor)
            wants += [] if middle is None else [Want(middle, effort.seeds_scan, BESIDE, *_span(doses[best], doses[other]))]
    if wants:
        return wants
    _, surely_not = thresholds_under(view.series.level, effort.label_error)
    if view.series.intervals[best][1] >= surely_not:
        return _lacking(view, [Want(doses[best], effort.seeds_near, NEAR, doses[best], doses[best])])
    return []


def _sure_of(view: _View, k: int, effort: Effort) -> list[Want]:
    """The dose k passes: more runs of it, if it is not sure and would be."""
    surely, _ = thresholds_under(view.series.level, effort.label_error)
    return [] if view.edge.above is not None and view.edge.above <= k else _settle(view, k, effort, surely, up=True)


def _tighten(view: _View, first: int, effort: Effort) -> Iterator[Want]:
    """One step from each side, if the interval is too wide. first: the first dose that passes."""
    doses, edge = view.series.doses, view.edge
    known = edge.below is not None and edge.above is not None
    if known and distance(doses[edge.below or 0], doses[edge.above or 0]) <= math.log(effort.narrow) + 1e-3:
        return
    surely, surely_not = thresholds_under(view.series.level, effort.label_error)
    if edge.above is None:
        # The first dose that more seeds, its own and those of the doses before it, would make sure.
        settling = (_settle(view, k, effort, surely, up=True) for k in range(first, list(view.fit).index(max(view.fit)) + 1))
        yield from next((wants for wants in settling if wants), [])
    elif edge.above > first:
        yield from _step(view, edge.above, edge.above - 1, effort, surely, up=True)
    inner = edge.below + 1 if edge.below is not None else 0
    if inner < first:
        yield from _step(view, edge.below, inner, effort, surely_not, up=False)


def _step(view: _View, sure: int | None, inner: int, effort: Effort, limit: float, up: bool) -> Iterator[Want]:
    """From the dose that is sure to the next one towards the edge, `inner`: a dose between the two, or more runs of that."""
    doses = view.series.doses
    middle = None if sure is None else between(doses[sure], doses[inner], effort.factor)
    ends = [] if sure is None or middle is None else list(_between_bounds(view, sure, inner, effort))
    if middle is not None and any(low >= limit if up else high < limit for low, high in ends):
        yield Want(middle, effort.seeds_near, NARROW, *_around(view, middle))
    else:
        yield from _settle(view, inner, effort, limit, up)


def _between_bounds(view: _View, sure: int, inner: int, effort: Effort) -> Iterator[tuple[float, float]]:
    """What a dose between the two would show, alone and pooled with `inner`, if it came out like the mean of both."""
    a, b = sorted((sure, inner))
    yield bounds(view.series, a, b, effort.seeds_near)
    yield bounds(view.series, a, b, effort.seeds_near + view.series.runs[inner])


def _settle(view: _View, k: int, effort: Effort, limit: float, up: bool) -> list[Want]:
    """More runs of dose k and of as few of its neighbours as would, if they come out like those so far, make it sure."""
    series, last = view.series, len(view.series.doses) - 1
    for far in range(POOLED):
        block = range(k - far, k + 1) if up else range(k, k + far + 1)
        if block[0] < 0 or block[-1] > last:
            break
        full = sum(max(effort.seeds_most, series.runs[j]) for j in block)
        low, high = bounds(series, block[0], block[-1], full)
        least = min((j for j in block if series.doses[j]), key=lambda j: series.runs[j], default=None)
        if (low >= limit if up else high < limit) and least is not None and series.runs[least] < effort.seeds_most:
            dose, runs = series.doses[least], min(effort.seeds_most, series.runs[least] + 2)
            return [Want(dose, runs, SETTLE, *_around(view, dose))]
    return []


def _span(a: int, b: int) -> tuple[int, int]:
    return min(a, b), max(a, b)


def distance(a: float, b: float) -> float:
    """Of two doses, in powers of e; doses below 1 count as 1."""
    return abs(math.log(max(b, 1)) - math.log(max(a, 1)))


def between(a: int, b: int, factor: float) -> int | None:
    """A dose between two that lie further apart than `factor`, of two digits where possible: of so many equal steps on a log
    scale as it takes, the middle one. None if there is none."""
    steps = math.ceil(distance(a, b) / math.log(factor) - 0.01)
    if steps < 2:
        return None
    low, high = min(a, b), max(a, b)
    middle = math.exp(math.log(max(low, 1)) + distance(a, b) * (steps // 2) / steps)
    digits = 10 ** max(0, math.floor(math.log10(middle)) - 1)
    for dose in (round(middle / digits) * digits, round(middle)):
        if low < dose < high:
            return int(dose)
    return None
