"""What other tabs get of an experiment: adapters for the chat, answers as a queue, runs for the results. No Gradio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import store
from experiments import checking
from experiments.cells import expand
from experiments.places import ExperimentError, key_of
from experiments.progress import CellState, State
from probes import queue as planned_queue
from probes.answers import sources
from probes.queue import QueuePlan
from ui import adapter_library
from ui.context import App
from ui.tabs.experiment import plans
from ui.variants import Picked
from ui.words import say

LISTED = 6  # runs in a queue's name


def cell_of(state: State | None, label: str) -> CellState:
    """Raises ExperimentError if it is there no more."""
    found = next((cell for cell in state.cells if cell.label == label), None) if state else None
    if found is None:
        raise ExperimentError(f"There is no cell {label!r} any more; choose another one.")
    return found


def is_answerable(cell: CellState) -> bool:
    """Whether the chat can ask whoever the cell is, beside the base."""
    return cell.kind != "base" and (not cell.adapter or adapter_library.is_adapter(cell.adapter))


def picked_of(app: App, name: str, cell: CellState) -> Picked:
    """A column of the chat that asks whoever the cell is; its adapter is loaded. Raises UserError."""
    adapter = adapter_library.ensure_loaded(app, Path(cell.adapter)) if cell.adapter else ""
    plain = Picked(adapter=adapter) if adapter else Picked()
    if cell.kind != "prompt":
        return plain
    plan = checking.read_file(plans.places_named(app, name).plan, app.identities)
    made = next((one for one in expand(plan, all_of_them=True) if one.label == cell.label), None)
    if made is None or made.prompt is None:
        raise ExperimentError(f"The plan of {name} has no cell {cell.label!r} any more; go on with it first.")
    return Picked(adapter=plain.adapter, identity=made.prompt.identity, mode=made.prompt.mode)


def runs_of(cells: Sequence[CellState]) -> list[int]:
    """Their runs, each once."""
    return list(dict.fromkeys(run for cell in cells for run in cell.runs))


def _listed(runs: Sequence[int]) -> str:
    """All of them, as far as a name has room: other runs are another queue."""
    if len(runs) <= LISTED:
        return ", ".join(map(str, runs))
    return f"{runs[0]} … {runs[-1]}, {key_of(list(runs))[:4]}"


def queue_of(app: App, lang: str, name: str, cells: Sequence[CellState]) -> tuple[int, bool]:
    """The queue of these cells' answers, and whether it is new: the one that was made of the same runs, or a blind one in which
    they are spread evenly. Raises StoreError, RowsError, ExperimentError."""
    runs = runs_of(cells)
    if not runs:
        raise ExperimentError(say(lang, "xp_no_answers"))
    what = cells[0].label if len(cells) == 1 else say(lang, "xp_n_cells", count=len(cells))
    title = say(lang, "xp_queue_name", name=name, what=what, runs=_listed(runs))
    known = next((queue["id"] for queue in store.queues.all_with_counts(app.db) if queue["name"] == title), None)
    if known is not None:
        return int(known), False
    about = (store.runs.get(app.db, runs[0])["settings"] or {}).get("about") or {}
    plan = QueuePlan(
        variants=(), langs=(), kind="labels", blind=True, mask=False, overlap=1, draw="stratified", size=0,
        old=about.get("old") or "", new=about.get("new") or "", name=title, gold=None,
    )  # fmt: skip
    rows = sources.join_answers([sources.read_run(app.db, run) for run in runs]).rows
    made = planned_queue.make_queue(app.db, rows, plan, app.identities)
    if made is None:
        raise ExperimentError(say(lang, "xp_nothing_to_label"))
    return made, True
