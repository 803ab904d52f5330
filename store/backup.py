"""A copy of a database, whole or not at all: python -m store.backup FILE TARGET

The copy is of one moment, whatever is written meanwhile; whoever uses the database is not held up. TARGET must not be there yet;
in a folder the copy gets the database's own name. Restoring is putting the copy in the database's place while no program runs.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from common import ending, leftovers
from common.space import DiskFull, room_for
from store.errors import StoreError
from store.look import HEADER, has_log, reading, refuse_header, refuse_newer


def backup(path: str | Path, target: str | Path) -> Path:
    """The copy. StoreError if there is none to copy, it is damaged, or the target is there already; DiskFull."""
    path, target = Path(path), Path(target)
    if not path.is_file():
        raise StoreError(f"There is no file {path}.")
    if target.is_dir():
        target = target / path.name
    if os.path.lexists(target):
        raise StoreError(f"{target} is there already and stays as it is; name another file for the copy.")
    try:
        with path.open("rb") as file:
            refuse_header(path, header := file.read(HEADER))
        with room_for(f"The copy {target}", target), reading(path, still=header[18] == 2 and not has_log(path)) as source:
            if refuse_newer(path, source) and not source.execute("select count(*) from sqlite_master").fetchone()[0]:
                raise StoreError(f"{path} is empty; there is nothing to copy.")
            target.parent.mkdir(parents=True, exist_ok=True)
            leftovers.sweep([target.parent])
            room = leftovers.new_folder(target.parent)  # SQLite keeps files of its own beside the copy
            try:
                copy(source, room / "copy.db")
                put_in_place(room / "copy.db", target)
            finally:
                leftovers.remove(room)
    except DiskFull:
        raise
    except FileExistsError:
        raise StoreError(f"{target} is there already and stays as it is; name another file for the copy.") from None
    except (OSError, sqlite3.DatabaseError) as error:
        raise StoreError(f"{path} cannot be copied to {target} ({error}); python -m store.check {path} may say more.") from error
    return target


def put_in_place(file: Path, target: Path) -> None:
    try:
        os.link(file, target)  # unlike a rename, fails if somebody was faster
    except FileExistsError:
        raise
    except OSError:  # a disk without links
        os.rename(file, target)


def copy(source: sqlite3.Connection, file: Path) -> None:
    made = sqlite3.connect(file)
    try:
        source.backup(made)  # in one step: of one moment, and in WAL mode nobody waits for it
        found = [line for (line,) in made.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise sqlite3.DatabaseError(" ".join(" ".join(found).split()))
    finally:
        made.close()  # whose log then is in the file
    with open(file, "rb") as written:
        os.fsync(written.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m store.backup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("target", type=Path, metavar="TARGET")
    given = parser.parse_args(arguments)
    try:
        print(f"{given.file} is copied to {backup(given.file, given.target)}.")
    except (StoreError, DiskFull) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    ending.run(main)
