"""Opening the database, and the two ways of using it: a connection for the length of a call, a transaction that writes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database

from common.paths import no_file
from store.migrations import migrations

TIMEOUT_S = 30  # how long one writer waits for another one
_looked_at: set[tuple[int, int]] = set()  # (device, inode) of files that are databases, or were empty
_looking = threading.Lock()  # guards _looked_at, and that nobody connects to a file that is being looked at
_preparing = threading.Lock()  # guards the making of tables between threads; SQLite's write lock does between processes


class StoreError(Exception):
    """Something a person can put right; its text is one sentence for that person."""


def open(path: str | Path) -> Database:
    """A connection to the database at `path`, made with its folder if it is not there, its tables up to date.

    It belongs to the thread that opened it: open one per call and close it (`with store.open(path) as db`).
    StoreError if the file is no SQLite database (it is left as it was) or cannot be opened.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise StoreError(f"The database {path} is a folder; name a file with --db.")
        if odd := no_file(path):  # looking into a pipe would wait for ever
            raise StoreError(f"The database {path} {odd} with --db.")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _looking:
            _refuse_other_files(path)
        connection = sqlite3.connect(path, timeout=TIMEOUT_S)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"The database {path} cannot be opened ({error}); choose another file with --db.") from error
    try:
        db = Database(connection)
        db.execute("PRAGMA foreign_keys = ON")
        if migrations.pending(db):
            with _preparing:
                _use_wal(db)
                with writing(db):
                    migrations.apply(db)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise StoreError(f"The database {path} cannot be used ({error}); choose another file with --db.") from error
    except BaseException:
        connection.close()
        raise
    return db


@contextmanager
def connected(where: str | Path | Database) -> Iterator[Database]:
    """The database itself if it is open already, else a connection to that path for the length of the block.

    A full disk, a lock held for longer than the timeout and the like are a StoreError.
    """
    if isinstance(where, Database):
        yield where
        return
    with open(where) as db:
        try:
            yield db
        except sqlite3.OperationalError as error:
            raise StoreError(f"The database {where} could not be read or written ({error}); nothing was changed.") from error


@contextmanager
def writing(db: Database) -> Iterator[None]:
    """A transaction that holds the write lock from its first moment; inside another one, a savepoint of it.

    `db.atomic()` alone begins without the lock, and a transaction that has read before it writes fails
    at once, without waiting, if another process wrote in between.
    """
    if db.conn.in_transaction:
        with db.atomic():
            yield
        return
    db.conn.execute("BEGIN IMMEDIATE")
    try:
        with db.atomic():
            yield
        db.commit()
    except BaseException:
        db.rollback()
        raise


def now() -> str:
    """UTC, ISO 8601, microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _refuse_other_files(path: Path) -> None:
    """Looks before SQLite does, which might write to a file that it takes for an empty database.

    Only once, before anybody connects: closing a file gives up all locks that this process has on it (POSIX), those of
    connections in other threads, too, and another process would then clear the log away under them (sqlite.org/howtocorrupt,
    2.2).
    """
    with suppress(FileNotFoundError):
        about = path.stat()
        if (about.st_dev, about.st_ino) in _looked_at:
            return
    with path.open("a+b") as file:  # made here if it is not there: a moment later it would have to be looked at
        file.seek(0)
        start = file.read(16)
        about = os.fstat(file.fileno())
    if start and start != b"SQLite format 3\0":
        raise StoreError(f"{path} is not a SQLite database and is left as it is; choose another file with --db.")
    _looked_at.add((about.st_dev, about.st_ino))


def _use_wal(db: Database) -> None:
    """Readers and the writer no longer wait for each other; recorded in the file.

    The switch needs the file for itself and does not wait for it as other statements do, hence the loop.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return db.enable_wal()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
