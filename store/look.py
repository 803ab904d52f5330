"""Looking at a database before it is touched: whose it is, of which version, whether it is whole. Nothing is written."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from store.errors import StoreError
from store.migrations import APPLICATION_ID, migrations

CHECK_S = 2.0  # spent on looking for damage at the first opening; `python -m store.check` takes all the time it needs
MAGIC, HEADER = b"SQLite format 3\0", 100  # sqlite.org/fileformat2, 1.3
ELSE = "choose another file with --db"
_looked_at: set[tuple[int, int]] = set()  # (device, inode) of files that are ours, or were empty
_looking = threading.Lock()  # guards _looked_at, and that nobody connects to a file that is being looked at


def look(path: Path) -> None:
    """StoreError unless the file is empty, or a whole database of this program in a version that it knows. It is made if need be.

    Only once, before anybody connects: closing a file gives up all locks that this process has on it (POSIX), those of
    connections in other threads, too, and another process would then clear the log away under them (sqlite.org/howtocorrupt,
    2.2).
    """
    with _looking:
        with suppress(FileNotFoundError):
            about = path.stat()
            if (about.st_dev, about.st_ino) in _looked_at:
                return
        with path.open("a+b") as file:  # made here if it is not there: a moment later it would have to be looked at
            file.seek(0)
            header = file.read(HEADER)
            about = os.fstat(file.fileno())
        if header:
            refuse_header(path, header)
            refuse_contents(path, wal=header[18] == 2, known=application_id(header) == APPLICATION_ID)
        _looked_at.add((about.st_dev, about.st_ino))


def refuse_header(path: Path, header: bytes) -> None:
    if header[:16] != MAGIC[: len(header)] or len(header) < len(MAGIC):
        raise StoreError(f"{path} is not a SQLite database and is left as it is; {ELSE}.")
    if len(header) < HEADER:
        raise StoreError(f"The database {path} is cut off ({len(header)} bytes are there); restore a backup, or {ELSE}.")
    if application_id(header) not in (0, APPLICATION_ID):
        raise StoreError(f"{path} is a database of another program and is left as it is; {ELSE}.")
    version = int.from_bytes(header[60:64], "big")
    if application_id(header) and version > len(migrations._migrations):
        raise StoreError(newer_sentence(path, f"version {version}"))


def application_id(header: bytes) -> int:
    return int.from_bytes(header[68:72], "big")


def refuse_contents(path: Path, wal: bool, known: bool) -> None:
    """By its tables. known: its header says that it is ours."""
    try:
        with reading(path, still=wal and not has_log(path)) as connection:
            refuse_newer(path, connection)
            if faults := damage(connection, CHECK_S):
                raise StoreError(damaged_sentence(path, faults[0]))
    except sqlite3.OperationalError as error:
        if known:  # without the right to write beside it, for instance; whoever needs to write will be told
            return
        raise StoreError(f"The database {path} cannot be looked at ({error}) and is left as it is; {ELSE}.") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(damaged_sentence(path, str(error))) from error


class reading:
    """A connection that changes nothing, closed at the end of the block.

    still: there is no log beside it. Then SQLite has to make one to lock the file: somebody may write at any moment. Where it
    may not, nobody may, and no lock is needed.
    """

    def __init__(self, path: Path, still: bool = False) -> None:
        address = f"file:{quote(str(path.absolute()))}?mode="
        self.connection = sqlite3.connect(f"{address}{'rw' if still else 'ro'}", uri=True)
        if still:
            try:
                self.connection.execute("PRAGMA query_only = 1")
                self.connection.execute("select count(*) from sqlite_master").fetchone()
            except sqlite3.OperationalError as error:
                self.connection.close()
                if "locked" in str(error):
                    raise
                self.connection = sqlite3.connect(f"{address}ro&immutable=1", uri=True)
            except BaseException:
                self.connection.close()
                raise

    def __enter__(self) -> sqlite3.Connection:
        return self.connection

    def __exit__(self, *_error: object) -> None:
        self.connection.close()


def has_log(path: Path) -> bool:
    """Whether there is a log beside it whose contents are not in the file yet, or that somebody is writing."""
    real = os.path.realpath(path)  # SQLite keeps them beside the file itself, not beside a link to it
    return any(os.path.exists(f"{real}{ending}") for ending in ("-wal", "-shm"))


def refuse_newer(path: Path, connection: sqlite3.Connection) -> list[str]:
    """The names of migrations that are to be made. StoreError if it is of another program, or of a newer version of this one."""
    tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table' order by name")]
    known = [migration.name for migration in migrations._migrations]
    if not tables:
        return known
    applied = []
    if migrations.migrations_table in tables:
        sql = f"select name from {migrations.migrations_table} where migration_set = ? order by rowid"
        applied = [name for (name,) in connection.execute(sql, [migrations.name])]
    if not applied:
        there = ", ".join(tables[:4]) + (", ..." if len(tables) > 4 else "")
        raise StoreError(f"{path} is a database of another program (its tables: {there}) and is left as it is; {ELSE}.")
    if unknown := [name for name in applied if name not in known]:
        raise StoreError(newer_sentence(path, ", ".join(unknown[:3])))
    return [name for name in known if name not in applied]


def newer_sentence(path: Path, what: str) -> str:
    return f"The database {path} was made by a newer version of this program ({what}) and is left as it is; update, or {ELSE}."


def damaged_sentence(path: Path, how: str) -> str:
    return (
        f"The database {path} is damaged ({how}) and is left as it is; restore a backup, or {ELSE}; "
        f"python -m store.check {path} says more."
    )


def damage(connection: sqlite3.Connection, seconds: float) -> list[str]:
    """What `PRAGMA quick_check` finds in so many seconds; nothing found in them is no proof."""
    until = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    try:
        found = [line for (line,) in connection.execute("PRAGMA quick_check(3)")]
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            raise
        return []
    finally:
        connection.set_progress_handler(None, 0)
    return [" ".join(line.split()) for line in found if line != "ok"]
