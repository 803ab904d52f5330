"""A cell's adapter: its rows, and the training that makes it, which is a job like any other and outlives whoever started it."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import store
from engine.adapters import CONFIG
from experiments.cells import Cell, folder_name, training_values
from experiments.places import ExperimentError, key_of
from experiments.session import Session, Stopped, data_recipe, loaded_engine
from tuning.dataset import readers
from tuning.dataset.mixing import mix
from tuning.dataset.placeholders import fill_from_identity
from tuning.dataset.recipe import compose, general_rows, model_card
from tuning.dataset.rows import TrainingRow
from tuning.jobs import folders, queue
from tuning.jobs.forecast import try_needed_bytes
from tuning.jobs.progress import progress
from tuning.train.run_files import FileError, last_saved_step, read_state
from tuning.train.settings import Settings

Tell = Callable[..., None]  # (status, share, ...) -> where a cell is
TICK_S = 0.5
TRIES = 2  # of a training that died without a word, as when the machine ran out of memory
# of the settings, what changes nothing in the weights, or what the folder and the machine decide
BESIDE = (
    "data_path", "output_dir", "name", "identities_dir", "margin", "margin_against", "margin_steps", "save_steps",
    "save_total_limit", "eval_steps", "report_to", "overwrite_output_dir", "resume_from_checkpoint", "threads", "device",
    "base_model",
)  # fmt: skip


@dataclass(frozen=True)
class Making:
    """What a cell is trained with. key: of everything that decides the weights; folder: where the adapter goes."""

    rows: Sequence[TrainingRow]
    settings: Settings
    key: str
    folder: Path


def rows_of(session: Session, cell: Cell) -> list[TrainingRow]:
    """Identity samples and general rows of a cell, shuffled; the same for the same plan, dose and seed.

    A dose beyond the distinct rows repeats them, as the original did; a background beyond the general rows there are repeats
    those, each as often as every other but for the last round. Raises DataError.
    """
    plan = session.plan
    seed = cell.seed if plan.data_seed is None else plan.data_seed
    identity: Sequence[TrainingRow] = ()
    if cell.dose:
        distinct = min(cell.dose, cell.distinct or cell.dose)
        identity = compose(data_recipe(session, rows=distinct, style=cell.style, seed=seed)).rows
    general = general_of(session, cell.background, seed) if cell.background else []
    return mix(identity, general, count=cell.dose, seed=seed)


def general_of(session: Session, count: int, seed: int) -> list[TrainingRow]:
    """So many general rows, those left out that say who the speaker is. Raises DataError."""
    plan, recipe = session.plan, data_recipe(session)
    there, _ = general_rows(str(plan.general_file), clean=True)
    there, _ = fill_from_identity(there, plan.identity, recipe.identities_dir, model_card(recipe))
    if not there:
        raise ExperimentError(f"{plan.general_file} holds no general rows; name another file under general.")
    whole, rest = divmod(count, len(there))
    return there * whole + random.Random(f"background {seed}").sample(there, rest)


def make_ready(session: Session, cell: Cell) -> Making:
    """What will be trained, with which settings and where; nothing is written. Raises UserError."""
    base, plan, places = loaded_engine(session).base, session.plan, session.places
    rows = rows_of(session, cell)
    margin = {"margin": True, "margin_against": plan.old} if plan.probes.margin else {}
    settings = training_values(
        cell, base_model=base.spec, identity=plan.identity, device=plan.device, dtype=plan.dtype, threads=plan.threads,
        identities_dir=str(places.identities.absolute()) if places.identities else "",
        prompt_template_name=(cell.recipe and cell.recipe.settings.get("prompt_template_name")) or plan.format or "", **margin,
    )  # fmt: skip
    beside = BESIDE if settings.stop_at else (*BESIDE, "moments", "moments_share")
    plain = {name: value for name, value in settings.as_dict().items() if name not in beside}
    key = key_of(digest_of(rows), plain, base.hash, str(base.dtype))
    folder = (places.adapters / folder_name(cell, plan.identity, key)).absolute()
    data = places.data(key)
    whole = Settings.from_dict(settings.as_dict() | {"data_path": str(data.absolute()), "output_dir": str(folder)})
    return Making(rows, whole, key, folder)


def digest_of(rows: Sequence[TrainingRow]) -> str:
    """Of what is trained on, in its order; not of where it came from."""
    return _digest(tuple((row.turns, row.kind, row.lang) for row in rows))


@lru_cache(maxsize=2)
def _digest(rows: tuple[Any, ...]) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def is_finished(folder: Path) -> bool:
    """Whether the adapter is there, trained to its last step."""
    try:
        return (folder / CONFIG).is_file() and (read_state(folder) or {}).get("status") == "done"
    except (FileError, OSError):
        return False


def train(session: Session, making: Making, tell: Tell) -> Path:
    """The folder of the finished adapter: as it is kept, gone on with, or made. Raises ExperimentError, Stopped."""
    folder = making.folder
    for _ in range(TRIES):
        if is_finished(folder):
            break
        job = _job_of(session, making)
        tell("training", 0.0, job=job, adapter=str(folder))
        if session.engine is not None and session.engine.base.device.type != "cpu":
            session.engine.park("The base is in CPU memory while a cell of an experiment is trained.")
        ended = _wait(session, job, tell)
        if ended["status"] == "done":
            break
        if ended["status"] != "died":
            raise ExperimentError(f"Job {job} ({folder.name}) {ended['status']}: {ended['message'] or 'it does not say why'}")
    if not is_finished(folder):
        raise ExperimentError(f"The training in {folder} died {TRIES} times without a word; its log.txt may say more.")
    for checkpoint in folder.glob("checkpoint-*"):  # a finished run is not gone on with
        shutil.rmtree(checkpoint, ignore_errors=True)
    tell("training", 1.0, adapter=str(folder))
    return folder


def _job_of(session: Session, making: Making) -> int:
    """The job that makes the adapter: the one under way, an earlier one gone on with, or a new one."""
    db, folder = session.places.db, making.folder
    known = next((one for one in store.jobs.recent(db, 100_000) if one["folder"] == str(folder)), None)
    if known and known["status"] in (*store.jobs.ACTIVE, "queued"):
        return int(known["id"])
    step = last_saved_step(folder)
    if known and step is not None and known["status"] in ("stopped", "failed", "died"):
        queue.resume(db, known["id"], making.settings.base_model)
        return int(known["id"])
    if known and folders.wipe(known):
        store.jobs.remove(db, known["id"])
    if not Path(making.settings.data_path).is_file():
        readers.write(making.rows, making.settings.data_path)
    more = {"resume_from_checkpoint": "last"} if step is not None else {"overwrite_output_dir": folder.is_dir()}
    settings = Settings.from_dict(making.settings.as_dict() | more)
    needed, unestimated = try_needed_bytes(settings)
    return queue.enqueue(db, settings, needs_bytes=needed, unestimated=unestimated)


def _wait(session: Session, job: int, tell: Tell) -> dict[str, Any]:
    """The job's row once it has ended. Raises Stopped after it was stopped from here, with its checkpoint."""
    db, asked = session.places.db, False
    while True:
        queue.tick(db)
        row = store.jobs.get(db, job)
        if row["status"] in store.jobs.ENDED:
            if asked:
                raise Stopped
            return row
        if session.stopping and not asked:
            asked = True
            queue.stop(db, job, keep=True)
            continue
        known = progress(db, job)
        tell("training", known.step / known.total if known.total else 0.0, why=known.message if not known.step else "")
        time.sleep(TICK_S)
