"""The search for the least dose that does, after the grid: what the finder asks for is made and asked, until it has an answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from experiments import finder, foreseen as ahead, judging, work
from experiments.cells import Cell, cell_at, expand
from experiments.finder import Asked, Finished
from experiments.foreseen import Foreseen
from experiments.outcome import Outcome, scores_of
from experiments.places import ExperimentError
from experiments.plan import BASE, Plan
from experiments.progress import Journal
from experiments.run import loop
from experiments.session import Session
from experiments.windows import Window, describe
from experiments.work import Done

Scores = dict[str, dict[str, float]]  # "measure/lang" -> probe -> share


def grid_and_search(session: Session, cells: Sequence[Cell], told: Foreseen, journal: Journal, done: Done) -> None:
    """The cells of the plan, then for each series of its grid the search. Raises UserError, Stopped."""
    series: dict[str, Cell] = {}
    for cell in expand(session.plan):
        if cell.kind == "trained" and not cell.model and cell.dose:
            series.setdefault(cell.series, cell)
    if not series:
        raise ExperimentError("--find looks between doses, and the plan has none above 0: give doses, or leave --find out.")
    for like in series.values():
        finder.check(settings_of(session.plan, like))  # before anything is computed
    loop.run_cells(session, cells, told, journal, done)
    for name, like in series.items():
        search(session, name, like, journal, done)


def search(session: Session, name: str, like: Cell, journal: Journal, done: Done) -> None:
    """One series to its end; what is known stands in the journal after every round."""
    settings = settings_of(session.plan, like)
    at_zero, scores = {settings.first_seed}, dict[str, Scores]()
    everything = [cell for cell in expand(session.plan, all_of_them=True) if _belongs(cell, like)]
    mine = {cell.label: cell for cell in everything if cell.label not in session.plan.leave_out}
    left_out = {(cell.dose, cell.seed) for cell in everything if cell.label in session.plan.leave_out}
    while True:
        outcomes = _outcomes(session, mine.values(), done, scores) + _of_base(session, like, done, at_zero)
        failed = {(cell.dose, cell.seed) for cell in mine.values() if cell.label not in done.answers}
        if not like.background and BASE not in done.answers:
            failed |= {(0, seed) for seed in at_zero}
        took = sum(journal.cells[label].took for label in mine if label in journal.cells)
        answer = finder.next_cells(outcomes, settings, failed=failed, never=left_out, minutes=took / 60)
        _tell(session, journal, name, answer, finder.thresholds(outcomes, settings))
        if isinstance(answer, Finished):
            return
        new = [cell_at(session.plan, like, *asked) for asked in answer.cells if asked[0] or like.background]
        at_zero |= {seed for dose, seed in answer.cells if not dose and not like.background}
        if new:
            told = ahead.foresee_in(session, new)
            work.add(journal, new, told.cells)
            loop.run_cells(session, new, told, journal, done)
        mine |= {cell.label: cell for cell in new}


def _belongs(cell: Cell, like: Cell) -> bool:
    """Whether a cell is of the series; a dose of 0 beside general rows is of all styles'."""
    same = (cell.background, cell.arm, cell.recipe) == (like.background, like.arm, like.recipe)
    return cell.kind == "trained" and not cell.model and same and (not cell.dose or cell.series == like.series)


def settings_of(plan: Plan, like: Cell) -> finder.Settings:
    """What the plan says of the search, for one series; doses whose cells are all left out are none of its grid."""

    def is_made(dose: int) -> bool:
        base = not dose and not like.background
        return base or any(cell_at(plan, like, dose, seed).label not in plan.leave_out for seed in plan.seeds)

    doses = [dose for dose in sorted(plan.doses) if is_made(dose)]
    return finder.settings_from(plan.find, doses, plan.langs, min(plan.seeds))


def _outcomes(session: Session, cells: Iterable[Cell], done: Done, known: dict[str, Scores]) -> list[Outcome]:
    """Of the cells that have answers. known: scores by label, so that each is worked out once."""
    cells = list(cells)
    for cell in cells:
        if cell.label in done.answers and cell.label not in known:
            known[cell.label] = scores_of(judging.evidence(session, done.answers[cell.label]), done.base)
    return [Outcome(cell.dose, cell.seed, known[cell.label]) for cell in cells if cell.label in known]


def _of_base(session: Session, like: Cell, done: Done, seeds: set[int]) -> list[Outcome]:
    """A dose of 0 without general rows is the base, whatever the seed."""
    if like.background or 0 not in session.plan.doses or BASE not in done.answers:
        return []
    scores = scores_of(done.base, done.base)
    return [Outcome(0, seed, scores) for seed in sorted(seeds)]


def _tell(session: Session, journal: Journal, name: str, answer: Asked | Finished, windows: Sequence[Window]) -> None:
    ended = isinstance(answer, Finished)
    told = {
        "series": name, "ended": ended, "why": answer.why, "thresholds": [dataclasses.asdict(one) for one in windows],
        "asked": [] if isinstance(answer, Finished) else [list(one) for one in answer.cells],
        "reasons": [dataclasses.asdict(one) for one in answer.said],
    }  # fmt: skip
    journal.found = [*(one for one in journal.found if one["series"] != name), told]
    journal.write(force=True)
    session.say(f"{name}: {answer.why}")
    for one in windows if ended else ():
        session.say(f"  {describe(one)}")
