"""Where an experiment is, as files: whoever runs it writes them, and anybody only reads. Beginning and stopping are here too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from common import outside, process
from common.files import write_json, write_text
from common.outside import Shape
from experiments.places import CHECKOUT, ExperimentError, Places

Status = Literal["starting", "running", "done", "stopped", "failed"]
CellStatus = Literal["waiting", "training", "asking", "measuring", "judging", "done", "failed", "stopped"]
ENDED: tuple[CellStatus, ...] = ("done", "failed")
LARGEST = 2**27
WRITE_S = 0.5  # between two writings of the state, unless something has ended


class CellShape(Shape):
    label: str
    kind: str
    status: CellStatus


class StateShape(Shape):
    """state.json, as far as others read it."""

    plan: str
    status: Status
    pid: int
    start: str | None
    cells: list[CellShape]


@dataclass(frozen=True)
class CellState:
    """One cell. about: what `cells.describe` says of it. share: of the step in progress, 0 to 1. seconds: foreseen, took: so far.

    adapter: its folder; runs: in the database; job: of the training. figures: `judging.figures_of`, by language.
    """

    label: str
    kind: str
    status: CellStatus = "waiting"
    why: str = ""
    share: float = 0.0
    seconds: float | None = None
    took: float = 0.0
    adapter: str = ""
    job: int | None = None
    runs: tuple[int, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """status `died`: it said it was running, and its process is gone. left_s: None until it can be told. found: of --find.

    deciding: count or share, of crossed mixes."""

    plan: str
    status: str
    message: str
    started: float
    elapsed_s: float
    left_s: float | None
    cells: tuple[CellState, ...]
    found: Sequence[Mapping[str, Any]] = ()
    deciding: Sequence[Mapping[str, Any]] = ()

    @property
    def done(self) -> int:
        return sum(cell.status in ENDED for cell in self.cells)

    @property
    def failed(self) -> int:
        return sum(cell.status == "failed" for cell in self.cells)

    @property
    def is_under_way(self) -> bool:
        return self.status in ("starting", "running")


def read_state(places: Places) -> State | None:
    """Where the experiment in this folder is; None if none was begun. Raises ExperimentError for a file that is none of ours."""
    if not places.state.is_file():
        return None
    plain = outside.read_json(places.state, ExperimentError, gaps=True, largest=LARGEST)
    outside.check(StateShape, plain, str(places.state), ExperimentError, "remove it; what is kept is found again")
    cells = tuple(_cell_state(cell) for cell in plain["cells"])
    status, now = plain["status"], time.time()
    alive = process.is_alive(plain["pid"], plain["start"])
    if status in ("starting", "running") and not alive:
        status = "died"
    started = float(plain.get("started") or now)
    until = now if status in ("starting", "running") else float(plain.get("updated") or now)
    left = plain.get("left_s") if status == "running" else None
    told = [plain.get(name) or () for name in ("found", "deciding")]
    return State(plain["plan"], status, plain.get("message") or "", started, max(0.0, until - started), left, cells, *told)


def _cell_state(plain: Mapping[str, Any]) -> CellState:
    known: dict[str, Any] = {name: plain[name] for name in CellState.__dataclass_fields__ if name in plain}
    return CellState(**known | {"runs": tuple(known.get("runs") or ())})


def start(text: str, places: Places, more: Sequence[str] = ()) -> int:
    """Begins the experiment of a plan's text, or goes on with it, as a process of its own; its number. more: further flags.

    It outlives whoever started it. Raises ExperimentError if one is under way in this folder.
    """
    state = read_state(places)
    if state and state.is_under_way:
        raise ExperimentError(f"An experiment is under way in {places.out}; stop it, or take another folder.")
    places.out.mkdir(parents=True, exist_ok=True)
    write_text(places.plan, text)
    places.stop.unlink(missing_ok=True)
    command = [sys.executable, "-m", "experiments.run", str(places.plan), *places.as_arguments(), *more]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "TOKENIZERS_PARALLELISM": "false"}
    with open(places.log, "ab") as log:
        begun = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=CHECKOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
    threading.Thread(target=begun.wait, name="experiment", daemon=True).start()  # collected when it ends
    journal = Journal(places, "", pid=begun.pid)
    journal.write(force=True)  # from now on it is there, before its process has written anything
    return begun.pid


def stop(places: Places) -> bool:
    """Asks the experiment to end after the step in progress, keeping everything; whether one was under way."""
    state = read_state(places)
    if state is None or not state.is_under_way:
        return False
    write_text(places.stop, "")
    return True


class Journal:
    """What the running experiment says of itself. Cells by label, in their order."""

    def __init__(self, places: Places, plan: str, pid: int | None = None) -> None:
        self.places, self.plan = places, plan
        self.cells: dict[str, CellState] = {}
        self.status: Status = "starting"
        self.message, self.left_s = "", None
        self.found: Sequence[Mapping[str, Any]] = ()
        self.deciding: Sequence[Mapping[str, Any]] = ()
        self.pid = pid or os.getpid()
        self.started, self.written = time.time(), 0.0

    left_s: float | None

    def write(self, force: bool = False) -> None:
        """Now and then, or at once; a reader never sees half of it."""
        if not force and time.monotonic() - self.written < WRITE_S:
            return
        self.written = time.monotonic()
        plain = {
            "plan": self.plan, "status": self.status, "message": self.message, "pid": self.pid,
            "start": process.identity(self.pid), "started": self.started, "updated": time.time(), "left_s": self.left_s,
            "found": list(self.found), "deciding": list(self.deciding), "cells": [vars(cell) for cell in self.cells.values()],
        }  # fmt: skip
        write_json(self.places.state, plain, sync=force)


def folder_of(path: str | Path) -> Path:
    """Whole, as processes work in other folders than whoever started them."""
    return Path(path).expanduser().resolve()
