"""Looking after running jobs: what their processes and files say goes into the store; a stop that was asked for is carried out.

Nothing here waits; what needs time goes on at the next look, whoever has it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import Field
from sqlite_utils import Database

from common import outside, space
from common.outside import Shape
from store import jobs as stored
from store.db import now
from tuning.jobs import processes
from tuning.jobs.folders import RECORD, wipe
from tuning.jobs.progress import tail
from tuning.train.run_files import METRICS, STOP, FileError, metrics_line, read_json, read_state

APPEAR_S = 30  # a process that has not shown itself by then never will: it needs a fraction of a second
KEEP_S = 60  # a step on a slow machine may take that long; the signal that follows asks for the same as the file
DISCARD_S = 5
METRICS_BYTES = 2**23  # read at once; the rest at the next look

Where: TypeAlias = str | Path | Database
Pid = Annotated[int, Field(gt=0, lt=2**31)]


class Record(Shape):
    """process.json, which a job's first process writes."""

    token: str
    pid: Pid
    start: str | None
    child_pid: Pid | None = None
    child_start: str | None = None
    code: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None


_known: dict[tuple, float] = {}  # (attempt's token, column, moment) -> when it was first seen, on the clock that nobody sets
_known_lock = threading.Lock()


def update_job(where: Where, job: dict) -> bool:
    """One look at an active job: what is new goes into the store, a stop that was asked for goes on. True if anything is new."""
    # first this, then the files: those of a process that has ended are final
    living = is_alive(job)
    record = read_record(job)
    # its pid may never have been noted, or its first process was killed and the training goes on
    living = living or (record is not None and is_alive(process_columns(record)))
    # state before metrics, as they are written the other way round: no step without its numbers
    state = (state_of(job) if record else None) or {}
    new = sync_metrics(where, job)
    facts = {"step": state.get("step") or job["step"], "total": state.get("total") or job["total"]}
    if record:
        facts |= process_columns(record)
    if not living:
        unseen = job["pid"] is None and not record
        if unseen and seconds_known(job, "started") < APPEAR_S:
            return new
        return close_job(where, job | facts, record or {}, state) or new
    if job["status"] == "starting" and record:
        facts["status"] = "running"
    facts["message"] = state.get("message") or ""
    new = stored.change(where, job, **facts) or new
    if job["stop_asked"]:
        carry_out_stop(where, job | facts, state)
    return new


def process_columns(record: Mapping) -> dict:
    """A process record's ids, by the names of the store's columns."""
    child = {name: record.get(name) for name in ("child_pid", "child_start")}
    return {"pid": record["pid"], "process_start": record["start"]} | child


def is_alive(job: Mapping) -> bool:
    """Whether one of the two processes that are known of the job still is."""
    return any(
        processes.is_alive(job[pid], job[known]) for pid, known in (("pid", "process_start"), ("child_pid", "child_start"))
    )


def read_record(job: Mapping) -> dict | None:
    """What the attempt's own first process wrote, None if there is nothing yet."""
    try:
        record = read_json(Path(job["folder"]) / RECORD)
    except (OSError, FileError):
        return None
    # one that is not this attempt's, or not written by its process, says nothing of it
    fits = record is not None and not outside.faults(Record, record) and record["token"] == job["token"]
    return record if fits else None


def state_of(job: Mapping) -> dict | None:
    """The run's own state; of a file that is none, the sentence that says so as its message."""
    try:
        return read_state(job["folder"])
    except (OSError, FileError) as error:
        return {"message": str(error)}


def sync_metrics(where: Where, job: Mapping) -> bool:
    """Takes the lines that metrics.jsonl has gained; all of them if it is another file than before, or shorter."""
    try:
        with open(Path(job["folder"]) / METRICS, "rb") as file:
            about = os.fstat(file.fileno())
            name, offset = f"{about.st_dev}/{about.st_ino}", job["metrics_offset"]
            anew = name != job["metrics_file"] or about.st_size < offset
            file.seek(0 if anew else offset)
            read = file.read(METRICS_BYTES)
    except OSError:
        return False
    whole = read[: read.rfind(b"\n") + 1]  # a line that is still being written waits for its end
    if not whole and not anew:
        return False
    lines = [line for text in whole.split(b"\n") if text and (line := metrics_line(text)) is not None]
    return stored.take_metrics(where, job, lines, name, (0 if anew else offset) + len(whole), anew)


def carry_out_stop(where: Where, job: dict, state: Mapping) -> None:
    """Goes on with a stop. Of several that press at once, the one that notes it in the store signals."""
    pressed = seconds_known(job, "stop_asked")
    if job["stop_keep"]:
        # again and again: a run that is just starting clears away the stop sign of an earlier one
        with contextlib.suppress(OSError):
            (Path(job["folder"]) / STOP).touch()
        beginning = state.get("status", "starting") == "starting"  # nothing to keep, and it may be long till it looks
        # once: a second signal would cut off the saving
        if (beginning or pressed > KEEP_S) and job["child_pid"] and stored.claim_signal(where, job):
            send_first(job, state, signal.SIGTERM)
    elif stored.claim_signal(where, job):
        send_all(job, signal.SIGTERM)
    elif pressed > DISCARD_S:
        send_all(job, signal.SIGKILL)


def send_first(job: Mapping, state: Mapping, number: signal.Signals) -> None:
    """To the process that trains: with several, to the first, which tells the others."""
    known = dict(processes.members(job["pid"], job["token"]))
    pid: int = state["pid"] if state.get("pid") in known else job["child_pid"]
    processes.send_signal(pid, known.get(pid, job["child_start"]), number)


def send_all(job: Mapping, number: signal.Signals) -> None:
    """Children before parents. The session's first process is left: it writes down how the others ended, and ends."""
    for pid, known in processes.members(job["pid"], job["token"]):
        processes.send_signal(pid, known, number)


def close_job(where: Where, job: dict, record: Mapping, state: Mapping) -> bool:
    """The last look: its processes are gone, and how it ended goes into the store. True if anything is new."""
    send_all(job, signal.SIGKILL)  # what a killed launcher of several processes left behind would keep the device busy
    status, message = outcome(job, record, state)
    facts = {name: job[name] for name in ("step", "total", "pid", "process_start", "child_pid", "child_start")}
    while sync_metrics(where, stored.get(where, job["id"])):
        pass  # all of them: nobody looks after it once it has ended
    changed = stored.change(where, job, **facts, status=status, message=message, exit_code=record.get("code"), ended=now())
    if changed and status == "discarded" and (left := clear_away(job)):  # only who ended it
        stored.change(where, job | {"status": status}, message=f"stopped; {left}")
    return changed


def clear_away(job: Mapping) -> str:
    """Removes what the job wrote; what is left, and why, in half a sentence."""
    try:
        return "" if wipe(job) else f"{job['folder']} is not its own any more and stays as it is"
    except OSError as error:
        return f"its files in {job['folder']} could not be removed ({error.strerror or error})"


def outcome(job: Mapping, record: Mapping, state: Mapping) -> tuple[str, str]:
    """(status, message) of a job whose process is gone."""
    code, said = record.get("code"), state.get("status")
    at = f"after step {job['step']} of {job['total']}" if job["step"] else "before its first step"
    if job["stop_asked"] and not job["stop_keep"]:
        return "discarded", f"stopped {at}, its files removed"
    if said in ("done", "stopped"):
        return said, state.get("message") or ""
    if said == "failed":
        return "failed", state.get("message") or last_line(job)
    if job["stop_asked"] and code in (0, -signal.SIGTERM):
        return "stopped", f"stopped {at}"
    if code is None:
        if not record:
            return "died", describe_full_disk(job) or "The process ended before it had begun; try again."
        return "died", f"The process ended {at} without a word: it was killed, or the machine was restarted."
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        hint = ", which is also how a machine that runs out of memory helps itself" if -code == signal.SIGKILL else ""
        return "died", f"The process was ended by {name} {at}{hint}."
    if code:
        return "failed", last_line(job)
    return "done", ""


def last_line(job: Mapping) -> str:
    """The end of the log: of a refused call, all that is wrong with it."""
    lines = [line for line in tail(job["log"], 20, 2000).splitlines() if not line.startswith("$ ")]
    return "\n".join(lines).strip() or describe_full_disk(job) or "The process failed without a word."


def describe_full_disk(job: Mapping) -> str:
    """A sentence if the job's disk is full, so that not even a word of the process found room."""
    return space.sentence(job["folder"], "The process failed") if space.free_bytes(job["folder"]) < space.NEARLY else ""


def seconds_known(job: Mapping, since: str) -> float:
    """Seconds for which this program has known of the moment in the column `since`; no clock that is set moves them."""
    key, at = (job["token"], since, job[since]), time.monotonic()
    with _known_lock:
        for old in [one for one in _known if one[:2] == key[:2] and one != key]:
            del _known[old]
        return at - _known.setdefault(key, at)
