"""What a page that labels blind knows items and answers by: numbers drawn at random for each queue, and kept with it.

The stored numbers would tell: answers are stored variant by variant, and a queue's items in the order in which it was drawn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.db import StoreError, connected
from store.migrations import LEAST_DRAWN


def drawn_numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Of a row of `queue_items`: `item`, and `answers`, the drawn number of each stored one."""
    answers = {row["answer"]: row["drawn_answer"]} | ({} if row["other"] is None else {row["other"]: row["drawn_other"]})
    return {"item": row["drawn"], "answers": answers}


def stored_items(where: str | Path | Database, queue: int, given: Sequence[int], *, blind: bool) -> dict[int, int]:
    """The stored numbers of the queue's items, by those that a page gave: drawn ones, and stored ones if it is not blind.
    What is no item of this queue is left out."""
    asked = json.dumps([id for id in given if 0 <= id < 2 * LEAST_DRAWN])
    columns = ("drawn",) if blind else ("drawn", "id")
    found: dict[int, int] = {}
    with connected(where) as db:
        for column in columns:
            sql = f"select {column}, id from queue_items where queue = ? and {column} in (select value from json_each(?))"
            found |= dict(db.execute(sql, [queue, asked]).fetchall())
    return found


def stored_answers(where: str | Path | Database, item: int, given: Sequence[int], *, blind: bool) -> list[int]:
    """The stored numbers of an item's answers, by those that a page gave. StoreError if one is none of the item's."""
    with connected(where) as db:
        drawn = drawn_numbers(next(iter(db["queue_items"].rows_where("id = ?", [item]))))
    known = {shown: id for id, shown in drawn["answers"].items()} | ({} if blind else {id: id for id in drawn["answers"]})
    if any(id not in known for id in given):
        raise StoreError("The decision is not stored: it is about another answer than its item shows; load the page again.")
    return [known[id] for id in given]
