"""Whose a run under way is: a living program's, this or another; of one that has ended, anybody may go on with it.

An owner is a JSON text in the run's row: host, boot, pid and start of the process, and a token of its own. On this machine the
process tells whether it lives; of another one, on a shared disk, only that the run's `beat` goes on, by this process' own clock.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
import weakref
from typing import Any

from common import process

BEAT_S = 5.0  # how often a run that goes on says so
SILENT_S = 120.0  # a program on another machine that says nothing for so long has ended; a step of a large model takes less


class Claim:
    """What this process is busy with; `text` is the owner. It ends with `release`, or when nobody has the claim any more."""

    def __init__(self) -> None:
        pid = os.getpid()
        about = {"host": socket.gethostname(), "boot": process.boot_id(), "pid": pid, "start": process.identity(pid)}
        self.token = secrets.token_hex(8)
        self.text = json.dumps(about | {"token": self.token})
        with _lock:
            _claims[self.token] = self

    def release(self) -> None:
        with _lock:
            _claims.pop(self.token, None)


_lock = threading.Lock()  # guards both
_claims: weakref.WeakValueDictionary[str, Claim] = weakref.WeakValueDictionary()
_beats: dict[str, tuple[int, float]] = {}  # owner elsewhere -> its last beat, and when it was first seen here


def is_alive(owner: str | None, beat: int = 0) -> bool:
    """Whether somebody goes on with what belongs to this owner."""
    about = read(owner)
    if owner is None or about is None:
        return False
    with _lock:
        if about["token"] in _claims:
            return True
        if about["host"] != socket.gethostname():
            known = _beats.get(owner)
            if known is None or known[0] != beat:
                _beats[owner] = (beat, time.monotonic())
                return True
            return time.monotonic() - known[1] < SILENT_S
    if about["pid"] == os.getpid() or about["boot"] != process.boot_id():
        return False
    return process.is_alive(about["pid"], about["start"])


def read(owner: str | None) -> dict[str, Any] | None:
    try:
        about = json.loads(owner or "")
    except (ValueError, RecursionError):
        return None
    kinds = {"host": str, "boot": str, "pid": int, "start": str, "token": str}
    fits = isinstance(about, dict) and all(type(about.get(name)) is kind for name, kind in kinds.items())
    return about if fits else None


def describe(owner: str | None) -> str:
    """Who it is, in words."""
    about = read(owner)
    if about is None:
        return "nobody known"
    where = "" if about["host"] == socket.gethostname() else f" on {about['host']}"
    return "this program" if about["pid"] == os.getpid() and not where else f"another program (process {about['pid']}{where})"
