"""What is to be labelled, by whom, and how far everybody is.

A queue is a fixed order of answers (kinds `labels` and `settle`) or of pairs of answers (`pairs`). Whoever labels walks it from
their own place; an item leaves for everybody when `overlap` people have labelled it, or once it is adjudicated. What people do
with pairs stands in `store.pairs`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import statistics
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

from sqlite_utils import Database

from store import gold as gold_items, queue_order
from store.db import StoreError, connected, now, writing
from store.drawn import drawn_numbers
from store.migrations import DRAWN_ID
from store.names import person, title

Kind = Literal["labels", "settle", "pairs"]
KINDS = get_args(Kind)
Strategy = Literal["all", "stratified"]
STRATEGIES = get_args(Strategy)
# from whoever labels blind; `data` names what a variant was taught with
HIDDEN = ("variant", "variant_name", "variant_of", "suggestion", "sure", "tags", "evidence", "labels", "raw", "data")
NOT_KEPT = ("answer", "other", "item", "have", "full", "drawn")  # of an item: columns of their own
PAUSE_S = 120.0  # a longer gap between two decisions is a pause, not work
NEAR = 1000  # items looked at before it is worth counting whether there is anything to find
TIMED = 50  # how many of the latest decisions the speed is taken from


def create(
    where: str | Path | Database,
    name: str,
    items: Iterable[Mapping[str, Any]],
    *,
    kind: Kind = "labels",
    overlap: int = 1,
    blind: bool = True,
    mask: bool = False,
    strategy: Strategy = "all",
    size: int | None = None,
    by: Sequence[str] = ("lang", "variant", "category"),
    seed: int | None = None,
    gold: Mapping[int, str] | None = None,
) -> int:
    """The new queue's id. items: `answer` (the id of a stored one; pairs: `other` too) and whatever else belongs to it, kept.

    The order is drawn with `seed`; without one it gets a seed that nobody can guess, for whoever knows it could tell from an
    item's place which variant it is of. `stratified` takes from every combination of the keys in `by` in turn, so that any
    beginning of the queue is spread evenly over them; `size` keeps only so many. Labels given earlier count at once.
    gold: answer -> label, of items whose label is known beforehand (`store.gold`): all are kept, at places drawn anew.
    """
    items, name, gold = queue_order.unique_items(items), title(name), gold or {}
    seed = secrets.randbits(63) if seed is None else seed
    wrong = []
    if kind not in KINDS:
        wrong.append(f"the kind {kind!r} is none of {', '.join(KINDS)}")
    if strategy not in STRATEGIES:
        wrong.append(f"the strategy {strategy!r} is none of {', '.join(STRATEGIES)}")
    if overlap < 1:
        wrong.append(f"{overlap} people are too few to label an item")
    if not items:
        wrong.append("it would be empty")
    if kind == "pairs" and any(item.get("other") in (None, item["answer"]) for item in items):
        wrong.append("an item is no pair of two answers")
    wrong += queue_order.gold_problems(gold, items, kind, size)
    if wrong:
        raise StoreError(f"The queue {name!r} is not made: " + "; ".join(wrong) + ".")
    ordered = queue_order.draw_order(items, strategy, by, gold, size, seed)
    settings = {"strategy": strategy, "size": size, "by": list(by), "seed": seed}
    row = {"name": name, "kind": kind, "overlap": overlap, "blind": bool(blind), "mask": bool(mask)}
    with connected(where) as db, writing(db):
        _check_answers(db, ordered)
        queue: int = db["queues"].insert({"created": now(), "settings": json.dumps(settings)} | row).last_pk
        db.conn.executemany(
            f"""insert into queue_items (queue, position, answer, other, meta, drawn, drawn_answer, drawn_other)
                values (?, ?, ?, ?, ?, {DRAWN_ID}, {DRAWN_ID}, {DRAWN_ID})""",
            ((queue, place, item["answer"], item.get("other"), _meta(item)) for place, item in enumerate(ordered)),
        )
        if kind != "pairs":
            _count_earlier(db, queue, kind, overlap)
        gold_items.add(db, queue, gold)
        return queue


def all_with_counts(where: str | Path | Database) -> list[dict[str, Any]]:
    """All queues, newest first, with `items` and `full` (how many there are, and how many are done)."""
    with connected(where) as db:
        rows = list(db["queues"].rows_where(order_by="id desc"))
        return [_queue(row | {"items": _total(db, row["id"]), "full": _full(db, row["id"])}) for row in rows]


def get(where: str | Path | Database, queue: int) -> dict[str, Any]:
    """A queue's settings; StoreError if there is no such queue."""
    with connected(where) as db:
        row = next(iter(db["queues"].rows_where("id = ?", [queue])), None)
    if row is None:
        raise StoreError(f"There is no queue {queue}.")
    return _queue(row)


def items(where: str | Path | Database, queue: int) -> list[dict[str, Any]]:
    """Everything in the queue in order, nothing hidden: what was given to `create` with `item`, `have`, `full` and `drawn`."""
    with connected(where) as db:
        rows = db["queue_items"].rows_where("queue = ?", [queue], order_by="position")
        return [json.loads(r["meta"]) | {"item": r["id"], "answer": r["answer"], "other": r["other"], "have": r["have"],
                                         "full": bool(r["full"]), "drawn": drawn_numbers(r)} for r in rows]  # fmt: skip


def upcoming_items(
    where: str | Path | Database,
    queue: int,
    annotator: str,
    count: int = 1,
    *,
    skipped: bool = False,
    without: Sequence[int] = (),
    reveal: bool = False,
) -> list[dict[str, Any]]:
    """The next `count` items for this person, to show and to fetch ahead; skipped ones only if asked for. without: item ids
    that the page already has. reveal: with what a blind queue hides (who asks for it is answerable for `labels.reveal`).

    Each: `item`, `position`, `answer`, `question`, `shown`, `messages`, `lang`, `drawn` (`store.drawn`) and its own keys; of a
    blind queue without those in HIDDEN. Pairs have `sides`, the two answers (`answer`, `shown`), in the order this person sees.
    """
    annotator = person(annotator)
    with connected(where) as db:
        settings = get(db, queue)
        found = _open_items(db, settings, annotator, count, skipped, list(without))
        return [shown_item(db, settings, row, annotator, reveal) for row in found]


def decided_items(
    where: str | Path | Database, queue: int, annotator: str, answers: Sequence[int], *, reveal: bool = False
) -> dict[int, dict[str, Any]]:
    """Items of the queue by their answer, as `upcoming` gives them, whatever has become of them: to look at them again."""
    annotator = person(annotator)
    with connected(where) as db:
        settings = get(db, queue)
        sql = "select i.* from queue_items i where i.queue = ? and i.answer in (select value from json_each(?))"
        rows = list(db.query(sql, [queue, json.dumps(list(answers))]))
        return {row["answer"]: shown_item(db, settings, row, annotator, reveal) for row in rows}


def crowded_items(where: str | Path | Database, items: Sequence[int]) -> list[int]:
    """Those of these items that more people have decided than were needed: they walk the queue side by side."""
    sql = """select i.id from queue_items i join queues q on q.id = i.queue
             where i.id in (select value from json_each(?)) and i.have > q.overlap"""
    with connected(where) as db:
        return [id for (id,) in db.execute(sql, [json.dumps(list(items))])]


def finished_items(where: str | Path | Database, items: Sequence[int]) -> list[int]:
    """Those of these items that need nobody any more."""
    sql = "select id from queue_items where id in (select value from json_each(?)) and full = 1"
    with connected(where) as db:
        return [id for (id,) in db.execute(sql, [json.dumps(list(items))])]


def progress(where: str | Path | Database, queue: int, annotator: str) -> dict[str, Any]:
    """How far it is: `total`, `full` (done for everybody), `mine`, `skipped`, `left` (for me), `seconds` (my median per
    decision, None before the second one) and `seconds_left`."""
    annotator = person(annotator)
    with connected(where) as db:
        settings = get(db, queue)
        total, full, mine, skipped, done = _counts(db, queue, annotator)
        seconds = _pace(db, settings, annotator)
    left = total - full - done
    told = {"total": total, "full": full, "mine": mine, "skipped": skipped, "left": left, "seconds": seconds}
    return told | {"seconds_left": None if seconds is None else seconds * left}


def count_per_person(where: str | Path | Database, queue: int) -> dict[str, int]:
    """How many items each person has decided, whoever did most first."""
    sql = "select annotator, count(*) from queue_marks where queue = ? and skip = 0 group by annotator order by 2 desc, 1"
    with connected(where) as db:
        return dict(db.execute(sql, [queue]).fetchall())


def book(db: Database, answer: int, annotator: str) -> None:
    """After a decision of this person on this answer: every queue that holds it is brought in step."""
    rows = db.execute(
        """select i.id, i.queue, q.kind, q.overlap, g.answer is not null from queue_items i join queues q on q.id = i.queue
           left join gold g on g.queue = i.queue and g.answer = i.answer where i.answer = ?""", [answer],
    ).fetchall()  # fmt: skip
    if not rows:
        return
    said = db.execute("select annotator, kind, queue from labels where answer = ? and superseded_by is null", [answer]).fetchall()
    settled = any(kind == "adjudication" for _, kind, _ in said)
    mine = {(kind, within) for name, kind, within in said if name == annotator}
    for item, queue, kind, overlap, is_gold in rows:
        if kind == "pairs":
            continue
        people = len({name for name, given, within in said if given == "label" and (not is_gold or within == queue)})
        done = people >= overlap or (settled and not is_gold)
        have, full = (int(settled), settled) if kind == "settle" else (people, done)
        # Skipping an answer while labelling says nothing about settling it.
        said_here = any(which == ("adjudication" if kind == "settle" else "label") for which, _ in mine)
        skipped = any(which == "skip" and (kind != "settle" or within == queue) for which, within in mine)
        db.execute("update queue_items set have = ?, full = ? where id = ?", [have, int(full), item])
        if said_here or skipped:
            set_mark(db, queue, annotator, item, int(not said_here), None)
        else:
            db.execute("delete from queue_marks where queue = ? and annotator = ? and item = ?", [queue, annotator, item])
        db.execute("update queue_marks set full = ? where item = ? and full != ?", [int(full), item, int(full)])


def _counts(db: Database, queue: int, annotator: str) -> tuple[int, int, int, int, int]:
    """Items, full ones, this person's decisions, their skips of items still open, and all their marks on items still open.
    Each is a walk along an index."""
    sql = "select full, skip, count(*) from queue_marks where queue = ? and annotator = ? group by full, skip"
    marks = db.execute(sql, [queue, annotator]).fetchall()
    return (
        _total(db, queue),
        _full(db, queue),
        sum(count for _, skip, count in marks if not skip),
        sum(count for done, skip, count in marks if skip and not done),
        sum(count for done, _, count in marks if not done),
    )


def _total(db: Database, queue: int) -> int:
    """How many items it has: positions have no gaps, and the last one of either kind stands at the end of the index."""
    last = "select max(position) from queue_items where queue = ? and full = ?"
    found = [db.execute(last, [queue, full]).fetchone()[0] for full in (0, 1)]
    return 1 + max((at for at in found if at is not None), default=-1)


def _full(db: Database, queue: int) -> int:
    return int(db.execute("select count(*) from queue_items where queue = ? and full = 1", [queue]).fetchone()[0])


def _open_items(
    db: Database, settings: Mapping[str, Any], annotator: str, count: int, skipped: bool, without: list[int]
) -> list[dict[str, Any]]:
    """Forward from this person's place to the end, then from the beginning to their place."""
    queue, place = settings["id"], _place(db, settings, annotator)
    mark = "select 1 from queue_marks m where m.queue = i.queue and m.annotator = ? and m.item = i.id"
    condition = f"exists ({mark} and m.skip = 1)" if skipped else f"not exists ({mark})"
    sql = f"""select i.* from queue_items i where i.queue = ? and i.full = 0 and i.position >= ? and i.position < ?
              and {condition} and i.id not in (select value from json_each(?)) order by i.position limit ?"""

    def look(start: int, end: int, wanted: int) -> list[dict[str, Any]]:
        return list(db.query(sql, [queue, start, end, annotator, json.dumps(without), wanted]))

    found = look(place, place + NEAR, count)
    if len(found) < count:
        total, full, _, _, done = _counts(db, queue, annotator)
        # For somebody with nothing left, all of the queue would be walked in vain.
        if skipped or total > full + done + len(found):
            found += look(place + NEAR, total, count - len(found))
            found += look(0, place, count - len(found))
    return found


def _place(db: Database, settings: Mapping[str, Any], annotator: str) -> int:
    """Behind the person's last decision. Who begins does so at the beginning if items are labelled by several people (so
    that they meet), else at a place of their own (so that two people do not label the same item at the same moment)."""
    if settings["kind"] == "pairs":
        row = db.execute(
            """select i.position from queue_marks m join queue_items i on i.id = m.item
               where m.queue = ? and m.annotator = ? order by m.vote desc limit 1""", [settings["id"], annotator],
        ).fetchone()  # fmt: skip
    else:
        row = db.execute(
            """select i.position from labels l join queue_items i on i.answer = l.answer and i.queue = l.queue
               where l.annotator = ? and l.queue = ? order by l.id desc limit 1""", [annotator, settings["id"]],
        ).fetchone()  # fmt: skip
    if row:
        last: int = row[0]
        return last
    if settings["overlap"] > 1:
        return 0
    return _number(f"{settings['id']} {annotator}") % max(_total(db, settings["id"]), 1)


def shown_item(
    db: Database,
    settings: Mapping[str, Any],
    row: Mapping[str, Any],
    annotator: str,
    reveal: bool = False,
    left: int | None = None,
) -> dict[str, Any]:
    """left: the answer of a pair that stands on that side, where the person has seen it already."""
    meta: dict[str, Any] = json.loads(row["meta"])
    if settings["blind"] and not reveal:
        meta = {name: value for name, value in meta.items() if name not in HIDDEN}
    texts = _texts(db, row["answer"])
    plain = {"item": row["id"], "position": row["position"], "answer": row["answer"], "have": row["have"]}
    plain["drawn"] = drawn_numbers(row)
    if row["other"] is None:
        return meta | texts | plain
    sides = [texts | {"answer": row["answer"]}, _texts(db, row["other"]) | {"answer": row["other"]}]
    # By what was drawn for each: of what the page knows nothing may tell which of the two is the item's `answer`, always the
    # same variant's.
    drawn = drawn_numbers(row)
    sides.sort(key=lambda side: _number(f"{drawn['answers'][side['answer']]} {annotator}"))
    if left is not None:
        sides.sort(key=lambda side: side["answer"] != left)
    return meta | {
        "question": texts["question"],
        "lang": texts["lang"],
        "item": row["id"],
        "position": row["position"],
        "drawn": drawn,
        "sides": sides,
    }


def _texts(db: Database, answer: int) -> dict[str, Any]:
    row: dict[str, Any] = next(iter(db["answers"].rows_where("id = ?", [answer], select="question, shown, lang, messages")))
    return row | {"messages": json.loads(row["messages"])}


def _pace(db: Database, settings: Mapping[str, Any], annotator: str) -> float | None:
    table, which = ("votes", "annotator = ?") if settings["kind"] == "pairs" else ("labels", "annotator = ? and queue = ?")
    values = [annotator] if settings["kind"] == "pairs" else [annotator, settings["id"]]
    times = [row["created"] for row in db[table].rows_where(which, values, select="created", order_by="id desc", limit=TIMED)]
    moments = [datetime.fromisoformat(time) for time in times]
    gaps = [(later - earlier).total_seconds() for later, earlier in pairwise(moments)]
    worked = [gap for gap in gaps if 0 <= gap <= PAUSE_S]  # a clock may have been set back
    return statistics.median(worked) if worked else None


def set_mark(db: Database, queue: int, annotator: str, item: int, skip: int, vote: int | None) -> None:
    db.execute("insert or replace into queue_marks (queue, annotator, item, skip, vote, full) values (?, ?, ?, ?, ?, "
               "(select full from queue_items where id = ?))", [queue, annotator, item, skip, vote, item])  # fmt: skip


def _count_earlier(db: Database, queue: int, kind: str, overlap: int) -> None:
    """Labels from before the queue was made, all at once: `book` for every answer would take minutes."""
    stands = "l.answer = queue_items.answer and l.superseded_by is null"
    settled = f"exists (select 1 from labels l where {stands} and l.kind = 'adjudication')"
    # One label of a person stands, so labels are people.
    people = f"(select count(*) from labels l where {stands} and l.kind = 'label')"
    have = settled if kind == "settle" else people
    kinds = ("adjudication", "adjudication") if kind == "settle" else ("label", "skip")
    db.execute(f"update queue_items set have = {have} where queue = ?", [queue])
    db.execute(
        f"update queue_items set full = (have >= ? or {settled}) where queue = ?", [1 if kind == "settle" else overlap, queue]
    )
    db.execute(
        """insert or replace into queue_marks (queue, annotator, item, skip, full)
           select i.queue, l.annotator, i.id, min(l.kind = 'skip'), i.full from queue_items i join labels l on l.answer = i.answer
           where i.queue = ? and l.superseded_by is null and l.kind in (?, ?) group by l.annotator, i.id""", [queue, *kinds],
    )  # fmt: skip


def _check_answers(db: Database, items: list[Mapping[str, Any]]) -> None:
    ids = json.dumps([id for item in items for id in (item["answer"], item.get("other")) if id is not None])
    missing = [
        value for (value,) in db.execute("select value from json_each(?) where value not in (select id from answers)", [ids])
    ]
    if missing:
        raise StoreError(f"The queue is not made: there is no answer {', '.join(map(str, missing[:5]))}.")


def _meta(item: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in item.items() if name not in NOT_KEPT},
                      ensure_ascii=False)  # fmt: skip


def _queue(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"blind": bool(row["blind"]), "mask": bool(row["mask"]), "settings": json.loads(row["settings"])}


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])
