"""A model with an adapter merged into it: where it goes, and the job that writes it. No Gradio."""

from __future__ import annotations

from pathlib import Path

from common.outside import place_key
from engine.types import EngineError
from tuning.jobs import memory, queue
from ui import adapter_library
from ui.context import App


def queue_merge(app: App, name: str, target: str, strength: float) -> int:
    """Queues the merging of an adapter into a model folder; the job's id. Raises EngineError, JobError or StoreError."""
    if not target.strip():
        raise EngineError("The folder for the model is not named; name a new one.")
    place = app.opened.place(target, EngineError, "The folder for the model", write=True)
    if place.exists():
        raise EngineError(f"{place} is there already; name a new folder for the model.")
    folder = place_key(adapter_library.opened_folder(app, adapter_library.folder_of(app, name)))
    arguments = ["-m", "tuning.merge", "--adapter", folder, "--output_dir", str(place.absolute()), "--base", app.base_spec]
    arguments += ["--strength", f"{strength:g}"]
    if app.accept_other_base:
        arguments.append("--accept_other_base")
    log = default_target(app, f".{place.name}-log")
    needed = memory.needed_to_merge(app.base_spec)
    why = "" if needed else f"the size of {app.base_spec} cannot be told."
    id = queue.enqueue_command(
        app.db, arguments, log, name=place.name, kind="merge", owned=True, needs_bytes=needed, unestimated=why
    )
    queue.tick(app.db, memory.admission(app.engine, app.db))
    return id


def default_target(app: App, name: str) -> Path:
    """A folder that is free, for a model with this adapter merged in."""
    folder = app.runs / "merged"
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(folder / one for one in names if not (folder / one).exists()).absolute()
