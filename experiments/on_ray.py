"""Cells as tasks of a Ray cluster: `--on ray` for one on this machine, `--on ray://HOST:PORT` for one that runs.

A task is one unit of the plan (`units`) in a process of its own, which ends when its worker does; Ray then tries it elsewhere,
where it goes on from its last checkpoint. Plan, data, adapters and answers lie in a folder that all machines see (--storage),
and this program at the same path on each. Needs requirements-ray.txt; nothing else imports Ray.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.places import CHECKOUT, ExperimentError, Places
from experiments.progress import ENDED, CellState, CellStatus, Journal, read_state, stop
from experiments.session import Session, Stopped
from experiments.units import Unit, arguments_of, unit_places
from experiments.worker import make_unit

LOCAL = "ray"
RETRIES = 3  # of a unit whose worker died
POLL_S = 1.0


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
                _take_end(ray, one, waiting.pop(one), places, session, journal)
            for unit in waiting.values():
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


def tell_unit(places: Places, unit: Unit, journal: Journal) -> None:
    """The states of a unit's cells, as its own process tells them."""
    state = read_state(unit_places(places, unit))
    told: Mapping[str, CellState] = {cell.label: cell for cell in state.cells} if state else {}
    for label in unit.labels:
        if label in told:
            mine = journal.cells[label]
            journal.cells[label] = replace(told[label], seconds=mine.seconds, about=mine.about, runs=(), job=None)


def _take_end(ray: Any, ref: Any, unit: Unit, places: Places, session: Session, journal: Journal) -> None:
    """A unit's last word; cells of one that ended without saying why say so."""
    place = unit_places(places, unit)
    try:
        why = f"Its process ended with {ray.get(ref)} before it was done; {place.log} may say more."
    except Exception as error:  # Ray's own, and whatever the task raised
        why = f"Its worker died {RETRIES + 1} times, or could not begin: {' '.join(str(error).split())[:300]}"
    tell_unit(places, unit, journal)
    for label in unit.labels:
        if journal.cells[label].status not in ENDED:
            ended: CellStatus = "stopped" if session.stopping else "failed"
            journal.cells[label] = replace(journal.cells[label], status=ended, why="" if session.stopping else why)
