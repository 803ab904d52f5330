"""Pairs of answers in a queue: votes, skips, and taking them back. The queue itself is `store.queues`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store import votes
from store.db import StoreError, connected, writing
from store.names import person
from store.queues import get, set_mark, shown_item


def vote(
    where: str | Path | Database, item: int, annotator: str, choice: votes.Choice, shown_order: Sequence[int], *,
    token: str | None = None,
) -> int:  # fmt: skip
    """The vote's id (`votes.add`) on a pair of a queue. `A` is the first of shown_order; the same token votes once."""
    annotator = person(annotator)
    with connected(where) as db, writing(db):
        if (known := _voted(db, annotator, token)) is not None:
            return known
        row = next(iter(db["queue_items"].rows_where("id = ?", [item])), None)
        if row is None or row["other"] is None:
            raise StoreError(f"There is no pair {item}.")
        settings = get(db, row["queue"])
        if sorted(shown_order) != sorted([row["answer"], row["other"]]):
            raise StoreError("The vote is not stored: its pair does not show these two answers; load the page again.")
        mark = next(iter(db["queue_marks"].rows_where("item = ? and annotator = ?", [item, annotator])), None)
        left, right = shown_order
        new = votes.add(db, left, right, choice, shown_order=shown_order, blind=settings["blind"], annotator=annotator,
                        supersedes=mark and mark["vote"])  # fmt: skip
        _remember(db, annotator, token, new)
        set_mark(db, row["queue"], annotator, item, 0, new)
        _book_pair(db, item, settings["overlap"])
        return new


def undo(
    where: str | Path | Database, queue: int, annotator: str, *, item: int | None = None, token: str | None = None
) -> int | None:
    """Takes back this person's last standing vote in the queue, or what they did with pair `item`, be it a skip; the pair's
    item id, None if there is none."""
    annotator = person(annotator)
    last = "queue = ? and annotator = ? and " + ("vote is not null" if item is None else "item = ?")
    values = [queue, annotator, *([] if item is None else [item])]
    with connected(where) as db, writing(db):
        if _pressed(db, annotator, token):
            return None
        mark = next(iter(db["queue_marks"].rows_where(last, values, order_by="vote desc", limit=1)), None)
        if mark is None:
            return None
        _remember(db, annotator, token, None if mark["vote"] is None else votes.undo(db, mark["vote"]))
        db["queue_marks"].delete((queue, annotator, mark["item"]))
        _book_pair(db, mark["item"], get(db, queue)["overlap"])
        pair: int = mark["item"]
        return pair


def skip(where: str | Path | Database, item: int, annotator: str, *, token: str | None = None) -> None:
    """The pair does not come again for this person unless they ask for what they skipped. The same token skips once."""
    annotator = person(annotator)
    with connected(where) as db, writing(db):
        if _pressed(db, annotator, token):
            return
        _remember(db, annotator, token, None)
        row = next(iter(db["queue_items"].rows_where("id = ? and other is not null", [item])), None)
        if row is None:
            raise StoreError(f"There is no pair {item}.")
        if not db["queue_marks"].count_where("item = ? and annotator = ?", [item, annotator]):
            set_mark(db, row["queue"], annotator, item, 1, None)


def recent(where: str | Path | Database, queue: int, annotator: str, limit: int = 10) -> list[dict[str, Any]]:
    """This person's last standing votes in the queue, newest first: `choice` (A is the left side they saw), `created`, and the
    pair as `upcoming` gives it."""
    annotator = person(annotator)
    sql = """select i.*, v.choice as choice, v.created as created, v.answer_a as seen_left
             from queue_marks m join votes v on v.id = m.vote
             join queue_items i on i.id = m.item where m.queue = ? and m.annotator = ? order by m.vote desc limit ?"""
    with connected(where) as db:
        settings = get(db, queue)
        return [
            shown_item(db, settings, row, annotator, left=row["seen_left"]) | {"choice": row["choice"], "created": row["created"]}
            for row in list(db.query(sql, [queue, annotator, limit]))
        ]


def _book_pair(db: Database, item: int, overlap: int) -> None:
    have = db["queue_marks"].count_where("item = ? and vote is not null", [item])
    db.execute("update queue_items set have = ?, full = ? where id = ?", [have, int(have >= overlap), item])
    db.execute("update queue_marks set full = ? where item = ?", [int(have >= overlap), item])


def _voted(db: Database, annotator: str, token: str | None) -> int | None:
    if token is None:
        return None
    row = next(iter(db["vote_tokens"].rows_where("annotator = ? and token = ?", [annotator, token])), None)
    return row and row["vote"]


def _pressed(db: Database, annotator: str, token: str | None) -> bool:
    return token is not None and bool(db["vote_tokens"].count_where("annotator = ? and token = ?", [annotator, token]))


def _remember(db: Database, annotator: str, token: str | None, vote: int | None) -> None:
    if token is not None:
        db["vote_tokens"].insert({"annotator": annotator, "token": token, "vote": vote})
