"""A cell, from its rows to its figures: every step that is kept is taken, every other done, and what fails says why."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from common.errors import UserError
from common.space import DiskFull
from experiments import asking, judging, making
from experiments.cells import Cell, describe
from experiments.foreseen import CellForeseen
from experiments.making import Making, Tell, make_ready
from experiments.progress import CellState, CellStatus, Journal
from experiments.session import Session, Stopped
from probes.answers.sources import Answers
from probes.verdicts.rules import Judged

log = logging.getLogger("mirror")


@dataclass(eq=False)
class Done:
    """What the cells came to so far: answers by label, and the base's as evidence."""

    answers: dict[str, Answers] = field(default_factory=dict)
    base: Sequence[Judged] = ()


def begin(journal: Journal, cells: Sequence[Cell], foreseen: Mapping[str, CellForeseen]) -> None:
    """The cells of the state, waiting."""
    journal.cells.clear()
    add(journal, cells, foreseen)


def add(journal: Journal, cells: Sequence[Cell], foreseen: Mapping[str, CellForeseen]) -> None:
    """More cells, waiting."""
    for cell in cells:
        told = foreseen.get(cell.label)
        journal.cells[cell.label] = CellState(
            cell.label, cell.kind, seconds=told.seconds if told else None, about=describe(cell), why=told.refused if told else ""
        )
    journal.write(force=True)


def do_cell(session: Session, cell: Cell, journal: Journal, done: Done) -> bool:
    """One cell, whole; whether it came out well. Only Stopped and a full disk come through."""
    began, before = time.monotonic(), journal.cells[cell.label].took

    def tell(status: CellStatus, share: float, **more: Any) -> None:
        took = before + time.monotonic() - began
        changed = replace(journal.cells[cell.label], status=status, share=share, took=took, **({"why": ""} | more))
        journal.cells[cell.label] = changed
        journal.write(force=status in ("done", "failed", "stopped"))

    try:
        if session.stopping:
            raise Stopped
        runs = make_and_ask(session, cell, journal, tell)
        tell("judging", 0.0)
        answers = judging.read_answers(session, cell, runs)
        if cell.kind == "base":
            done.base = judging.evidence(session, answers)
        figures = judging.figures_of(session, cell, answers, done.base)
        done.answers[cell.label] = answers
        tell("done", 1.0, figures=figures)
        return True
    except Stopped:
        tell("stopped", journal.cells[cell.label].share)
        raise
    except DiskFull as error:  # nothing else could be written either
        tell("failed", 0.0, why=str(error))
        raise
    except UserError as error:
        tell("failed", 0.0, why=str(error))
    except Exception as error:
        log.exception("the cell %s was not foreseen to fail", cell.label)
        tell(
            "failed", 0.0, why=f"This was not foreseen, see the log: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        )
    return False


def make_and_ask(session: Session, cell: Cell, journal: Journal, tell: Tell) -> tuple[int, ...]:
    """The runs that hold the cell's answers. Raises UserError, Stopped."""
    made: Making | None = None
    if cell.trained is not None:
        tell("training", 0.0)
        made = make_ready(session, cell.trained)
        if cell.of is not None and (told := journal.cells.get(cell.of.label)) and told.status == "failed":
            raise UserError(f"The adapter it is asked with could not be made: {told.why}")
        making.train(session, made, tell)
    tell("asking", 0.0)
    return asking.ask(session, cell, made, tell)
