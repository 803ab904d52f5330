"""A full disk is called a full disk, whoever says it: the system, SQLite, safetensors, torch."""

from __future__ import annotations

import errno
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import UserError

SAID = re.compile(r"No space left on device|os error (?:28|122)\b|Disk quota exceeded|database or disk is full", re.IGNORECASE)
# torch.save says only that it could not write; whether for want of room, the disk itself tells
VAGUE = re.compile(r"PytorchStreamWriter failed|inline_container|unexpected pos \d+|failed writing file", re.IGNORECASE)
NEARLY = 2**20  # bytes: less is no room for anything


class DiskFull(UserError, OSError):
    """There is no room; its text is one sentence for a person: where, how much is free, what to do."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.errno = errno.ENOSPC


@contextmanager
def room_for(what: str, where: str | Path) -> Iterator[None]:
    """Whatever runs out of room in the block is a DiskFull that names `what` and the disk of `where`."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        if not is_full(error, where):
            raise
        raise DiskFull(sentence(where, f"{what} could not be written")) from error


def is_full(error: BaseException, where: str | Path | None = None) -> bool:
    """Whether this error, or one that it came from, is that of a full disk. where: looked at if the error is vague."""
    for one in chain(error):
        if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if isinstance(one, sqlite3.Error) and getattr(one, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if SAID.search(str(one)):
            return True
        if where is not None and isinstance(one, RuntimeError) and VAGUE.search(str(one)) and free_bytes(where) < NEARLY:
            return True
    return False


def full_disk_sentence(error: BaseException, where: str | Path | None = None) -> str | None:
    """The sentence for an error that comes from a full disk, None for every other. where: if the error does not say it."""
    if not is_full(error, where):
        return None
    for one in chain(error):
        if isinstance(one, DiskFull):
            return str(one)
    named = next((one.filename for one in chain(error) if isinstance(one, OSError) and isinstance(one.filename, str)), None)
    if place := named or where:
        return sentence(place)
    return "A disk is full, and nothing more could be written on it; make room there and try again."


def sentence(where: str | Path, what: str = "Nothing more could be written") -> str:
    return f"{what}: the disk that holds {where} is full ({size(free_bytes(where))} free); make room there and try again."


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def free_bytes(where: str | Path) -> int:
    """Bytes that may still be written where the path is or will be."""
    path = Path(where).absolute()
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return 0


def size(count: int) -> str:
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
