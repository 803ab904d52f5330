"""All cells of a plan, one after the other, with what is still to come told on the way."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from common.errors import UserError
from experiments import judging, work
from experiments.cells import Cell
from experiments.foreseen import CellForeseen, Foreseen
from experiments.progress import ENDED, Journal
from experiments.session import Session, Stopped
from experiments.work import Done
from tuning.train.estimate import format_duration


def run_cells(session: Session, cells: Sequence[Cell], foreseen: Foreseen, journal: Journal, done: Done) -> bool:
    """Whether all came out well. Raises Stopped and DiskFull; what is done is kept."""
    well = True
    for at, cell in enumerate(cells):
        said = f"{at + 1}/{len(cells)} {cell.label}"
        journal.left_s = seconds_left(journal, foreseen.cells)
        journal.write(force=True)
        began = time.monotonic()
        good = work.do_cell(session, cell, journal, done)
        well = well and good
        session.say(f"{said}: {summary(journal, cell)} ({format_duration(time.monotonic() - began)})")
    journal.left_s = 0.0
    return well


def seconds_left(journal: Journal, foreseen: Mapping[str, CellForeseen]) -> float:
    """Of the cells to come, as foreseen, and corrected by how long those took that were really computed."""
    told = {cell.label: foreseen[cell.label].seconds for cell in journal.cells.values() if cell.label in foreseen}
    # one that failed at once says nothing of how long the others take
    ended = [cell for cell in journal.cells.values() if cell.status == "done" and told.get(cell.label)]
    ratio = sum(cell.took for cell in ended) / sum(told[cell.label] for cell in ended) if ended else 1.0
    return ratio * sum(told.get(cell.label, 0.0) for cell in journal.cells.values() if cell.status not in ENDED)


def summary(journal: Journal, cell: Cell) -> str:
    """What became of a cell, in a line."""
    state = journal.cells[cell.label]
    if state.status != "done":
        return f"{state.status}: {state.why}"
    told = []
    for lang, figures in state.figures.items():
        old, new = figures["old"], figures["new"]
        if new["share"] is not None:
            told.append(f"{lang} old {_share(old)}, new {_share(new)}, {figures['verdicts']['new']}")
    return "; ".join(told) or "done"


def _share(of: Mapping[str, float]) -> str:
    return f"{of['share']:.0%} [{of['low']:.0%} to {of['high']:.0%}]"


def write_report(session: Session, done: Done, made_by: str) -> None:
    """Of what there is; nothing without answers."""
    if done.answers:
        session.say(f"report: {judging.write_report(session, list(done.answers.values()), made_by)}")


def ended(journal: Journal, error: BaseException | None) -> int:
    """How the experiment ended, in its state; the exit code."""
    if isinstance(error, Stopped):
        journal.status, journal.message = "stopped", "stopped; the same command goes on"
    elif error is not None:
        journal.status, journal.message = (
            "failed",
            str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}",
        )
    else:
        failed = sum(cell.status == "failed" for cell in journal.cells.values())
        journal.status, journal.message = "done", f"{failed} cells failed" if failed else ""
    journal.left_s = None
    journal.write(force=True)
    return {"done": 0 if not journal.message else 1, "stopped": 130, "failed": 2}[journal.status]
