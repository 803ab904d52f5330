"""What a worker of a cluster does: one part of a plan, as a process that ends with it. Imports nothing that computes."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.places import CHECKOUT, ExperimentError, Places
from experiments.progress import read_state

WAIT_S = 300.0  # for the process of a worker that died to keep its checkpoint and end
POLL_S = 1.0
PARENT_DIES = 1  # PR_SET_PDEATHSIG of Linux


def make_unit(arguments: Sequence[str], folder: str) -> int:
    """`python ARGUMENTS` to its end; its exit code. Raises ExperimentError if another process does not let go of the folder."""
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
