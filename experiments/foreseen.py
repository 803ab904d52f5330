"""What a plan will take, told before anything starts: time, memory and disk of every cell, and what looks wrong.

Training is foreseen by the trainer's own forecast; answers by a few of the plan's own questions, asked of the base for a moment.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.types import Decoding, Request, Variant
from experiments import asking
from experiments.cells import Cell, expand
from experiments.making import Making, is_finished, make_ready
from experiments.places import Places
from experiments.plan import Plan
from experiments.session import Session, loaded_engine, open_session
from probes.run.plan import plan_conversations
from tuning.dataset.rows import distinct
from tuning.jobs.forecast import forecast
from tuning.train.estimate import Caution
from tuning.train.run_memory import adapter_parameters
from tuning.train.settings import Settings

if TYPE_CHECKING:
    from engine import Engine

Told = tuple[float, int | None, tuple[Caution, ...]]

ROW_BYTES, ANSWER_BYTES = 350, 3000  # of a row in its file, of an answer in the database with its prompt and suggestion, about
ASKED, TOKENS = 32, 16  # questions, as many as are answered at once, and tokens that are timed
USUAL = 0.4  # of the longest answer that is allowed, the usual one: 50 of 128 tokens (bayling-mini, all four sets)
CHECKPOINTS = 2 * (4 + 8) + 2  # bytes per number: two checkpoints with Adam's moments in fp32, the adapter in fp16


@dataclass(frozen=True)
class CellForeseen:
    """seconds: still to come, 0 where all is kept; memory_bytes: of the training, None where it cannot be told. kept: which of
    adapter and answers are there. refused: why it cannot be trained."""

    seconds: float
    memory_bytes: int | None = None
    disk_bytes: int = 0
    kept: tuple[str, ...] = ()
    cautions: tuple[Caution, ...] = ()
    refused: str = ""
    training_s: float = 0.0
    asking_s: float = 0.0


@dataclass(frozen=True)
class Foreseen:
    """cells: by label. memory_bytes: the most at one time, with the base that answers."""

    cells: Mapping[str, CellForeseen]
    base_bytes: int = 0
    labels: Sequence[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(cell.seconds for cell in self.cells.values())

    @property
    def disk_bytes(self) -> int:
        return sum(cell.disk_bytes for cell in self.cells.values())

    def cautions(self, words: Callable[[Caution], str]) -> dict[str, list[str]]:
        """What looks wrong, each in those words once, with the labels of the cells that it is about."""
        found: dict[str, list[str]] = {}
        for label, cell in self.cells.items():
            for caution in cell.cautions:
                found.setdefault(words(caution), []).append(label)
        return found

    @property
    def memory_bytes(self) -> int:
        return self.base_bytes + max((cell.memory_bytes or 0 for cell in self.cells.values()), default=0)


def foresee(plan: Plan, places: Places, engine: Engine | None = None, cells: Sequence[Cell] | None = None) -> Foreseen:
    """Of all cells of the plan, or of these. engine: with the plan's base, loaded already. Raises UserError.

    Nothing is written. It takes some seconds: rows are composed, a few products and a few answers timed.
    """
    session = open_session(plan, places, say=lambda _line: None)
    session.engine = engine
    return foresee_in(session, expand(plan) if cells is None else cells)


def foresee_in(session: Session, cells: Sequence[Cell]) -> Foreseen:
    """The same with what is open already."""
    per_answer = time_answers(session)
    known: dict[tuple[object, ...], Told] = {}
    found = {}
    for cell in cells:
        found[cell.label] = _foresee_cell(session, cell, per_answer, known)
    model = loaded_engine(session).base.model
    return Foreseen(found, sum(one.numel() * one.element_size() for one in model.parameters()), [cell.label for cell in cells])


def time_answers(session: Session) -> float:
    """Seconds of one answer beside others, about."""
    engine, asked = loaded_engine(session), session.plan.probes
    few = session.probes[:: max(1, len(session.probes) // ASKED)][:ASKED]
    tokens = min(TOKENS, asked.max_new_tokens)
    variant = Variant("base", decoding=Decoding(max_new_tokens=tokens))
    requests = [Request([{"role": "user", "content": probe.question}], variant) for probe in few]
    began = time.perf_counter()
    engine.answer(requests)
    spent = (time.perf_counter() - began) / len(requests)
    return spent * max(1.0, USUAL * asked.max_new_tokens / tokens)


def _foresee_cell(session: Session, cell: Cell, per_answer: float, known: dict[tuple[object, ...], Told]) -> CellForeseen:
    kept: list[str] = []
    training, memory, disk = 0.0, None, 0
    cautions: tuple[Caution, ...] = ()
    making = make_ready(session, cell.trained) if cell.trained is not None else None
    if making is not None and is_finished(making.folder):
        kept.append("adapter")
    elif making is not None and cell.kind == "trained":
        training, memory, cautions = _foresee_training(session, making, known)
        numbers = adapter_parameters(loaded_engine(session).base, making.settings)
        disk = numbers * CHECKPOINTS + len(making.rows) * ROW_BYTES
    samples = session.plan.probes.samples
    count = sum(len(one.turns) for one in plan_conversations(session.probes, 1, samples))
    there = making is None or is_finished(making.folder)  # of an adapter that is not made there are no answers
    asked = 0.0 if there and asking.is_answered(session, cell, making) else count * per_answer
    if asked:
        disk += count * ANSWER_BYTES
    else:
        kept.append("answers")
    refused = " ".join(one.text for one in cautions if one.refuse)
    return CellForeseen(training + asked, memory, disk, tuple(kept), cautions, refused, training, asked)


def _foresee_training(session: Session, making: Making, known: dict[tuple[object, ...], Told]) -> Told:
    """Cells that differ in their seed alone are foreseen once."""
    plain = making.settings.as_dict()
    kinds = tuple(sorted(Counter(row.kind for row in making.rows).items()))
    key = (
        kinds,
        len(distinct(making.rows)),
        *(str(value) for name, value in plain.items() if name not in ("seed", "data_path", "output_dir")),
    )
    if key not in known:
        told = forecast(Settings.from_dict(plain), making.rows, loaded_engine(session).base)
        known[key] = (told.report.seconds or 0.0, told.needed, told.report.cautions)
    return known[key]
