"""Cells as tasks of a Ray cluster: `--on ray` for one on this machine, `--on ray://HOST:PORT` for one that runs.

A task is one unit of the plan (`units`) in a process of its own, which ends when its worker does; Ray then tries it elsewhere,
where it goes on from its last checkpoint. Plan, data, adapters and answers lie in a folder that all machines see (--storage),
and this program at the same path on each. Needs requirements-ray.txt; nothing else imports Ray.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.places import CHECKOUT, ExperimentError, Places
from experiments.progress import CellState, Journal, read_state, stop
from experiments.session import Session, Stopped
from experiments.units import Unit, arguments_of, unit_places

LOCAL = "ray"
RETRIES = 3  # of a unit whose worker died
WAIT_S = 120.0  # for the process of a worker that died to keep its checkpoint and end
POLL_S = 1.0
PARENT_DIES = 1  # PR_SET_PDEATHSIG of Linux


def run_units(
    session: Session, units: Sequence[Unit], places: Places, plan: Path, journal: Journal, where: str, slots: int
) -> None:
    """All units, on as many workers as there are; their states are told in `journal` on the way.

    where: `ray` or `ray://HOST:PORT`. slots: workers of a local cluster, 0 for one of each two cores. Raises Stopped,
    ExperimentError if there is no Ray or no cluster.
    """
    ray = connect(where, slots)
    try:
        needs = {"num_gpus": 1} if ray.cluster_resources().get("GPU") and session.plan.device != "cpu" else {"num_cpus": 1}
        task = ray.remote(max_retries=RETRIES, **needs)(make_unit)
        waiting = {
            task.options(name=unit.name).remote(arguments_of(plan, places, unit), str(unit_places(places, unit).out)): unit
            for unit in units
        }
        asked = False
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=POLL_S)
            for one in ready:
                unit = waiting.pop(one)
                _take_end(ray, one, unit, journal)
            for unit in units:
                tell_unit(places, unit, journal)
            journal.write()
            if session.stopping and not asked:
                asked = True
                for one, unit in waiting.items():
                    if not stop(unit_places(places, unit)):  # not begun yet
                        ray.cancel(one)
        if asked:
            raise Stopped
    finally:
        ray.shutdown()


def connect(where: str, slots: int) -> Any:
    """Ray, connected. Raises ExperimentError."""
    try:
        import ray
    except ImportError:
        raise ExperimentError("--on ray needs Ray; install it: pip install -r requirements-ray.txt") from None
    env = {"env_vars": {"PYTHONPATH": str(CHECKOUT)}}
    try:
        if where == LOCAL:
            workers = slots or max(1, (os.cpu_count() or 1) // 2)
            ray.init(num_cpus=workers, include_dashboard=False, runtime_env=env, log_to_driver=False, configure_logging=False)
        else:
            ray.init(address=where, runtime_env=env, log_to_driver=False)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ExperimentError(
            f"--on {where}: there is no cluster to be reached ({' '.join(str(error).split())[:300]})."
        ) from None
    return ray


def make_unit(arguments: Sequence[str], folder: str) -> int:
    """A task: `python ARGUMENTS` to its end; its exit code. On a worker's machine."""
    places = Places(Path(folder))
    deadline = time.monotonic() + WAIT_S
    while (state := read_state(places)) and state.is_under_way:  # of a worker that died, and is just keeping its checkpoint
        if time.monotonic() > deadline:
            raise ExperimentError(f"{folder} is under way in another process, which does not end.")
        time.sleep(POLL_S)
    places.out.mkdir(parents=True, exist_ok=True)
    with open(places.log, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )  # fmt: skip
        return process.wait()


def _end_with_parent() -> None:
    """In the child, before it begins: SIGTERM when the worker is gone, be it killed; the experiment then keeps its checkpoint."""
    ctypes.CDLL(None).prctl(PARENT_DIES, signal.SIGTERM)


def tell_unit(places: Places, unit: Unit, journal: Journal) -> None:
    """The states of a unit's cells, as its own process tells them."""
    state = read_state(unit_places(places, unit))
    told: Mapping[str, CellState] = {cell.label: cell for cell in state.cells} if state else {}
    for label in unit.labels:
        if label in told:
            mine = journal.cells[label]
            journal.cells[label] = replace(told[label], seconds=mine.seconds, about=mine.about, runs=(), job=None)


def _take_end(ray: Any, ref: Any, unit: Unit, journal: Journal) -> None:
    """A unit that ended without saying why has cells that say it now."""
    try:
        code, why = ray.get(ref), ""
    except Exception as error:  # Ray's own, and whatever the task raised
        code, why = 1, f"Its worker died {RETRIES + 1} times, or the task failed: {' '.join(str(error).split())[:300]}"
    if code and why:
        for label in unit.labels:
            if journal.cells[label].status not in ("done", "failed"):
                journal.cells[label] = replace(journal.cells[label], status="failed", why=why)
