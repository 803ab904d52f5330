"""What a run tells the world, as files: a page, a job queue or a person only reads them.

metrics.jsonl has one line per optimizer step, written at once; state.json is replaced whole, so a reader never sees half of it.
A file named `stop` in the folder, SIGTERM or SIGINT end the run after the step in progress.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
from pydantic import Field, FiniteFloat

from common import outside
from common.errors import UserError
from common.files import write_json, write_text
from common.outside import Shape
from common.seeming import not_what_it_seems

Status = Literal["starting", "running", "saving", "done", "stopped", "failed"]
METRICS, STATE, STOP = "metrics.jsonl", "state.json", "stop"
# of a checkpoint that a run can go on from; the first is written last
PARTS = ("trainer_state.json", "adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt")


LARGEST = 2**26  # bytes; a trainer's state has a line for every step


class FileError(UserError):
    """A file of a run is not what a run writes; one sentence."""


class State(Shape):
    """state.json, as far as others read it."""

    pid: Annotated[int, Field(ge=0, lt=2**31)]
    process_started: FiniteFloat
    status: Status = "starting"
    message: Annotated[str, Field(max_length=100_000)] = ""
    step: Annotated[int, Field(ge=0, lt=2**53)] = 0
    total: Annotated[int, Field(ge=0, lt=2**53)] = 0


class Journal:
    """The files of one run. Only the first of several processes writes; the others hold a silent one (folder None)."""

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = Path(folder) if folder else None
        self.known: dict[str, Any] = {
            "pid": os.getpid(),
            "process_started": psutil.Process().create_time(),
            "started": time.time(),
            "step": 0,
            "total": 0,
        }

    def state(self, status: Status, message: str = "", **more: Any) -> None:
        """Say where the run is; `more` (step, total, ...) is remembered for the next time."""
        self.known |= {"status": status, "message": message, "updated": time.time()} | more
        if self.folder:
            write_json(self.folder / STATE, self.known, sync=False)  # at every step, and of no use to a machine that went down

    def metric(self, line: Mapping[str, Any]) -> None:
        if self.folder:
            with open(self.folder / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(dict(line)) + "\n")  # closing flushes: a killed run keeps its lines

    def cut(self, step: int) -> None:
        """Before a run is resumed at `step`: what a killed run wrote beyond it is done again."""
        if self.folder and (self.folder / METRICS).is_file():
            kept = [line for line in read_metrics(self.folder) if line["step"] <= step]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_text(self.folder / METRICS, text)


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """All lines so far; a last one that is still being written is left out."""
    path = Path(folder) / METRICS
    lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
    found = []
    for line in lines[:-1]:
        if (read := metrics_line(line)) is not None:
            found.append(read)
    return found


def metrics_line(text: str | bytes) -> dict[str, Any] | None:
    """One line's numbers by name. None for the half line of a killed run, before a resumed one went on."""
    try:
        line = outside.from_json(text, METRICS, FileError, gaps=True)
    except FileError:
        return None
    return line if isinstance(line, dict) and type(line.get("step")) is int and 0 <= line["step"] < 2**53 else None


def read_state(folder: str | Path) -> dict[str, Any] | None:
    """The last state, None before there is one. A run that stopped without a word has its process gone: see `is_alive`.

    Raises FileError or OSError for a file that is not what a run writes.
    """
    state = read_json(Path(folder) / STATE)
    if state is not None:
        outside.check(
            State, state, outside.display_name(Path(folder) / STATE), FileError, "the run writes it anew at its next step"
        )
    return state


def is_alive(state: Mapping[str, Any]) -> bool:
    """Whether the process that wrote this state still is; the start time tells it from a later one with its number."""
    try:
        return abs(psutil.Process(state["pid"]).create_time() - state["process_started"]) < 1
    except psutil.Error:
        return False


def last_saved_step(folder: str | Path) -> int | None:
    """The step of the newest checkpoint of which nothing is missing, empty or cut off."""
    steps = []
    for path in Path(folder).glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if number.isdigit() and whole_checkpoint(path):
            steps.append(int(number))
    return max(steps, default=None)


def whole_checkpoint(path: Path) -> bool:
    """Whether nothing is missing, as far as the files show it unopened."""
    return not missing_parts(path)


def missing_parts(path: Path) -> list[str]:
    """What a checkpoint lacks, as far as the files show it unopened."""
    found = []
    for name in PARTS:
        if what := not_what_it_seems(path / name):
            found.append(f"{name} {what}")
        elif not (path / name).is_file():
            found.append(f"{name} is missing")
    if not found:
        try:
            state = read_json(path / PARTS[0])
        except FileError:
            return [f"{PARTS[0]} is cut off or damaged"]
        if not isinstance(state, dict) or type(state.get("global_step")) is not int or state["global_step"] < 1:
            return [f"{PARTS[0]} names no step (global_step)"]
    return found


def read_json(path: Path) -> dict[str, Any] | None:
    """An object that a run wrote, None where there is no file. Raises FileError, one sentence."""
    if not path.is_file():
        return None
    plain = outside.read_json(path, FileError, gaps=True, largest=LARGEST)
    if not isinstance(plain, dict):
        raise FileError(f"{outside.display_name(path)} holds {type(plain).__name__}, an object is expected; no run wrote it.")
    return plain


class StopSign:
    """Whether the run was asked to end. A second signal ends the process as ever."""

    def __init__(self, folder: str | Path) -> None:
        self.file = Path(folder) / STOP
        self.file.unlink(missing_ok=True)  # a stop of an earlier run
        self.asked = threading.Event()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self.hear)

    def hear(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        self.asked.set()

    def __bool__(self) -> bool:
        return self.asked.is_set() or self.file.exists()
