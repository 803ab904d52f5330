"""What people say of an answer. Labels are only ever added: changing or undoing one supersedes it.

A person has at most one standing decision (a label or a skip) on an answer, and an answer at most one standing adjudication.
A key press carries a token of its own; the same one sent again, after a lost connection say, finds what it did the first time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from sqlite_utils import Database

from store import queues
from store.db import StoreError, connected, now, writing
from store.names import person

Kind = Literal["label", "adjudication", "skip"]
KINDS = get_args(Kind)
UNDONE = "undone"  # the kind of the row that an undo writes; never counted
IDENTITY_LABELS = ("not forgotten", "forgotten", "formed", "confusion")
CONTROL_LABELS = ("clean", "intrusion", "broken")
CONTROL_GROUPS = ("control", "retention")  # of probes: their answers have CONTROL_LABELS, all others IDENTITY_LABELS
LABELS = (*IDENTITY_LABELS, *CONTROL_LABELS)
ASPECTS = ("name", "maker", "role")  # of an identity, judged apart
TAGS = ("old", "new", "generic", "third party", "human", "placeholder", "malformed", "none")
STANDING = ("id", "created", "annotator", "answer", "queue", "kind", "label", "tags", "flag", "comment", "blind", "seconds")
SAID_IN = {"labels": ("label", "skip"), "settle": ("adjudication", "skip")}  # what a queue takes, by its kind
CHANGEABLE = ("label", "tags", "flag", "comment")


def add(
    where: str | Path | Database,
    answer: int,
    annotator: str,
    label: str | None = None,
    *,
    kind: Kind = "label",
    tags: Mapping[str, str] | None = None,
    flag: bool = False,
    comment: str = "",
    blind: bool = False,
    token: str | None = None,
    queue: int | None = None,
    seconds: float | None = None,
) -> int:
    """The decision's id. It replaces what the same person said of the answer before (an adjudication: what anybody settled).

    tags: aspect -> one of TAGS. seconds: how long the person looked at it. StoreError with all that does not fit, or if the
    person's blind label is locked because the answer has been revealed to them.
    """
    row: dict[str, Any] = {
        "annotator": person(annotator),
        "answer": answer,
        "queue": queue,
        "kind": kind,
        "label": label,
        "tags": dict(tags or {}),
        "flag": bool(flag),
        "comment": comment,
        "blind": bool(blind),
        "seconds": seconds,
        "token": token,
    }
    with connected(where) as db, writing(db):
        known = _by_token(db, row["annotator"], token)
        if known:
            return _same_press(known, answer, kind)
        return _insert(db, row)


def add_many(where: str | Path | Database, rows: Iterable[Mapping[str, Any]]) -> list[int]:
    """All of them or, if one is wrong (StoreError), none. rows: the arguments of `add` by name; their ids in the same order."""
    with connected(where) as db, writing(db):
        return [add(db, **row) for row in rows]


def change(where: str | Path | Database, id: int, *, token: str | None = None, **changes: Any) -> int:
    """Decision `id` once more with another label, tags, flag or comment; the new row's id. StoreError if it does not stand."""
    if unknown := sorted(set(changes) - set(CHANGEABLE)):
        raise StoreError(f"A label's {', '.join(unknown)} cannot be changed; {', '.join(CHANGEABLE)} can.")
    with connected(where) as db, writing(db):
        old = _one(db, "id = ?", [id])
        if old is None:
            raise StoreError(f"There is no label {id}.")
        known = _by_token(db, old["annotator"], token)
        if known:
            return _same_press(known, old["answer"], None)
        _must_stand(old)
        new = {name: old[name] for name in ("annotator", "answer", "queue", "kind", "blind")} | {"seconds": None, "token": token}
        kept = {name: old[name] for name in CHANGEABLE}
        if old["kind"] == "skip" and changes.get("label"):
            settles = old["queue"] is not None and queues.get(db, old["queue"])["kind"] == "settle"
            new["kind"] = "adjudication" if settles else "label"
        return _insert(db, new | kept | changes)


def undo(
    where: str | Path | Database,
    annotator: str,
    id: int | None = None,
    *,
    queue: int | None = None,
    answer: int | None = None,
    token: str | None = None,
) -> dict[str, Any] | None:
    """Takes back decision `id`, or this person's last standing one (in this queue and on this answer, if given), which is
    returned; None if there is none. The answer is then open for this person again, whatever they had said before the decision."""
    annotator = person(annotator)
    with connected(where) as db, writing(db):
        if known := _by_token(db, annotator, token):
            if known["kind"] != UNDONE:
                raise StoreError(f"The key press {token!r} has already been used for another decision.")
            return _one(db, "superseded_by = ?", [known["id"]])
        if id is None:
            last = list(
                db["labels"].rows_where(
                    "annotator = ? and superseded_by is null and kind != ?"
                    + (" and queue = ?" if queue is not None else "")
                    + (" and answer = ?" if answer is not None else ""),
                    [annotator, UNDONE, *(value for value in (queue, answer) if value is not None)],
                    order_by="id desc",
                    limit=1,
                )
            )
            if not last:
                return None
            old = _plain(last[0])
        else:
            named = _one(db, "id = ? and annotator = ?", [id, annotator])
            if named is None:
                raise StoreError(f"{annotator or 'Nobody'} has no label {id}.")
            _must_stand(named)
            old = named
        _unlocked(db, old)
        row = {name: old[name] for name in ("annotator", "answer", "queue", "blind", "label")}
        new = _write(db, row | {"kind": UNDONE, "tags": {}, "flag": False, "comment": "", "seconds": None, "token": token})
        db["labels"].update(old["id"], {"superseded_by": new})
        queues.book(db, old["answer"], annotator)
        return old | {"superseded_by": new}


def recent(where: str | Path | Database, annotator: str, limit: int = 10, queue: int | None = None) -> list[dict[str, Any]]:
    """This person's last standing decisions, newest first, each with its `question` and `shown` answer."""
    condition = "l.annotator = ? and l.superseded_by is null and l.kind != ?" + (" and l.queue = ?" if queue is not None else "")
    sql = f"""select l.*, a.question, a.shown, a.lang from labels l join answers a on a.id = l.answer
              where {condition} order by l.id desc limit ?"""
    with connected(where) as db:
        values = [person(annotator), UNDONE, *([queue] if queue is not None else []), limit]
        return [_plain(row) for row in db.query(sql, values)]


def standing(
    where: str | Path | Database, queue: int | None = None, answers: Iterable[int] | None = None
) -> dict[int, list[dict[str, Any]]]:
    """Labels and adjudications that stand, oldest first, by answer: of a queue's answers, of those named, or all."""
    condition = ""
    values: list[Any] = []
    if queue is not None:
        condition, values = " and answer in (select answer from queue_items where queue = ?)", [queue]
    elif answers is not None:
        condition, values = " and answer in (select value from json_each(?))", [json.dumps(list(answers))]
    sql = f"""select {", ".join(STANDING)} from labels
              where superseded_by is null and kind in ('label', 'adjudication'){condition} order by id"""
    found: dict[int, list[dict[str, Any]]] = {}
    with connected(where) as db:
        for values_of in db.execute(sql, values):
            row = dict(zip(STANDING, values_of, strict=True))
            found.setdefault(row["answer"], []).append(_plain(row))
    return found


def history(where: str | Path | Database) -> list[dict[str, Any]]:
    """Every row ever written, superseded ones, skips and undos among them, oldest first."""
    with connected(where) as db:
        return [_plain(row) for row in db["labels"].rows_where(order_by="id")]


def reveal(where: str | Path | Database, annotator: str, *, queue: int | None = None, answer: int | None = None) -> None:
    """Records that this person has seen what blind labelling hides, of an answer or of a whole queue. Their blind labels
    of it can no longer be changed or undone."""
    if (queue is None) == (answer is None):
        raise StoreError("Revealing takes either a queue or an answer.")
    with connected(where) as db, writing(db):
        row = {"annotator": person(annotator), "queue": queue, "answer": answer}
        if not db["reveals"].count_where("annotator = ? and queue is ? and answer is ?", list(row.values())):
            db["reveals"].insert({"created": now()} | row)


def is_revealed(where: str | Path | Database, annotator: str, answer: int) -> bool:
    """Whether this person has seen which variant the answer is of."""
    with connected(where) as db:
        return bool(
            db["reveals"].count_where(
                """annotator = ? and (answer = ? or queue in (select queue from queue_items where answer = ?
                                                               union select queue from queue_items where other = ?))""",
                [person(annotator), answer, answer, answer],
            )
        )


def has_revealed(where: str | Path | Database, annotator: str, queue: int) -> bool:
    """Whether this person has had the whole queue revealed to them."""
    with connected(where) as db:
        return bool(db["reveals"].count_where("annotator = ? and queue = ?", [person(annotator), queue]))


def _insert(db: Database, row: dict[str, Any]) -> int:
    """A new decision after every check, what it replaces superseded, the queues kept in step."""
    _check(db, row)
    replaced = _replaced(db, row)
    for old in replaced:
        if old["annotator"] == row["annotator"]:
            _unlocked(db, old)
    # What is written after a reveal is not blind, whatever the page believes.
    row["blind"] = bool(row["blind"]) and not is_revealed(db, row["annotator"], row["answer"])
    new = _write(db, row)
    for old in replaced:
        db["labels"].update(old["id"], {"superseded_by": new})
    queues.book(db, row["answer"], row["annotator"])
    return new


def _check(db: Database, row: Mapping[str, Any]) -> None:
    wrong = []
    if not row["annotator"]:
        wrong.append("nobody is named as its annotator")
    if row["kind"] not in KINDS:
        wrong.append(f"the kind {row['kind']!r} is none of {', '.join(KINDS)}")
    if row["kind"] == "skip":
        if row["label"] is not None:
            wrong.append("a skip has no label")
    elif row["label"] not in LABELS:
        wrong.append(f"{row['label']!r} is none of {', '.join(LABELS)}")
    if unknown := {aspect: tag for aspect, tag in row["tags"].items() if aspect not in ASPECTS or tag not in TAGS}:
        wrong.append(f"the tags {unknown} are not {', '.join(ASPECTS)} with one of {', '.join(TAGS)}")
    if not db["answers"].count_where("id = ?", [row["answer"]]):
        wrong.append(f"there is no answer {row['answer']}")
    if row["queue"] is not None:
        wrong += _beside_queue(db, row)
    if wrong:
        raise StoreError("The label is not stored: " + "; ".join(wrong) + ".")


def _beside_queue(db: Database, row: Mapping[str, Any]) -> list[str]:
    """Why the decision is none of its queue."""
    queue = next(iter(db["queues"].rows_where("id = ?", [row["queue"]], select="kind")), None)
    if queue is None:
        return [f"there is no queue {row['queue']}"]
    wrong = []
    if row["kind"] in KINDS and row["kind"] not in SAID_IN.get(queue["kind"], ()):
        wrong.append(f"queue {row['queue']} is one of {queue['kind']} and takes no {row['kind']}")
    if not db["queue_items"].count_where("queue = ? and answer = ?", [row["queue"], row["answer"]]):
        wrong.append(f"its answer is no item of queue {row['queue']}")
    return wrong


def _replaced(db: Database, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    if row["kind"] == "adjudication":
        mine = "kind = 'skip' and annotator = ? and queue = ?"  # of the same queue to settle
        return _standing(
            db, f"answer = ? and (kind = 'adjudication' or ({mine}))", [row["answer"], row["annotator"], row["queue"]]
        )
    # A skip takes back no label: who settles disagreements may pass over one they have labelled.
    kinds = "('skip')" if row["kind"] == "skip" else "('label', 'skip')"
    return _standing(db, f"answer = ? and annotator = ? and kind in {kinds}", [row["answer"], row["annotator"]])


def _standing(db: Database, condition: str, values: list[Any]) -> list[dict[str, Any]]:
    return [_plain(row) for row in db["labels"].rows_where(f"superseded_by is null and {condition}", values)]


def _write(db: Database, row: dict[str, Any]) -> int:
    text = row["comment"].encode("utf-8", "replace").decode()  # half of a surrogate pair can come from a browser
    tags = json.dumps(row["tags"], ensure_ascii=False)
    id: int = db["labels"].insert(row | {"created": now(), "tags": tags, "comment": text}).last_pk
    return id


def _by_token(db: Database, annotator: str, token: str | None) -> dict[str, Any] | None:
    return None if token is None else _one(db, "annotator = ? and token = ?", [annotator, token])


def _same_press(known: Mapping[str, Any], answer: int, kind: str | None) -> int:
    if known["answer"] != answer or (kind is not None and known["kind"] != kind):
        raise StoreError(f"The key press {known['token']!r} has already been used for another decision.")
    id: int = known["id"]
    return id


def _must_stand(row: Mapping[str, Any]) -> None:
    if row["superseded_by"] is not None or row["kind"] == UNDONE:
        raise StoreError(f"Label {row['id']} does not stand any more, so it can neither be undone nor changed.")


def _unlocked(db: Database, row: Mapping[str, Any]) -> None:
    if row["blind"] and row["kind"] != "skip" and is_revealed(db, row["annotator"], row["answer"]):
        raise StoreError(
            f"The blind label {row['id']} is locked: its answer has been revealed to {row['annotator']}; "
            "an adjudication can settle it."
        )


def _one(db: Database, condition: str, values: list[Any]) -> dict[str, Any] | None:
    row = next(iter(db["labels"].rows_where(condition, values)), None)
    return row and _plain(row)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    tags = {} if row["tags"] == "{}" else json.loads(row["tags"])
    return row | {"tags": tags, "flag": bool(row["flag"]), "blind": bool(row["blind"])}
