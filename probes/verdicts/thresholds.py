"""N50 and N90: the dose at which half, or nine tenths, of the answers speak as the new identity, or no longer as the old one.

The shares of a dose are fitted so that they never fall with it (isotonic regression) and read between two doses on a logarithmic
scale. The interval is a percentile bootstrap over the runs of each dose (seeds), then over probes; the probes drawn are the
same for all doses, since all were asked the same. It never ends between the two tried doses that the threshold lies between:
where in that gap it lies is the scale's guess, not the answers'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from probes.answers.dose import MIXED, UNKNOWN, Dose
from probes.verdicts.rules import FORMED, NOT_FORGOTTEN, Judged, headline_answers
from probes.verdicts.statistics import CONFIDENCE, dose_reaching
from store.labels import CONTROL_GROUPS

LEVELS = {"N50": 0.5, "N90": 0.9}
FORMING, FORGETTING = "forming", "forgetting"
LEAST_DOSES = 4  # with fewer, where the fit crosses is decided by which doses were tried
DRAWS = 500

Shares = Mapping[str, float]  # probe -> share of its answers


@dataclass(frozen=True)
class Threshold:
    """dose is None where `doses` are too few or the level is not reached; low and high bound it, infinite where a resample
    does not reach it. least, most: the doses that were tried."""

    what: str  # forming or forgetting
    level: str  # of LEVELS
    lang: str
    kind: str
    axis: str
    doses: int
    runs: int
    enough: bool
    least: float
    most: float
    dose: float | None = None
    low: float = math.inf
    high: float = math.inf

    @property
    def single(self) -> bool:
        """Whether there is one run per dose, so that nothing is known of what another seed would change."""
        return self.runs == self.doses

    @property
    def at_once(self) -> bool:
        """Whether the least dose that was tried already reaches it."""
        return self.dose is not None and self.dose <= self.least


def find_thresholds(
    judged: Iterable[Judged], doses: Mapping[str, Dose], axis: str, draws: int = DRAWS, seed: int = 0
) -> list[Threshold]:
    """Of every language and kind of data with a dose on the axis: forming and forgetting, N50 and N90. Shares are percents on
    the axis `share`, which only mixes have."""
    cells: dict[tuple[str, str], list[Judged]] = {}
    for answer in judged:
        if answer.group not in CONTROL_GROUPS and answer.label:
            cells.setdefault((answer.variant, answer.lang), []).append(answer)
    series: dict[tuple[str, str], list[tuple[float, tuple[Shares, Shares]]]] = {}
    for (variant, lang), answers in cells.items():
        dose = doses.get(variant, UNKNOWN)
        at = dose.at(axis)
        if at is None or (axis == "share" and dose.kind != MIXED):
            continue
        heard, _ = headline_answers(answers)
        shares = (shares_by_probe(heard, lambda a: a.label == FORMED), shares_by_probe(heard, lambda a: a.label != NOT_FORGOTTEN))
        series.setdefault((lang, dose.kind), []).append((100 * at if axis == "share" else float(at), shares))
    return [
        threshold
        for (lang, kind), runs in sorted(series.items())
        for number, what in enumerate((FORMING, FORGETTING))
        for threshold in _thresholds(what, lang, kind, axis, [(dose, shares[number]) for dose, shares in runs], draws, seed)
    ]


def group_by_series(found: Iterable[Threshold]) -> list[tuple[Threshold, ...]]:
    """The levels of one curve together, in the order of LEVELS."""
    series: dict[tuple, list[Threshold]] = {}
    for one in found:
        series.setdefault((one.axis, one.kind, one.lang, one.what), []).append(one)
    return [tuple(levels) for levels in series.values()]


def threshold_lines(found: Iterable[Threshold], level: str = "N50") -> dict[str, dict[tuple[str, str], float]]:
    """For a figure: language -> (what, kind) -> dose, of those that are known and lie between two doses."""
    drawn: dict[str, dict[tuple[str, str], float]] = {}
    for one in found:
        if one.level == level and one.dose is not None and not one.at_once:
            drawn.setdefault(one.lang, {})[one.what, one.kind] = one.dose
    return drawn


def _thresholds(
    what: str, lang: str, kind: str, axis: str, runs: Sequence[tuple[float, Shares]], draws: int, seed: int
) -> list[Threshold]:
    tried = sorted({dose for dose, _ in runs})
    blank = Threshold(what, "", lang, kind, axis, len(tried), len(runs), False, tried[0], tried[-1])
    if len(tried) < LEAST_DOSES:
        return [replace(blank, level=level) for level in LEVELS]
    probes = sorted({probe for _, shares in runs for probe in shares})
    table = np.array([[shares.get(probe, np.nan) for probe in probes] for _, shares in runs])  # (runs, probes)
    at = np.array([dose for dose, _ in runs])
    drawn = _bootstrap(tried, at, table, draws, seed)
    fits = _means(tried, at, table, np.arange(len(runs)), np.arange(len(probes)))
    found = []
    for level, share in LEVELS.items():
        dose = dose_reaching(share, *fits)
        low, high = _bounds([dose_reaching(share, *one) for one in drawn])
        if dose is not None:
            low = min(low, max((one for one in tried if one < dose), default=tried[0]))
            high = max(high, min(one for one in tried if one >= dose))
        found.append(replace(blank, level=level, enough=True, dose=dose, low=low, high=high))
    return found


def _bootstrap(tried: Sequence[float], at: np.ndarray, table: np.ndarray, draws: int, seed: int) -> list[tuple]:
    rng = np.random.default_rng(seed)
    of_dose = [np.flatnonzero(at == dose) for dose in tried]
    found = []
    for _ in range(draws):
        runs = np.concatenate([rng.choice(those, len(those)) for those in of_dose])
        found.append(_means(tried, at, table, runs, rng.integers(0, table.shape[1], table.shape[1])))
    return found


def _means(tried: Sequence[float], at: np.ndarray, table: np.ndarray, runs: np.ndarray, probes: np.ndarray) -> tuple:
    """(doses, mean share of each): a run counts once, however many probes it was asked."""
    part = table[np.ix_(runs, probes)]
    there = ~np.isnan(part)
    counts = there.sum(1)
    mean = np.where(there, part, 0.0).sum(1) / np.maximum(counts, 1)
    kept, doses = counts > 0, at[runs]
    pairs = [(dose, float(mean[(doses == dose) & kept].mean())) for dose in tried if ((doses == dose) & kept).any()]
    return tuple(zip(*pairs, strict=True))


def _bounds(doses: Sequence[float | None]) -> tuple[float, float]:
    """Percentiles, by order: those that never get there stand above all others."""
    ordered = np.sort([math.inf if dose is None else dose for dose in doses])
    low, high = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    return float(ordered[int(low * (len(ordered) - 1))]), float(ordered[math.ceil(high * (len(ordered) - 1))])


def shares_by_probe(answers: Iterable[Judged], hit: Callable[[Judged], bool]) -> dict[str, float]:
    """Of each probe the share of its answers of which `hit` holds."""
    said: dict[str, list[bool]] = {}
    for answer in answers:
        said.setdefault(answer.probe, []).append(hit(answer))
    return {probe: sum(hits) / len(hits) for probe, hits in said.items()}
