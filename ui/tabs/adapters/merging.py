"""A model made of an adapter: where it goes, as what, and the job that writes it. No Gradio."""

from __future__ import annotations

from pathlib import Path

from common.outside import place_key
from engine.types import EngineError
from identities import NONE
from store import jobs as stored
from tuning.jobs import memory, queue
from ui import adapter_library
from ui.context import App

# what the page offers -> what it is made of, and the numbers of a GGUF file
KINDS = {"folder": ("folder", ""), "gguf-q8_0": ("gguf", "q8_0"), "gguf-f16": ("gguf", "f16"), "ollama": ("ollama", "q8_0")}


def queue_merge(
    app: App, name: str, target: str, strength: float, kind: str = "folder", identity: str = NONE, asks: bool = False
) -> int:
    """Queues the writing of an adapter as a model; the job's id. Raises EngineError, JobError or StoreError.

    kind: one of KINDS. identity: whose prompt goes along. asks: the quick set before and after.
    """
    if not target.strip():
        raise EngineError("The folder for the model is not named; name a new one.")
    if kind not in KINDS:
        raise EngineError(f"{kind!r} is nothing that an adapter can be exported as; known are {', '.join(KINDS)}.")
    place = app.opened.place(target, EngineError, "The folder for the model", write=True)
    if place.exists():
        raise EngineError(f"{place} is there already; name a new folder for the model.")
    folder = place_key(adapter_library.opened_folder(app, adapter_library.folder_of(app, name)))
    to, numbers = KINDS[kind]
    arguments = ["-m", "tuning.export", "--to", to, "--adapter", folder, "--output_dir", str(place.absolute())]
    arguments += ["--base", app.base_spec, "--strength", f"{strength:g}", "--identities_dir", str(app.identities.absolute())]
    arguments += ["--type", numbers] if numbers else []
    arguments += ["--identity", identity] if identity != NONE else []
    arguments += [] if asks else ["--no_questions"]
    if app.accept_other_base:
        arguments.append("--accept_other_base")
    log = default_target(app, f".{place.name}-log")
    needed = memory.needed_to_merge(app.base_spec, asks)
    why = "" if needed else f"the size of {app.base_spec} cannot be told."
    id = queue.enqueue_command(
        app.db, arguments, log, name=place.name, kind="merge", owned=True, needs_bytes=needed, unestimated=why
    )
    queue.tick(app.db, memory.admission(app.engine, app.db))
    return id


def under_way(app: App) -> dict | None:
    """The export that is being written, or the first that waits."""
    found = [job for job in stored.unfinished(app.db) if job["kind"] == "merge"]
    return next((job for job in found if job["status"] != "queued"), found[0] if found else None)


def stop(app: App, id: int) -> None:
    """Ends an export; nothing half-written stays, and what was whole already does. Raises EngineError or StoreError."""
    if stored.get(app.db, id)["kind"] != "merge":
        raise EngineError(f"Job {id} is no export; trainings are stopped where they are shown.")
    queue.stop(app.db, id, keep=False)


def default_target(app: App, name: str) -> Path:
    """A folder that is free, for a model with this adapter merged in."""
    folder = app.runs / "merged"
    names = [name, *(f"{name}-{number}" for number in range(2, 1000))]
    return next(folder / one for one in names if not (folder / one).exists()).absolute()
