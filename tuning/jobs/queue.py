"""The queue of training jobs: each a detached process that outlives the page and the app; one at a time per device.

Nothing here waits. `tick` looks at processes and files, writes what it finds into the store and starts what may start; any
number of pages, threads and apps may call it at any time. A job's process owns itself (tuning.train.run_files), this only reads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from sqlite_utils import Database

from common import space
from common.errors import UserError
from store import jobs as stored
from tuning.jobs.folders import wipe
from tuning.jobs.launch import LOG, best_device, start, with_absolute_paths
from tuning.jobs.progress import progress, tail
from tuning.jobs.watcher import clear_away, update_job
from tuning.train.run_files import last_saved_step
from tuning.train.settings import Settings, SettingsError

__all__ = ["JobError", "enqueue", "enqueue_command", "keep_ticking", "progress", "remove", "resume", "stop", "tail", "tick"]

Where: TypeAlias = str | Path | Database
log = logging.getLogger("mirror")


class JobError(UserError):
    """What was asked cannot be done to this job; one sentence."""


def enqueue(
    where: Where,
    settings: Settings,
    *,
    name: str = "",
    device: str = "",
    needs_bytes: int | None = None,
    park: bool = False,
    owned: bool | None = None,
    unestimated: str = "",
) -> int:
    """Queues a training run; the job's id. `tick` starts it. Raises SettingsError (all problems) or StoreError (folder taken).

    device: where it will compute, if not `settings.device` or what the machine offers. needs_bytes: see tuning.jobs.memory;
    unestimated: why there are none. park: the chat's base may leave the device for the time. owned: see `enqueue_command`.
    """
    settings = with_absolute_paths(settings)
    if problems := settings.problems():
        raise SettingsError(problems)
    return enqueue_command(
        where,
        ["-m", "tuning.train", *settings.as_arguments()],
        settings.output_dir,
        name=name or settings.adapter_name,
        device=device or settings.device or best_device(),
        settings=settings.as_dict(),
        needs_bytes=needs_bytes,
        park=park,
        owned=owned,
        unestimated=unestimated,
    )


def enqueue_command(
    where: Where,
    arguments: Sequence[str],
    folder: str | Path,
    *,
    name: str = "",
    kind: str = "train",
    device: str = "cpu",
    settings: Mapping | None = None,
    needs_bytes: int | None = None,
    park: bool = False,
    owned: bool | None = None,
    unestimated: str = "",
) -> int:
    """Queues `python ARGUMENTS`, which runs in the repository's root and writes to `folder`; the job's id.

    owned: discarding may remove everything in the folder; if not said, that is so when there is nothing in it yet.
    """
    folder = Path(folder).expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise JobError(f"{folder} is a file; name a folder for the job.")
    if owned is None:
        owned = not folder.exists() or not any(folder.iterdir())
    return stored.add(
        where,
        name=name or folder.name,
        kind=kind,
        arguments=list(map(str, arguments)),
        folder=str(folder),
        log=str(folder / LOG),
        device="cuda:0" if device == "cuda" else device,
        settings=settings,
        owned=owned,
        needs_bytes=needs_bytes,
        park=park,
        unestimated=unestimated,
    )


def tick(where: Where, may_start: Callable[[dict], str | None] | None = None) -> list[int]:
    """Brings the store up to date and starts the next job of every free device; ids of the jobs of which something is new.

    may_start(job): None, or the sentence why the job has to wait, which its message then says.
    """
    changed = [job["id"] for job in stored.active(where) if update_job(where, job)]
    for job in stored.next_up(where):
        why_not = may_start(job) if may_start else None
        if why_not:
            if stored.change(where, job, message=why_not):
                changed.append(job["id"])
        elif start(where, job["id"]):
            changed.append(job["id"])
    return sorted(set(changed))


def stop(where: Where, id: int, keep: bool = True) -> str:
    """Asks a job to end; its status afterwards. Asking again, or an ended job, changes nothing.

    keep: after the step in progress, with checkpoint and adapter. Otherwise at once, and its files are removed; this may also
    be asked of a job that is being stopped, but not the other way round.
    """
    was = stored.get(where, id)["status"]
    job = stored.ask_to_stop(where, id, keep)
    if job["status"] == "stopping":
        update_job(where, job)
    elif was == "queued" and job["status"] == "discarded" and (left := clear_away(job)):
        stored.change(where, job, message=f"discarded; {left}")
    return stored.get(where, id)["status"]


def resume(where: Where, id: int, base: str = "") -> int:
    """Queues the next attempt of a job, from its last checkpoint; the step it goes on from. Raises JobError.

    base: what its base is called now, if not as before; the trainer makes sure that the weights are the same.
    """
    job = stored.get(where, id)
    if job["kind"] != "train" or job["status"] not in ("stopped", "failed", "died"):
        raise JobError(f"Job {id} is {job['status']}; only training that was stopped, failed or died can be resumed.")
    step = last_saved_step(job["folder"])
    if step is None:
        raise JobError(f"Job {id} has no whole checkpoint in {job['folder']}; start it again from its settings.")
    changed: dict[str, Any] = {}
    if base and job["settings"]:
        settings = Settings.from_dict(job["settings"] | {"base_model": base})
        changed = {"arguments": ["-m", "tuning.train", *settings.as_arguments()], "settings": settings.as_dict()}
    if not stored.requeue(where, job, step, **changed):
        raise JobError(f"Job {id} has changed meanwhile; look at it again.")
    return step


def remove(where: Where, id: int, files: bool = False) -> None:
    """Forgets a job that is not running; with `files`, what it wrote goes, too. Raises StoreError while it runs, and JobError
    where the folder is not its own any more: the job is then forgotten, and the folder stays."""
    job = stored.get(where, id)
    stored.remove(where, id)
    if files and not wipe(job):
        raise JobError(f"Job {id} is forgotten; {job['folder']} holds what it did not write, so that stays as it is.")


def keep_ticking(
    where: str | Path,
    stop_now: threading.Event,
    may_start: Callable[[dict], str | None] | None = None,
    after: Callable[[], None] | None = None,
    every_s: float = 2.0,
) -> threading.Thread:
    """A thread of the app that ticks, so that the queue moves with no page open; `after` is called after each tick."""

    def work() -> None:
        told = ""
        while not stop_now.wait(every_s):
            try:
                tick(where, may_start)
                if after:
                    after()
                told = ""
            except Exception as error:  # a full disk passes, and the queue must not stand still for ever after it
                full, before, told = space.full_disk_sentence(error), told, repr(error)
                if told != before:  # said once, not every two seconds
                    log.error("the jobs could not be looked after; trying again every %g s: %s", every_s, full, exc_info=not full)

    thread = threading.Thread(target=work, name="jobs", daemon=True)
    thread.start()
    return thread
