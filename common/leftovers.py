"""Files that are being written have names that say whose they are, so that what a killed program left can be told and removed.

A name is `.mirror-HOST-PID-IDENTITY-...`. What belongs to a process of this machine that has ended goes at the next start; of
another machine, on a shared disk, nobody can know that, so there it goes by age. Nothing without such a name is touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from common import process

PREFIX = ".mirror-"
NAME = re.compile(r"\.mirror-([0-9a-f]{6})-(\d{1,9})-([0-9a-f]{12})-\w*")
EARLIER = re.compile(r"\.(?:upload|adapter)-[a-z0-9_]{8}")  # as versions before this one called them, without an owner
OLD_S = 2 * 24 * 3600  # nothing is being written for as long as that


def prefix() -> str:
    """How the names of this process' unfinished files begin."""
    return f"{PREFIX}{host()}-{os.getpid()}-{mark_of(os.getpid())}-"


def new_file(folder: str | Path) -> tuple[int, Path]:
    """(handle, path) of an empty file in `folder`, for its owner alone."""
    handle, name = tempfile.mkstemp(dir=folder, prefix=prefix())
    return handle, Path(name)


def new_folder(folder: str | Path) -> Path:
    """An empty folder in `folder`, for its owner alone."""
    return Path(tempfile.mkdtemp(dir=folder, prefix=prefix()))


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder among the system's temporary ones for the length of the block."""
    made = new_folder(tempfile.gettempdir())
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def put_away(path: Path) -> None:
    """Removes a file or folder as one: it is out of its place at once, and then goes. OSError if it cannot be."""
    aside = None
    try:
        aside = new_folder(path.parent)
        os.replace(path, aside / "gone")
    except OSError:  # a mounted folder stays in its place, and a full disk has no room for another folder
        remove(path)
        if os.path.lexists(path):
            raise
    finally:
        if aside:
            remove(aside)


def sweep(folders: Iterable[str | Path]) -> list[Path]:
    """Removes from these folders what programs that have ended left unfinished; what was removed."""
    gone = []
    for folder in folders:
        try:
            found = list(Path(folder).iterdir())
        except OSError:  # not there, or not ours to read
            continue
        gone += [path for path in found if is_left(path) and remove(path)]
    return gone


def is_left(path: Path) -> bool:
    """Whether it was made by this program and nobody writes it any more."""
    match, earlier = NAME.fullmatch(path.name), EARLIER.fullmatch(path.name)
    if not match and not earlier:
        return False
    try:
        about = path.lstat()
    except OSError:
        return False
    if hasattr(os, "getuid") and about.st_uid != os.getuid():
        return False
    if match and match[1] == host():
        return mark_of(int(match[2])) != match[3]
    return time.time() - about.st_mtime > OLD_S


def remove(path: Path) -> bool:
    with contextlib.suppress(OSError):  # tried again at the next start
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return not os.path.lexists(path)


@cache
def host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]


def mark_of(pid: int) -> str:
    """A name for the living process `pid` that no other process ever has; "" for one that has ended."""
    known = process.identity(pid)
    return hashlib.sha256(known.encode()).hexdigest()[:12] if known else ""
