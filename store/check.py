"""Is a database whole? python -m store.check FILE

Looks at it and changes nothing: integrity, references, what belongs to nothing, texts that should be JSON, the version. The exit
code is 0 if all is well, 1 if something is wrong, 2 if it cannot be looked at. A program may be using it meanwhile.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from common import ending
from store.errors import StoreError
from store.look import HEADER, has_log, reading, refuse_header, refuse_newer
from store.migrations import migrations

SHOWN = 10
JSON = {
    "answers": ("variant", "messages", "decoding", "timings", "adapter_hashes"),
    "runs": ("settings", "variants", "probes"),
    "jobs": ("arguments", "settings", "attempts"),
    "labels": ("tags",),
    "queues": ("settings",),
    "queue_items": ("meta",),
    "metrics": ("extra",),
}
# what no foreign key says: sentence -> a query for the ids
RULES = {
    "votes on one answer twice": "select id from votes where answer_a = answer_b",
    "labels that were superseded by an earlier one": "select id from labels where superseded_by <= id",
    "votes that were superseded by an earlier one": "select id from votes where superseded_by <= id",
    "people with two standing decisions on one answer":
        "select max(id) from labels where superseded_by is null and kind in ('label', 'skip') group by answer, annotator, kind "
        "having count(*) > 1",
    "answers with two standing adjudications":
        "select max(id) from labels where superseded_by is null and kind = 'adjudication' group by answer having count(*) > 1",
    "places of runs with neither an answer nor a problem":
        "select rowid from run_answers where answer is null and problem is null",
    "marks of people on items of other queues":
        "select m.item from queue_marks m join queue_items i on i.id = m.item where i.queue != m.queue",
    "pairs whose two answers are one": "select id from queue_items where other = answer",
}  # fmt: skip


def check(path: str | Path) -> list[str]:
    """All that is wrong with it, a sentence each. StoreError if it is no database of this program, or cannot be opened."""
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            refuse_header(path, header := file.read(HEADER))
        with reading(path, still=header[18] == 2 and not has_log(path)) as connection:
            return [*pages(connection), *contents(path, connection)]
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreError(f"{path} cannot be looked at ({error}).") from error
    except sqlite3.DatabaseError as error:
        return [f"it is damaged ({error})"]


def pages(connection: sqlite3.Connection) -> list[str]:
    found = [line for (line,) in connection.execute(f"PRAGMA integrity_check({SHOWN})")]
    return [f"it is damaged: {' '.join(line.split())}" for line in found if line != "ok"]


def contents(path: Path, connection: sqlite3.Connection) -> list[str]:
    tables = {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    if pending := refuse_newer(path, connection):
        known = len(migrations._migrations)
        old = f"it is of version {known - len(pending)} of {known}; the next start of the program brings it up to date"
        return [old if tables else "it is empty"]
    found = []
    lost: dict[tuple[str, str], list[int]] = {}
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        lost.setdefault((table, parent), []).append(row)
    found += [f"{len(rows)} rows of {table} refer to {parent} that are not there ({first_few(rows)})" for (table, parent), rows in
              lost.items()]  # fmt: skip
    for table, columns in JSON.items():
        for column in columns:
            sql = f"select rowid from [{table}] where [{column}] is not null and not json_valid([{column}])"
            if rows := [row for (row,) in connection.execute(sql)]:
                found.append(f"{len(rows)} rows of {table} have no JSON under {column} ({first_few(rows)})")
    for what, sql in RULES.items():
        if rows := [row for (row,) in connection.execute(sql)]:
            found.append(f"{len(rows)} {what} ({first_few(rows)})")
    return found


def first_few(rows: Sequence[object]) -> str:
    return ", ".join(map(str, rows[:SHOWN])) + (", ..." if len(rows) > SHOWN else "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m store.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE")
    path = parser.parse_args(arguments).file
    try:
        wrong = check(path)
    except StoreError as error:
        print(error, file=sys.stderr)
        return 2
    for line in wrong:
        print(f"{path}: {line}.")
    if not wrong:
        print(f"{path}: all is well.")
    return int(bool(wrong))


if __name__ == "__main__":
    ending.run(main)
