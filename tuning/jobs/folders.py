"""A job's folder is its own only if the job says so in it: a mark, written at its beginning, looked at before anything goes.

By its name alone a folder may long be somebody else's: an adapter that was renamed, an upload, another job.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from common import leftovers
from common.errors import UserError
from common.files import write_json

RECORD = "process.json"  # of the process that runs it, see tuning.jobs.wrapper
MARK = ".mirror-job.json"  # {"mark": the job's, "before": names of what was there when it began}
# what a run of tuning.train leaves in a folder that it does not have for itself
RUN_FILES: tuple[str, ...] = (
    "checkpoint-*",
    "adapter_config.json",
    "adapter_model.*",
    "card.json",
    "settings.json",
    "plan.json",
    ".adapter-*",
)
RUN_FILES += ("moments", "runs", "metrics.jsonl", "state.json", "stop", RECORD, "log.txt", f"{leftovers.PREFIX}*")


class TakenError(UserError):
    """The folder is not the job's any more; one sentence."""


def claim_folder(job: Mapping) -> None:
    """Makes the folder and marks it as this job's; what is there already stays known as others'. TakenError or OSError.

    A training that was promised a folder of its own does not begin in one that holds something else by now.
    """
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    known = read_mark(folder)
    if job["mark"] is None or (known and known["mark"] == job["mark"]):  # of an earlier version, or an attempt before this
        return
    before = [path.name for path in folder.iterdir() if path.name != MARK]
    if job["owned"] and before:
        if job["kind"] == "train":
            raise TakenError(
                f"{folder} holds something else by now ({', '.join(sorted(before)[:4])}), which stays as it is; "
                "start the training again under another name."
            )
        if known is None:
            return
        before = []  # the folder of logs of an earlier job of this kind
    write_json(folder / MARK, {"mark": job["mark"], "before": before})


def read_mark(folder: Path) -> dict | None:
    """The folder's mark, None if it has none that a job wrote."""
    try:
        known = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    fits = isinstance(known, dict) and isinstance(known.get("mark"), str) and isinstance(known.get("before"), list)
    return known if fits else None


def mark_of(job: Mapping) -> dict | None:
    """What the folder says if it is this job's, else None. Jobs of an earlier version left their attempt's token there."""
    folder = Path(job["folder"])
    if job["mark"] is not None:
        known = read_mark(folder)
        return known if known and known["mark"] == job["mark"] else None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    its = isinstance(record, dict) and job["token"] and record.get("token") == job["token"]
    return {"mark": None, "before": []} if its else None


def wipe(job: Mapping) -> bool:
    """Removes what the job wrote, and nothing that was there before it. False if the folder is not the job's any more.

    True as well if there is nothing to remove, because it never began or the folder has gone.
    """
    folder = Path(job["folder"])
    if not folder.is_dir():
        return True
    known = mark_of(job)
    if known is None:
        return not any(folder.iterdir())
    if job["owned"] and not known["before"]:
        leftovers.put_away(folder)
        return True
    for path in {path for pattern in RUN_FILES for path in folder.glob(pattern) if path.name not in known["before"]}:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    (folder / MARK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()
    return True
