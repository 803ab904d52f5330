"""Processes by identity: a number alone may long belong to somebody else."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import psutil


def identity(pid: int | None) -> str | None:
    """What tells the living process `pid` from every other that had or will have this number; None if it has ended.

    On Linux the boot and the start in clock ticks since then, which, unlike a time of day, no correction of the clock moves.
    """
    if not pid:
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return portable_identity(pid)
    except OSError:  # gone between opening and reading
        return None
    fields = text.rpartition(")")[2].split()  # the name, in brackets, may hold anything
    if fields[0] in "ZX":  # ended, and only not yet collected by its parent
        return None
    return f"{boot_id()}/{fields[19]}"


def portable_identity(pid: int) -> str | None:
    if Path("/proc/self/stat").exists():
        return None
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


@cache
def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def is_alive(pid: int | None, known: str | None) -> bool:
    """Whether process `pid` is still the one whose identity was noted."""
    return known is not None and identity(pid) == known
