"""Answers of a queue whose label is known beforehand: how far whoever labels agrees with them is told to whoever leads.

Whoever labels must not be able to tell them from others, so they stand in a table of their own, which nothing reads that a desk
is told, and are handed out, counted and left as any other item is. Only what makes one done differs: labels from before the
queue, such as the one by which it is known, and adjudications do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlite_utils import Database

from store.db import connected


def add(db: Database, queue: int, known: Mapping[int, str]) -> None:
    """Part of making a queue: known: answer -> label. Each is open again, whoever has labelled it before."""
    db["gold"].insert_all({"queue": queue, "answer": answer, "label": label} for answer, label in known.items())
    mine = "(select answer from gold where queue = ?)"
    db.execute(f"update queue_items set have = 0, full = 0 where queue = ? and answer in {mine}", [queue, queue])
    items = f"(select id from queue_items where queue = ? and answer in {mine})"
    db.execute(f"update queue_marks set full = 0 where item in {items}", [queue, queue])


def known(where: str | Path | Database, queue: int) -> dict[int, str]:
    """answer -> its known label; empty for a queue without such items."""
    with connected(where) as db:
        return dict(db.execute("select answer, label from gold where queue = ? order by answer", [queue]).fetchall())


def said(where: str | Path | Database, queue: int) -> dict[str, dict[int, str]]:
    """annotator -> answer -> label, of the labels that stand and were given in this queue to items whose label is known."""
    sql = """select l.annotator, l.answer, l.label from labels l join gold g on g.queue = l.queue and g.answer = l.answer
             where l.queue = ? and l.kind = 'label' and l.superseded_by is null order by l.id"""
    found: dict[str, dict[int, str]] = {}
    with connected(where) as db:
        for annotator, answer, label in db.execute(sql, [queue]):
            found.setdefault(annotator, {})[answer] = label
    return found
