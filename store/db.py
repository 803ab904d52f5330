"""Opening the database, and the two ways of using it: a connection for the length of a call, a transaction that writes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlite_utils import Database

from common import space
from common.paths import why_no_file
from store.errors import StoreError
from store.look import look, refuse_newer
from store.migrations import APPLICATION_ID, migrations

__all__ = ["StoreError", "connected", "now", "open", "write_in_pieces", "writing"]
TIMEOUT_S = 30  # how long one writer waits for another one
HELD_S = 0.25  # how long a long import holds the write lock at once
LET_GO_S = 0.1  # and how long it then lets others in; SQLite's waiting ones ask again at least that often
_preparing = threading.Lock()  # guards the making of tables between threads; SQLite's write lock does between processes

Item = TypeVar("Item")


def open(path: str | Path) -> Database:
    """A connection to the database at `path`, made with its folder if it is not there, its tables up to date.

    It belongs to the thread that opened it: open one per call and close it (`with store.open(path) as db`).
    StoreError if the file is no database of this program, or of a newer version of it, or damaged (it is then left as it was),
    or cannot be opened.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise StoreError(f"The database {path} is a folder; name a file with --db.")
        if odd := why_no_file(path):  # looking into a pipe would wait for ever
            raise StoreError(f"The database {path} {odd} with --db.")
        path.parent.mkdir(parents=True, exist_ok=True)
        look(path)
        connection = sqlite3.connect(path, timeout=TIMEOUT_S)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"The database {path} cannot be opened ({error}); choose another file with --db.") from error
    try:
        db = Database(connection)
        db.execute("PRAGMA foreign_keys = ON")
        if refuse_newer(path, db.conn):  # another program may have changed it since the look
            with _preparing:
                _use_wal(db)
                with writing(db):
                    refuse_newer(path, db.conn)
                    migrations.apply(db)
                    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    db.execute(f"PRAGMA user_version = {len(migrations.applied(db))}")
    except sqlite3.DatabaseError as error:
        connection.close()
        if full := space.full_disk_sentence(error, path):
            raise StoreError(full) from error
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
            if full := space.full_disk_sentence(error, where):
                raise StoreError(f"{full} Nothing was changed.") from error
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


def write_in_pieces(db: Database, items: Iterable[Item], write: Callable[[Item], None]) -> Iterator[int]:
    """Writes many items in transactions of bounded length, between which others may write; after each, how many are written.

    What an error or a killed program leaves are the pieces before it, each whole.
    """
    waiting, done = iter(items), 0
    item = next(waiting, None)
    while item is not None:
        until = time.monotonic() + HELD_S
        with writing(db):
            while True:
                write(item)
                done += 1
                item = next(waiting, None)
                if item is None or time.monotonic() >= until:
                    break
        yield done
        if item is not None:
            time.sleep(LET_GO_S)


def now() -> str:
    """UTC, ISO 8601, microseconds: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _use_wal(db: Database) -> None:
    """Readers and the writer no longer wait for each other; recorded in the file.

    The switch needs the file for itself and does not wait for it as other statements do, hence the loop.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            db.enable_wal()
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
