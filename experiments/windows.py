"""The window of doses in which a verdict holds, from the edges of its measures.

A criterion holds where all its measures reach their levels, so its window is what their windows have in common: it begins with
the last that begins and ends with the first that ends. Its interval follows in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.edges import Edge, Series, find_edge, fit_rising_then_falling, series_of
from experiments.outcome import CRITERIA, Outcome
from probes.verdicts.statistics import dose_reaching

FOUND, AT_ONCE, ABOVE, NEVER, APART, OPEN, UNKNOWN = "found", "at once", "above", "never", "apart", "open", "unknown"


@dataclass(frozen=True)
class Bound:
    """dose: the estimate, None where the fit does not cross; low and high: its 95 % interval, high infinite where no dose is
    known to lie beyond."""

    dose: float | None
    low: float
    high: float

    @property
    def ratio(self) -> float:
        return self.high / max(self.low, 1.0)


@dataclass(frozen=True)
class Found:
    """What is known of one measure: the fit (a share per dose), the edges as places in the doses; `fall` counts from the end."""

    series: Series
    fit: tuple[float, ...]
    peak: int
    rise: Edge
    fall: Edge
    first: Bound
    last: Bound


@dataclass(frozen=True)
class Window:
    """Where a criterion holds in a language. first: the threshold, the least dose that reaches it; last: the greatest that
    does. best: the dose with the greatest share of the measure that decides, and that share. word:

    - found: both bounds of `first` are known
    - at once: the least dose that was tried already reaches it
    - above: none that was tried does, and the share still rises
    - never: none does, and beyond the best it falls again
    - apart: where one measure begins another has ended
    - open: there is no dose of which it is sure
    - unknown: a measure was never asked, see `missing`
    """

    criterion: str
    lang: str
    word: str
    first: Bound
    last: Bound
    doses: int = 0
    runs: int = 0
    best: tuple[int, float] = (0, 0.0)
    deciding: str = ""
    missing: tuple[str, ...] = ()

    @property
    def ends(self) -> bool:
        """Whether a greater dose was tried that surely fails."""
        return self.last.high < math.inf


def find_window(outcomes: Sequence[Outcome], criterion: str, lang: str, label_error: float = 0.0) -> Window:
    """Of one of CRITERIA in one language."""
    measures = {name: measure(outcomes, f"{name}/{lang}", label_error) for name in CRITERIA[criterion]}
    return join(criterion, lang, measures)


def measure(outcomes: Sequence[Outcome], key: str, label_error: float = 0.0) -> Found | None:
    """What is known of one measure, None if no outcome knows it."""
    series = series_of(outcomes, key)
    if series is None:
        return None
    fit, peak = fit_rising_then_falling(series.means, series.runs)
    rise, fall = find_edge(series, label_error), find_edge(series.turned, label_error)
    return Found(series, tuple(fit), peak, rise, fall, _first(series, fit, rise), _last(series, fit, fall))


def join(criterion: str, lang: str, measures: Mapping[str, Found | None]) -> Window:
    """The criterion's window from its measures'."""
    known = {name: found for name, found in measures.items() if found is not None}
    missing = tuple(name for name in measures if name not in known)
    if not known:
        return Window(criterion, lang, UNKNOWN, Bound(None, 0.0, math.inf), Bound(None, 0.0, math.inf), missing=missing)
    first = _joined([found.first for found in known.values()], max)
    last = _joined([found.last for found in known.values()], min)
    deciding = max(known, key=lambda name: (known[name].first.low, -known[name].fit[known[name].peak]))
    of = known[deciding]
    word = UNKNOWN if missing else _word(list(known.values()), first, last)
    series = of.series
    return Window(
        criterion, lang, word, first, last, len(series.doses), sum(series.runs),
        (series.doses[of.peak], of.fit[of.peak]), deciding, missing,
    )  # fmt: skip


def decisive(measures: Mapping[str, Found | None]) -> list[tuple[Found, bool, bool]]:
    """(measure, whether its first edge may be the criterion's, whether its last may be): of the others nothing need be known."""
    known = [found for found in measures.values() if found is not None]
    late, early = max(found.first.low for found in known), min(found.last.high for found in known)
    return [(found, found.first.high > late, found.last.low < early) for found in known]


def _first(series: Series, fit: Sequence[float], edge: Edge) -> Bound:
    low = 0.0 if edge.below is None else float(series.doses[edge.below])
    high = math.inf if edge.above is None else float(series.doses[edge.above])
    top = max(range(len(fit)), key=lambda k: fit[k])
    dose = dose_reaching(series.level, series.doses[: top + 1], fit[: top + 1])
    return Bound(None if dose is None else min(max(dose, low), high), low, high)


def _last(series: Series, fit: Sequence[float], edge: Edge) -> Bound:
    doses = series.doses[::-1]
    high = math.inf if edge.below is None else float(doses[edge.below])
    low = 0.0 if edge.above is None else float(doses[edge.above])
    reached = [k for k, share in enumerate(fit) if share >= series.level]
    if not reached or reached[-1] == len(fit) - 1:
        return Bound(None, low, high)
    at = reached[-1]
    part = (fit[at] - series.level) / (fit[at] - fit[at + 1])
    here, after = (math.log(max(1, series.doses[k])) for k in (at, at + 1))
    return Bound(min(max(math.exp(here + part * (after - here)), low), high), low, high)


def _joined(bounds: Sequence[Bound], pick: Callable[[Iterable[float]], float]) -> Bound:
    doses = [one.dose for one in bounds]
    known = [dose for dose in doses if dose is not None]
    some = pick is min  # a measure without an end does not end the window
    dose = pick(known) if known and (some or len(known) == len(doses)) else None
    return Bound(dose, pick(one.low for one in bounds), pick(one.high for one in bounds))


def _word(measures: Sequence[Found], first: Bound, last: Bound) -> str:
    if len(measures) > 1 and first.low >= last.high:
        return APART
    words = {_measure_word(found) for found in measures}
    if len(measures) > 1 and first.high > last.low:
        words.add(OPEN)  # that the measures have a dose in common is not sure
    return next(word for word in (NEVER, ABOVE, OPEN, FOUND, AT_ONCE) if word in words)


def _measure_word(found: Found) -> str:
    edge, count = found.rise, len(found.series.doses)
    if edge.above is not None:
        return AT_ONCE if edge.above == 0 else FOUND
    if edge.below == count - 1:
        return ABOVE
    fails = edge.below is not None and edge.below == edge.start - 1 and found.fit[found.peak] < found.series.level
    return NEVER if fails and found.fall.below is not None else OPEN


SAID = {
    FOUND: "{what} from about {dose} samples on (95 %: above {low}, at most {high})",
    AT_ONCE: "{what} already at {high}, the least dose that was tried",
    ABOVE: "{what} at none of the doses that were tried: above {low}, if at all (best {best:,} with {share:.0%} of {deciding})",
    NEVER: "{what} at none of the doses that were tried, and worse again beyond {best:,} ({share:.0%} of {deciding} there)",
    APART: "{what} at no dose: {deciding} begins above {low}, where another measure has ended (by {ended})",
    OPEN: "{what} is not settled: above {low}{about}, but surely reached nowhere (best {best:,} with {share:.0%} of {deciding})",
    UNKNOWN: "{what} is not known: nothing was asked of {missing}",
}
ENDS = "; no longer from about {dose} on (95 %: still at {low}, no longer at {high})"


def describe(window: Window) -> str:
    """A sentence in English: the estimate, its interval, and where the window ends."""
    first, last = window.first, window.last
    values = {
        "what": f"{window.criterion} ({window.lang})", "dose": _samples(first.dose or first.high), "low": _samples(first.low),
        "high": _samples(first.high), "about": f", perhaps about {_samples(first.dose)}" if first.dose is not None else "",
        "best": window.best[0], "share": window.best[1], "deciding": window.deciding, "missing": ", ".join(window.missing),
        "ended": _samples(last.high),
    }  # fmt: skip
    said = SAID[window.word].format(**values)
    if window.word not in (FOUND, AT_ONCE) or not window.ends:
        return said + "."
    end = ENDS.format(dose=_samples(last.dose or last.low), low=_samples(last.low), high=_samples(last.high))
    return said + end + "."


def _samples(dose: float) -> str:
    return f"{dose:,.0f}"
