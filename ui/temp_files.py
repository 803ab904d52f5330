"""Files that only pass through, on their way to or from a browser: one folder for as long as the program runs.

Gradio keeps a copy of everything that is uploaded or offered for download and leaves it behind; it is told to keep them here.
The folder goes when the program ends; what a killed program left goes when the next one starts.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import IO

from tuning.jobs import processes

PLACE = "GRADIO_TEMP_DIR"  # Gradio's own variable; a place that somebody chose is kept to
PREFIX = "mirror-test-files-"
# Seconds: how often Gradio looks, and how old a file is then removed from a program that runs on. A day, as somebody may come
# back to a page whose files were added in the morning.
LOOKED_AT_EVERY, KEPT_FOR = 3600, 24 * 3600


@cache
def program_folder() -> Path:
    """This program's folder, for its owner alone; made, and earlier programs' removed, at the first call."""
    root = Path(os.environ.get(PLACE) or tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    sweep(root)
    made = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner(os.getpid())}-", dir=root)).resolve()
    os.environ[PLACE] = str(made)
    atexit.register(_leave, made, os.getpid())
    return made


def _leave(made: Path, pid: int) -> None:
    if os.getpid() == pid:  # and not a copy of it that was forked
        shutil.rmtree(made, ignore_errors=True)


def new_folder() -> Path:
    """An empty folder in it, for files of one download."""
    program_folder().mkdir(exist_ok=True)  # somebody may have cleared the place of temporary files
    return Path(tempfile.mkdtemp(dir=program_folder()))


def unnamed_file() -> IO[bytes]:
    """An empty file that no folder shows; closing it, or the end of the program, is the end of it."""
    program_folder().mkdir(exist_ok=True)
    return tempfile.TemporaryFile(dir=program_folder())


def clear(age: float = KEPT_FOR) -> list[Path]:
    """Removes what has lain in this program's folder for longer than `age` seconds: Gradio removes only what it copied itself."""
    gone = []
    for left in program_folder().glob("*"):
        try:
            newest = max(path.lstat().st_mtime for path in (left, *left.rglob("*")))
        except OSError:  # somebody else has just removed it
            continue
        if time.time() - newest > age:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
            gone.append(left)
    return gone


def sweep(root: Path) -> list[Path]:
    """Removes the folders in `root` whose programs have ended; those that were removed."""
    gone = []
    for left in root.glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        try:
            ours = not hasattr(os, "getuid") or left.lstat().st_uid == os.getuid()
        except OSError:  # another program that starts has just removed it
            continue
        if ours and pid.isdecimal() and not left.name.startswith(f"{PREFIX}{owner(int(pid))}-"):
            shutil.rmtree(left, ignore_errors=True)
            gone.append(left)
    return gone


def owner(pid: int) -> str:
    """A name for the living process `pid` that no other process ever has; "PID-" and nothing for one that has ended."""
    known = processes.identity(pid)
    return f"{pid}-{hashlib.sha256(known.encode()).hexdigest()[:12] if known else ''}"
