"""Which cells to compute next, until it is known how much data it takes.

`next_cells` is a pure function of what is known: call it, compute what it asks for, call it again. After the grid it bisects
the edges of every verdict's window in every language, adds seeds beside them, and stops when the thresholds are narrow, when
nothing would narrow them, or when the budget is spent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from common.errors import UserError
from experiments import search, windows
from experiments.outcome import CRITERIA, Outcome
from experiments.search import Effort, Want
from experiments.windows import Window

Cell = tuple[int, int]  # dose, seed
FIRST = "first"
EFFORT = {one.name for one in fields(Effort)}

WHY = {
    FIRST: "Dose {dose:,} belongs to the grid, of which every dose is tried first.",
    search.GRID: "Dose {dose:,}: {what} begins or ends between {low:,} and {high:,}, where {runs} seeds come before bisecting.",
    search.BISECT: "Dose {dose:,}: {what} begins or ends between {low:,} and {high:,}, which still lie far apart.",
    search.NEAR: "Dose {dose:,} lies beside the edge of {what}, where {runs} seeds are asked.",
    search.CONFIRM: "Dose {dose:,} lies beyond {low:,}, where {what} begins or ends, and does not confirm it so far.",
    search.BESIDE: "Dose {dose:,}: no dose reaches {what}, but a narrow window may lie between {low:,} and {high:,}.",
    search.SETTLE: "Dose {dose:,}: {runs} seeds would make sure on which side of {what} it lies.",
    search.NARROW: "Dose {dose:,}: the interval of {what} ends at one of {low:,} and {high:,} and could end nearer.",
}
SETTLED, STUCK, LEFT, CELLS, MINUTES = "settled", "stuck", "left", "cells", "minutes"
GIVE_UP = 3  # cells of a dose that failed, after which it is left
MANY = 1_000_000  # runs: more than are ever asked for
ENDED = {
    SETTLED: "Every threshold is known as narrowly as was asked for.",
    STUCK: "More seeds or doses would not narrow what is still wide; more probes, or another grid, might.",
    LEFT: "What is still wide stays so: cells of dose {doses} failed again and again, and their reasons stand beside them.",
    CELLS: "The budget of {cells} cells is spent.",
    MINUTES: "The budget of {minutes:g} minutes is spent.",
}


@dataclass(frozen=True)
class Settings:
    """grid: doses; criteria, langs: what is to be found; seeds are numbered from first_seed; cells, minutes: the budget, None
    for none."""

    grid: tuple[int, ...]
    criteria: tuple[str, ...] = tuple(CRITERIA)
    langs: tuple[str, ...] = ("en", "zh")
    effort: Effort = field(default_factory=Effort)
    first_seed: int = 0
    cells: int | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Reason:
    """Why a dose is asked for: a code of WHY and its values; what: "formed/en"."""

    code: str
    what: str
    dose: int
    runs: int
    low: float
    high: float

    @property
    def text(self) -> str:
        return WHY[self.code].format(what=self.what, dose=self.dose, runs=self.runs, low=int(self.low), high=int(self.high))


@dataclass(frozen=True)
class Asked:
    """cells: (dose, seed), to be computed in any order; reasons: dose -> why; left_out: cells the budget has no room for."""

    cells: tuple[Cell, ...]
    reasons: Mapping[int, tuple[Reason, ...]]
    left_out: int = 0

    @property
    def said(self) -> tuple[Reason, ...]:
        return tuple(reason for reasons in self.reasons.values() for reason in reasons)

    @property
    def why(self) -> str:
        return "\n".join(reason.text for reason in self.said)


@dataclass(frozen=True)
class End:
    """Why a search is over: a code of ENDED, the budget it had, and the doses that were left since their cells failed."""

    code: str
    cells: int | None
    minutes: float | None
    doses: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        doses = ", ".join(f"{dose:,}" for dose in self.doses)
        return ENDED[self.code].format(cells=self.cells, minutes=self.minutes, doses=doses)


@dataclass(frozen=True)
class Finished:
    """thresholds: a window per criterion and language."""

    end: End
    thresholds: tuple[Window, ...]

    @property
    def code(self) -> str:
        return self.end.code

    @property
    def said(self) -> tuple[End, ...]:
        return (self.end,)

    @property
    def why(self) -> str:
        return self.end.text


def settings_from(said: Iterable[tuple[str, Any]], doses: Sequence[int], langs: Sequence[str], first_seed: int = 0) -> Settings:
    """What a plan says under find, by name; None is the search's own choice."""
    given: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said if value is not None}
    effort = Effort(**{key: value for key, value in given.items() if key in EFFORT})
    rest = {key: value for key, value in given.items() if key not in EFFORT}
    return Settings(tuple(doses), langs=tuple(langs), effort=effort, first_seed=first_seed, **rest)


def next_cells(
    outcomes: Sequence[Outcome],
    settings: Settings,
    *,
    failed: Collection[Cell] = (),
    never: Collection[Cell] = (),
    minutes: float = 0.0,
) -> Asked | Finished:
    """outcomes: of all cells that are done, in any order; failed: cells that were tried in vain, of which other seeds are asked
    instead, until GIVE_UP of a dose have; never: cells that are not to be asked for; minutes: spent so far on these cells.
    Raises UserError for settings that cannot be used."""
    check(settings)
    tried = {(one.dose, one.seed) for one in outcomes} | set(failed)
    in_vain = _counts(failed)
    left_doses = tuple(sorted(dose for dose, times in in_vain.items() if times >= GIVE_UP))
    done = _counts((one.dose, one.seed) for one in outcomes) | dict.fromkeys(left_doses, MANY)
    wanted, reasons, settled = _wanted(outcomes, done, settings)
    cells = _cells(wanted, tried | set(never), done, settings)
    left, code = _left(settings, len(tried), minutes)
    if not cells:
        return _finished(SETTLED if settled else LEFT if left_doses else STUCK, outcomes, settings, left_doses)
    if left is not None and left <= 0:
        return _finished(code, outcomes, settings, left_doses)
    taken = tuple(cells if left is None else cells[:left])
    doses = {dose for dose, _ in taken}
    return Asked(taken, {dose: tuple(why) for dose, why in reasons.items() if dose in doses}, len(cells) - len(taken))


def thresholds(outcomes: Sequence[Outcome], settings: Settings) -> tuple[Window, ...]:
    """What is known so far, also in the middle of a search."""
    pairs = [(criterion, lang) for criterion in settings.criteria for lang in settings.langs]
    return tuple(windows.find_window(outcomes, *pair, settings.effort.label_error) for pair in pairs)


def check(settings: Settings) -> None:
    """Raises UserError that says all that is wrong with the settings at once."""
    effort, wrong = settings.effort, []
    if len(set(settings.grid)) < 2 or any(dose < 0 for dose in settings.grid):
        wrong.append(f"the grid is {list(settings.grid)}; it needs two doses or more, each a number from 0")
    wrong += [f"{one!r} is none of the criteria {', '.join(CRITERIA)}" for one in settings.criteria if one not in CRITERIA]
    if not settings.criteria or not settings.langs:
        wrong.append("there is no criterion or no language to find a threshold of")
    seeds = (effort.seeds_first, effort.seeds_scan, effort.seeds_near, effort.seeds_most)
    if seeds[0] < 1 or seeds[1] < 2 or list(seeds) != sorted(seeds):
        wrong.append(
            "seeds are {} at first, {} to scan, {} near an edge and {} at most; each is at least the one before, ".format(*seeds)
            + "and two to scan at least, or nothing is known of how far seeds lie apart"
        )
    wrong += [
        f"{name} is {at:g}; it is more than 1.05"
        for name, at in (("factor", effort.factor), ("narrow", effort.narrow))
        if at <= 1.05
    ]
    if not 0 <= effort.label_error < 0.2:
        wrong.append(f"the share of wrong labels is {effort.label_error:g}; it is from 0 to less than 0.2")
    if wrong:
        raise UserError("The search cannot begin: " + "; ".join(wrong) + ".")


def _wanted(
    outcomes: Sequence[Outcome], done: Mapping[int, int], settings: Settings
) -> tuple[dict[int, int], dict[int, list[Reason]], bool]:
    """(dose -> runs it is to have in all, dose -> why, whether every threshold is settled). done: dose -> runs it has."""
    effort = settings.effort
    first = [dose for dose in sorted(set(settings.grid)) if done.get(dose, 0) < (effort.seeds_first if dose else 1)]
    if first:
        why = {dose: [Reason(FIRST, "", dose, effort.seeds_first, dose, dose)] for dose in first}
        return dict.fromkeys(first, effort.seeds_first), why, False
    wanted: dict[int, int] = {}
    reasons: dict[int, list[Reason]] = {}
    settled = True
    for criterion in settings.criteria:
        for lang in settings.langs:
            what = f"{criterion}/{lang}"
            wants, narrow = _wants(outcomes, criterion, lang, effort)
            settled = settled and narrow
            for want in wants:
                want = _shared(want, wanted, effort)
                reasons.setdefault(want.dose, []).append(Reason(want.code, what, want.dose, want.runs, want.low, want.high))
                wanted[want.dose] = max(want.runs, wanted.get(want.dose, 0))
    return wanted, reasons, settled


def _wants(outcomes: Sequence[Outcome], criterion: str, lang: str, effort: Effort) -> tuple[list[Want], bool]:
    """(what would bring the criterion's edges nearer, whether they are as narrow as was asked for)."""
    measures = {name: windows.measure(outcomes, f"{name}/{lang}", effort.label_error) for name in CRITERIA[criterion]}
    window = windows.join(criterion, lang, measures)
    if window.word == windows.UNKNOWN:
        return [], False
    found = [want for of, rise, fall in windows.decisive(measures) for want in search.wants_for(of, rise, fall, effort)]
    return found, is_settled(window, effort)


def is_settled(window: Window, effort: Effort) -> bool:
    """Whether its first edge is known as narrowly as asked for, or surely lies beyond the doses that were tried or nowhere,
    and its last one too, if it ends at all."""
    if window.word in (windows.ABOVE, windows.APART):
        return True
    first = window.word == windows.AT_ONCE or (window.word == windows.FOUND and window.first.ratio <= effort.narrow * 1.001)
    return first and (not window.ends or window.last.ratio <= effort.narrow * 1.001)


def _shared(want: Want, wanted: Mapping[int, int], effort: Effort) -> Want:
    """A dose that another verdict already asks for and that divides the gap about as well is taken instead of a new one."""
    if want.code not in (search.BISECT, search.NARROW, search.BESIDE) or want.dose in wanted:
        return want
    whole = search.distance(want.low, want.high)
    for dose in wanted:
        parts = search.distance(want.low, dose), search.distance(dose, want.high)
        if want.low < dose < want.high and max(parts) <= 0.7 * whole:
            return replace(want, dose=dose)
    return want


def _cells(wanted: Mapping[int, int], tried: set[Cell], done: Mapping[int, int], settings: Settings) -> list[Cell]:
    """The runs that are missing, a seed of every dose before the next seed of any; of dose 0, the base, there is one."""
    highest: dict[int, int] = {}
    for dose, seed in tried:
        highest[dose] = max(seed, highest.get(dose, settings.first_seed - 1))
    found = []
    for dose, runs in wanted.items():
        after = highest.get(dose, settings.first_seed - 1) + 1
        found += [(place, dose, after + place) for place in range(max(0, (runs if dose else 1) - done.get(dose, 0)))]
    return [(dose, seed) for _, dose, seed in sorted(found)]


def _counts(cells: Iterable[Cell]) -> dict[int, int]:
    count: dict[int, int] = {}
    for dose, _ in cells:
        count[dose] = count.get(dose, 0) + 1
    return count


def _left(settings: Settings, done: int, minutes: float) -> tuple[int | None, str]:
    """(how many cells the budget has room for, None: any number; which budget that is)."""
    found: list[tuple[int, str]] = []
    if settings.cells is not None:
        found.append((settings.cells - done, CELLS))
    if settings.minutes is not None:
        left = settings.minutes - minutes
        # Before the first cell is done nobody knows what one takes.
        found.append((int(left * done / minutes) if done and minutes > 0 else (1 if left > 0 else 0), MINUTES))
    return min(found) if found else (None, "")


def _finished(code: str, outcomes: Sequence[Outcome], settings: Settings, left: tuple[int, ...]) -> Finished:
    return Finished(End(code, settings.cells, settings.minutes, left), thresholds(outcomes, settings))
