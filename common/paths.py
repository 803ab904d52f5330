"""The one gate for paths that somebody typed, posted or put into a file: what may be read or written, and how much of it.

Devices, pipes, sockets and the system's own files (/proc) have no end, or answer reading with a deed: they are refused before
a byte is read, whoever asks. Where others than the local user can reach the program, only the folders that were opened for it
are there at all.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MOST = 2**30  # bytes read of a text or a table; the instruction sets that are published have up to some 600 MB
SMALL = 2**20  # of what is written by hand: templates, prompts, scripts
MOST_FILES = 50_000  # looked at under one folder; a path such as / would be walked for hours
KINDS = (  # what is no file with an end, and no folder either
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
SYSTEM = ("/proc", "/sys", "/dev")
SHARED_MEMORY = "/dev/shm"  # plain files, only kept in memory
LISTED = 4


@dataclass(frozen=True)
class Opened:
    """What a path may lead to. folders: to be listed, read and written; None where nobody but the local user reaches the
    program, whose paths are all as good. readable: to be listed and read only. closed: files in them that are for nobody.
    """

    folders: tuple[Path, ...] | None = None
    readable: tuple[Path, ...] = ()
    closed: tuple[Path, ...] = ()

    def place(self, typed: str | Path, error: type[Exception], what: str = "The path", *, write: bool = False) -> Path:
        """Where a typed path leads; whether something lies there is another question. Raises `error`, one sentence.

        what: the sentence's beginning. Where folders were opened it is the real path, links followed; else it is as it was typed.
        """
        path = _written(typed, error, what)
        real = _real(path, error, what)
        if self.folders is None:
            found = path
        elif self.holds(real, write=write) and ".." not in path.parts:
            found = real
        else:
            there = ", ".join(str(folder) for folder in self.folders[:LISTED]) + (", ..." if len(self.folders) > LISTED else "")
            raise error(
                f"{what} {_short(path)} lies in no folder that was opened for this page ({there}); "
                "who started the program can open another one with --data-dir."
            )
        if odd := why_no_file(real):
            raise error(f"{what} {_short(path)} {odd}.")
        return found

    def holds(self, path: str | Path, *, write: bool = False) -> bool:
        """Whether the path, links followed, lies in a folder that was opened. Nothing is read."""
        if self.folders is None:
            return True
        real = Path(os.path.realpath(path))
        if any(real == Path(os.path.realpath(file)) for file in self.closed):
            return False
        inside = self.folders if write else (*self.folders, *self.readable)
        return any(real.is_relative_to(os.path.realpath(folder)) for folder in inside)


EVERYWHERE = Opened()


def why_no_file(path: str | Path) -> str | None:
    """What is wrong with the kind of thing that a path leads to, as the second part of a sentence; None for a file, a folder
    and for what cannot be looked at, which reading it will say."""
    try:
        about = os.stat(path)
    except (OSError, ValueError):
        return None
    if what := next((what for is_one, what in KINDS if is_one(about.st_mode)), None):
        return f"is {what}, not a file: name a plain file or a folder"
    if _of_the_system(path, about):
        return "belongs to the running system and has no end: name a file or a folder of your own"
    return None


def read_bytes(path: str | Path, most: int = MOST) -> bytes:
    """A file's bytes as it is now; one that grows meanwhile is read to the end it had. OSError, also for more than `most`."""
    if odd := why_no_file(path):
        raise OSError(errno.EINVAL, f"it {odd}", str(path))
    # not to wait for a pipe that was put there in this moment
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode):
        os.close(handle)
        raise OSError(errno.EISDIR, "it is not a file", str(path))
    with os.fdopen(handle, "rb") as file:
        if about.st_size > most:
            raise OSError(errno.EFBIG, too_large_sentence(about.st_size, most), str(path))
        return file.read(about.st_size)


def read_unpacked(path: str | Path) -> bytes:
    """The same, and of a .gz what is packed in it. OSError also for one that is broken or unpacks to more than MOST."""
    return unpacked(read_bytes(path), path, MOST)


def unpacked(raw: bytes, path: str | Path, most: int) -> bytes:
    """What is packed in a file's bytes, where its name says that something is. OSError as of `read_unpacked`."""
    if Path(path).suffix.lower() != ".gz":
        return raw
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            found = file.read(most + 1)
    except (EOFError, zlib.error) as error:
        raise OSError(errno.EINVAL, f"it cannot be unpacked ({error})", str(path)) from None
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it unpacks to more than {most / 2**20:,.0f} MB, the most that is read", str(path))
    return found


def ending(path: str | Path) -> str:
    """The ending that says what a file holds: of `rows.JSON.gz` it is .json."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def read_text(path: str | Path, most: int = SMALL) -> str:
    """UTF-8, a byte order mark taken off, line ends as Python's text files have them. OSError, UnicodeDecodeError."""
    return read_bytes(path, most).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def too_large_sentence(size: int, most: int = MOST) -> str:
    return f"it has {size / 2**20:,.0f} MB, and {most / 2**20:,.0f} MB are the most that is read"


def files_under(folder: Path, error: type[Exception]) -> list[Path]:
    """The files in a folder and below it, in order; links to files are among them, links to folders are not followed.

    Raises `error` for a folder of the system, and for more than MOST_FILES.
    """
    if odd := why_no_file(folder):
        raise error(f"The folder {folder} {odd}.")
    found: list[Path] = []
    for place, inside, names in os.walk(folder):
        found += (Path(place, name) for name in names)
        if len(found) > MOST_FILES:
            raise error(f"The folder {folder} holds more than {MOST_FILES:,} files; name the one the data lies in.")
        inside.sort()
    return sorted(found)


def irregular_files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Those that are no files, each with what is wrong, as `why_no_file` says it."""
    return ((path, odd) for path in paths if (odd := why_no_file(path)))


def _written(typed: str | Path, error: type[Exception], what: str) -> Path:
    text = typed.strip() if isinstance(typed, str) else str(typed)
    if not text:
        raise error(f"{what} is empty; name a file or a folder.")
    try:
        return Path(text).expanduser()
    except RuntimeError as problem:  # a user who is not there
        raise error(f"{what} {_short(text)} cannot be followed ({problem}); type another.") from None


def _real(path: Path, error: type[Exception], what: str) -> Path:
    """Raises `error` for what the system itself does not follow: links in a ring, names that are too long, a NUL byte."""
    try:
        real = os.path.realpath(path)
        os.stat(real)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise error(f"{what} {_short(path)} cannot be followed ({why}); type another.") from None
    return Path(real)


def _of_the_system(path: str | Path, about: os.stat_result) -> bool:
    real = os.path.realpath(path)
    if real.startswith(f"{SHARED_MEMORY}/") or real == SHARED_MEMORY:
        return False
    if any(real == place or real.startswith(f"{place}/") for place in SYSTEM):
        return True
    try:  # seen through another folder
        return about.st_dev == os.stat("/proc/self").st_dev
    except OSError:
        return False


def _short(path: str | Path) -> str:
    said = repr(str(path))
    return said if len(said) <= 160 else f"{said[:158]}…"
