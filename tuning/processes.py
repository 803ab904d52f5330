"""Processes by identity: a number alone may long belong to somebody else."""

from __future__ import annotations

import os
import signal
from functools import cache
from pathlib import Path

import psutil

MARK = "MIRROR_TEST_JOB"  # environment variable that a job's processes carry


def identity(pid: int | None) -> str | None:
    """What tells the living process `pid` from every other that had or will have this number; None if it has ended.

    On Linux the boot and the start in clock ticks since then, which, unlike a time of day, no correction of the clock moves.
    """
    if not pid:
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return elsewhere(pid)
    except OSError:  # gone between opening and reading
        return None
    fields = text.rpartition(")")[2].split()  # the name, in brackets, may hold anything
    if fields[0] in "ZX":  # ended, and only not yet collected by its parent
        return None
    return f"{boot()}/{fields[19]}"


def elsewhere(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


@cache
def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def alive(pid: int | None, known: str | None) -> bool:
    """Whether process `pid` is still the one whose identity was noted."""
    return known is not None and identity(pid) == known


def send(pid: int, known: str, number: signal.Signals) -> bool:
    """Signals process `pid` if it is still the one whose identity was noted; whether it was."""
    handle = None
    try:
        if hasattr(os, "pidfd_open"):
            handle = os.pidfd_open(pid)  # from here on it stands for this very process, even if the number is given anew
        if identity(pid) != known:
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if handle is not None:
            os.close(handle)


def members(leader: int | None, token: str | None) -> list[tuple[int, str]]:
    """(pid, identity) of a job's processes but the one that began its session, youngest first, so children before parents.

    They stay members when their parent has died. The token in their environment excludes a session that got the number later.
    """
    found = []
    for process in psutil.process_iter() if leader and token else ():
        try:
            if process.pid == leader or os.getsid(process.pid) != leader or process.environ().get(MARK) != token:
                continue
            if known := identity(process.pid):
                found.append((process.create_time(), process.pid, known))
        except (psutil.Error, OSError):  # gone, or somebody else's
            continue
    return [(pid, known) for _, pid, known in sorted(found, reverse=True)]
