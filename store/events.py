"""Who deleted, changed, started or brought in what, by the name they had logged in with. `python -m store.events` shows it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.db import StoreError, connected, now, writing

SHOWN = 50
DETAIL = 500  # characters of what is kept beside it


def add(where: str | Path | Database, who: str, deed: str, thing: str, detail: str = "") -> None:
    """who: "" for the local user. deed: in plain words, such as "deleted adapter". thing: its name."""
    row = {"created": now(), "who": who, "deed": deed, "thing": str(thing)[:DETAIL], "detail": str(detail)[:DETAIL]}
    row = {key: value.encode("utf-8", "replace").decode() for key, value in row.items()}  # half of a surrogate pair
    with connected(where) as db, writing(db):
        db["events"].insert(row)


def latest(where: str | Path | Database, limit: int = SHOWN) -> list[dict[str, Any]]:
    """The newest first: created, who, deed, thing, detail. What was settled is among them, and whether it still stands."""
    sql = """select created, who, deed, thing, detail from events
             union all
             select created, annotator, 'settled answer', answer,
                    label || case when superseded_by is null then '' else ' (does not stand any more)' end
             from labels where kind = 'adjudication'
             order by created desc limit ?"""
    with connected(where) as db:
        return list(db.query(sql, [limit]))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m store.events", description="Who deleted, settled, imported what.")
    default = Path(__file__).parent.parent / "runs" / "mirror.db"
    parser.add_argument("--db", type=Path, default=default, help="database (default: runs/mirror.db)")
    parser.add_argument("--limit", type=int, default=SHOWN, metavar="N", help="how many, the newest first (default: %(default)s)")
    args = parser.parse_args(arguments)
    try:
        if not args.db.is_file():
            raise StoreError(f"There is no database {args.db}; name one with --db.")
        for row in latest(args.db, args.limit):
            detail = f"  ({row['detail']})" if row["detail"] else ""
            line = f"{row['created']}  {row['who'] or '(local)'}  {row['deed']} {row['thing']}{detail}"
            print("".join(sign if sign.isprintable() else "�" for sign in line))  # names come from anywhere, terminals obey them
    except StoreError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
