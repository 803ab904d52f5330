"""Training jobs and their metrics. Only rows: starting, watching and stopping processes is the business of `tuning.jobs`.

A job is a plain dict: the columns of its row, `arguments` (a list), `settings` (a dict or None) and `attempts` (a list, one dict
per attempt that a resumed job has behind it) read from JSON. Times are `now()`'s texts.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.db import StoreError, connected, now, writing

ACTIVE = ("starting", "running", "stopping")
ENDED = ("done", "stopped", "failed", "died", "discarded")
JSON_COLUMNS = ("arguments", "settings", "attempts")
# what a new attempt knows nothing of
FRESH: dict[str, object] = dict.fromkeys(
    ("started", "ended", "token", "pid", "process_start", "child_pid", "child_start", "exit_code", "stop_asked", "signalled")
)
FRESH |= {"stop_keep": 1, "metrics_file": "", "metrics_offset": 0}
# the end of the queue: an order that no clock changes
LAST = "(select coalesce(max(place), 0) + 1 from jobs)"
PAST = ("attempt", "status", "message", "started", "ended", "exit_code", "step", "resumed_from")
NUMBERS = ("time", "epoch", "loss", "lr", "grad_norm", "samples_per_s", "tokens_per_s", "eval_loss", "margin")
COUNTED = {"step", "total_steps"}


def add(
    where: str | Path | Database,
    *,
    name: str,
    kind: str,
    arguments: Sequence[str],
    folder: str,
    log: str,
    device: str,
    settings: Mapping[str, Any] | None = None,
    owned: bool = False,
    needs_bytes: int | None = None,
    park: bool = False,
    unestimated: str = "",
) -> int:
    """Queues a job; its id. StoreError if another job that is queued or running uses the folder.

    folder, log: absolute. owned: nothing but this job's files is in the folder. device: `cpu`, `cuda:0` ...: one job at a time
    runs on each. needs_bytes: estimated memory on it; unestimated: why there is no estimate. park: the chat's base may be moved
    away for the time.
    """
    moment = now()
    row = FRESH | {
        "name": name,
        "kind": kind,
        "arguments": json.dumps(list(arguments), ensure_ascii=False),
        "settings": json.dumps(dict(settings), ensure_ascii=False) if settings is not None else None,
        "folder": folder,
        "owned": int(owned),
        "log": log,
        "device": device,
        "needs_bytes": needs_bytes,
        "unestimated": unestimated,
        "park": int(park),
        "parked": 0,
        "status": "queued",
        "message": "",
        "created": moment,
        "queued": moment,
        "attempt": 1,
        "attempts": "[]",
        "resumed_from": None,
        "step": 0,
        "total": 0,
        "mark": secrets.token_hex(8),  # what it writes into its folder, to know it again
    }
    with connected(where) as db, writing(db):
        refuse_shared_folder(db, folder)
        id: int = db["jobs"].insert(row).last_pk
        db.execute(f"update jobs set place = {LAST} where id = ?", [id])
        return id


def get(where: str | Path | Database, id: int) -> dict[str, Any]:
    """StoreError if there is no such job."""
    with connected(where) as db:
        return one(db, id)


def recent(where: str | Path | Database, limit: int = 100) -> list[dict[str, Any]]:
    """The latest first."""
    with connected(where) as db:
        return [job(row) for row in db["jobs"].rows_where(order_by="id desc", limit=limit)]


def active(where: str | Path | Database) -> list[dict[str, Any]]:
    """The jobs that have, or should have, a process."""
    with connected(where) as db:
        return [job(row) for row in db["jobs"].rows_where(f"status in {ACTIVE}", order_by="id")]


def unfinished(where: str | Path | Database) -> list[dict[str, Any]]:
    """Active and queued jobs."""
    with connected(where) as db:
        return [job(row) for row in db["jobs"].rows_where(f"status in {(*ACTIVE, 'queued')}", order_by="place, id")]


def next_up(where: str | Path | Database) -> list[dict[str, Any]]:
    """The first queued job of every device on which none is active."""
    with connected(where) as db:
        rows = db["jobs"].rows_where("status = 'queued'", order_by="place, id")
        busy = {row["device"] for row in db["jobs"].rows_where(f"status in {ACTIVE}")}
        first: dict[str, dict[str, Any]] = {}
        for row in rows:
            first.setdefault(row["device"], row)
        return [job(row) for device, row in first.items() if device not in busy]


def claim(where: str | Path | Database, id: int, token: str) -> dict[str, Any] | None:
    """Makes a queued job `starting`; None if it is queued no more, or its device is taken: of two that ask, one gets it."""
    with connected(where) as db, writing(db):
        row = one(db, id)
        taken = db["jobs"].count_where(f"status in {ACTIVE} and device = ?", [row["device"]])
        if row["status"] != "queued" or taken:
            return None
        db["jobs"].update(id, FRESH | {"status": "starting", "message": "", "started": now(), "token": token})
        return one(db, id)


def change(where: str | Path | Database, was: Mapping[str, Any], **columns: object) -> bool:
    """Writes columns if the job's attempt and status are still those of `was`, so that nobody acts on what has passed.

    True if anything is different now.
    """
    with connected(where) as db, writing(db):
        row = next(iter(db["jobs"].rows_where("id = ?", [was["id"]])), None)
        if row is None or (row["attempt"], row["status"]) != (was["attempt"], was["status"]):
            return False
        different = {name: value for name, value in columns.items() if row[name] != value}
        if different:
            db["jobs"].update(was["id"], different)
        return bool(different)


def ask_to_stop(where: str | Path | Database, id: int, keep: bool) -> dict[str, Any]:
    """The job, `stopping` if it was active, ended if it was queued. Nothing new if it has ended or was asked before; only
    the change from keeping to discarding is taken up."""
    with connected(where) as db, writing(db):
        row = one(db, id)
        if row["status"] == "queued":
            status = "stopped" if keep else "discarded"
            new: dict[str, object] = {"status": status, "message": "taken out of the queue", "ended": now()}
        elif row["status"] in ACTIVE and (not row["stop_asked"] or (row["stop_keep"] and not keep)):
            new = {"status": "stopping", "signalled": None}
        else:
            return row
        db["jobs"].update(id, new | {"stop_asked": now(), "stop_keep": int(keep)})
        return one(db, id)


def claim_signal(where: str | Path | Database, was: Mapping[str, Any]) -> bool:
    """True for the one that is to send the signal, of all that ask; once per `ask_to_stop` that changed anything."""
    with connected(where) as db, writing(db):
        row = one(db, was["id"])
        if row["signalled"] or any(row[name] != was[name] for name in ("attempt", "status", "stop_keep")):
            return False
        db["jobs"].update(was["id"], {"signalled": now()})
        return True


def requeue(
    where: str | Path | Database,
    was: Mapping[str, Any],
    resumed_from: int,
    arguments: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> bool:
    """The next attempt of an ended job, at the end of the queue; False if it changed meanwhile.

    arguments, settings: in place of the job's own.
    """
    with connected(where) as db, writing(db):
        row = one(db, was["id"])
        if (row["attempt"], row["status"]) != (was["attempt"], was["status"]) or row["status"] not in ENDED:
            return False
        refuse_shared_folder(db, row["folder"])
        past = [*row["attempts"], {name: row[name] for name in PAST}]
        new = {"status": "queued", "message": "", "queued": now(), "attempt": row["attempt"] + 1}
        new |= {"resumed_from": resumed_from, "parked": 0}
        if arguments is not None:
            new |= {"arguments": json.dumps(list(arguments), ensure_ascii=False)}
            new |= {"settings": json.dumps(settings, ensure_ascii=False)}
        db["jobs"].update(row["id"], FRESH | new | {"attempts": json.dumps(past, ensure_ascii=False)})
        db.execute(f"update jobs set place = {LAST} where id = ?", [row["id"]])
        return True


def remove(where: str | Path | Database, id: int) -> None:
    """Forgets a job and its metrics. StoreError while it is active."""
    with connected(where) as db, writing(db):
        row = one(db, id)
        if row["status"] in ACTIVE:
            raise StoreError(f"Job {id} is {row['status']}; stop it before it is removed.")
        db["metrics"].delete_where("job = ?", [id])
        db["jobs"].delete(id)


def take_metrics(
    where: str | Path | Database,
    was: Mapping[str, Any],
    lines: Iterable[Mapping[str, Any]],
    file: str,
    offset: int,
    anew: bool = False,
) -> bool:
    """Adds lines read from a metrics file up to `offset`; twice the same changes nothing.

    was: the job as it was read; if somebody took the lines since then, False. anew: forget what was known, the file is
    another one. Lines of one step join in one row, whose time is the first one's; numbers that are no column go into `extra`;
    NaN becomes null: a gap.
    """
    with connected(where) as db, writing(db):
        row = one(db, was["id"])
        if any(row[name] != was[name] for name in ("attempt", "metrics_file", "metrics_offset")):
            return False
        if anew:
            db["metrics"].delete_where("job = ?", [was["id"]])
        joined: dict[int, dict[str, Any]] = {}
        for line in lines:
            step = line.get("step")
            if isinstance(step, int):
                known = joined.setdefault(step, {})
                # the first line's time is the step's; a validation of it may have taken long
                known |= {name: value for name, value in line.items() if name not in known or name != "time"}
        for step, line in joined.items():
            numbers = {name: value for name, value in line.items() if number(value) is not None}
            extra = {name: value for name, value in numbers.items() if name not in NUMBERS and name not in COUNTED}
            values = [numbers.get(name) for name in NUMBERS] + [json.dumps(extra) if extra else None]
            names = [*NUMBERS, "extra"]
            kept = ", ".join(f"{name} = coalesce(excluded.{name}, {name})" for name in names if name != "time")
            db.execute(
                f"insert into metrics (job, step, {', '.join(names)}) values ({', '.join('?' * (len(names) + 2))}) "
                f"on conflict (job, step) do update set {kept}",
                [was["id"], step, *values],
            )
        db["jobs"].update(was["id"], {"metrics_file": file, "metrics_offset": offset})
        return True


def metrics(where: str | Path | Database, id: int) -> list[dict[str, Any]]:
    """One dict per step, in order; `extra` is a dict."""
    with connected(where) as db:
        rows = db["metrics"].rows_where("job = ?", [id], order_by="step")
        return [row | {"extra": json.loads(row["extra"] or "{}")} for row in rows]


def number(value: object) -> float | None:
    """A finite number or None."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    return None


def one(db: Database, id: int) -> dict[str, Any]:
    row = next(iter(db["jobs"].rows_where("id = ?", [id])), None)
    if row is None:
        raise StoreError(f"There is no job {id}.")
    return job(row)


def job(row: Mapping[str, Any]) -> dict[str, Any]:
    return dict(row) | {name: json.loads(row[name]) if row[name] else None for name in JSON_COLUMNS}


def refuse_shared_folder(db: Database, folder: str) -> None:
    for row in db["jobs"].rows_where(f"folder = ? and status in {(*ACTIVE, 'queued')}", [folder]):
        raise StoreError(f"Job {row['id']} ({row['name']}) is {row['status']} and writes to {folder}; choose another folder.")
