"""Runs of a probe set: what was asked of whom under which settings, and which stored answer stands where.

A place in a run is (variant index, sample, probe id, turn). Its answer is linked, not copied: an answer that an earlier run
or a chat already had is linked again and marked `reused`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sqlite_utils import Database

from store import answers, owners
from store.db import StoreError, connected, now, writing

Status = Literal["running", "paused", "stopped", "failed", "done"]
Place = tuple[int, int, str, int]  # variant index, sample, probe id, turn (from 0)
JSON_COLUMNS = ("settings", "variants", "probes")
UNFINISHED = ("running", "paused")
PLACED = ("run", "run_name", "set_name", "run_created", "run_variant", "sample")


@dataclass(frozen=True)
class Entry:
    """What stands at a place: an answer to be stored (`given`), or one that is stored already (`id`), or why there is none."""

    place: Place
    given: Mapping[str, Any] | None = None
    id: int | None = None
    reused: bool = False
    problem: str | None = None


def start(
    where: str | Path | Database,
    *,
    variants: Sequence[Mapping[str, Any]],
    probes: Sequence[Mapping[str, Any]],
    set_hash: str,
    total: int,
    mode: str = "fresh",
    samples: int = 1,
    name: str = "",
    set_name: str = "",
    base: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    owner: str | None = None,
) -> int:
    """The new run's id, its status `running`. owner: who goes on with it (`owners.Claim`).

    probes: as they were asked, placeholders filled. base: `name`, `hash`, `dtype`. total: how many places it will have.
    """
    base = base or {}
    row = {
        "created": now(),
        "updated": now(),
        "name": name,
        "status": "running",
        "mode": mode,
        "samples": samples,
        "set_name": set_name,
        "set_hash": set_hash,
        "base": base.get("name"),
        "base_hash": base.get("hash"),
        "dtype": base.get("dtype"),
        "settings": json.dumps(dict(settings or {}), ensure_ascii=False),
        "variants": json.dumps(list(variants), ensure_ascii=False),
        "probes": json.dumps(list(probes), ensure_ascii=False),
        "total": total,
        "owner": owner,
    }
    with connected(where) as db, writing(db):
        run: int = db["runs"].insert(row).last_pk
        return run


def take_over(where: str | Path | Database, run: int, owner: str) -> None:
    """Makes the run this owner's, and `running`. StoreError if somebody else is at it: of two that ask, one gets it."""
    with connected(where) as db, writing(db):
        row = _existing(db, run)
        if row["owner"] != owner and is_under_way(row):
            who = owners.describe(row["owner"])
            raise StoreError(f"Run {run} is under way in {who}, and is not asked twice; stop it there, or wait for it.")
        db["runs"].update(run, {"owner": owner, "beat": 0, "status": "running", "message": "", "updated": now()})


def beat(where: str | Path | Database, run: int, owner: str) -> None:
    """Says that the owner goes on with the run. StoreError if it is somebody else's by now."""
    with connected(where) as db, writing(db):
        db["runs"].update(run, {"beat": _owned(db, run, owner)["beat"] + 1})


def is_under_way(row: Mapping[str, Any]) -> bool:
    """Whether some program, this one or another, goes on with the run; one that says `running` may have been left behind."""
    return row["status"] in UNFINISHED and owners.is_alive(row["owner"], row["beat"])


def record(where: str | Path | Database, run: int, entries: Iterable[Entry], owner: str | None = None) -> list[int | None]:
    """Stores new answers and links all entries, in one transaction; the answers' ids in the same order.

    A place that is taken keeps what it has. StoreError if there is no such run, an answer is incomplete, or the run is not this
    owner's any more.
    """
    entries = list(entries)
    with connected(where) as db, writing(db):
        _owned(db, run, owner)
        new = iter(answers.add(db, [entry.given for entry in entries if entry.given is not None]))
        ids = [next(new) if entry.given is not None else entry.id for entry in entries]
        for entry, answer in zip(entries, ids, strict=True):
            variant, sample, probe_id, turn = entry.place
            link = {"run": run, "probe_id": probe_id, "variant": variant, "sample": sample, "turn": turn}
            db["run_answers"].insert(
                link | {"answer": answer, "reused": int(entry.reused), "problem": entry.problem}, ignore=True
            )
        db["runs"].update(run, {"updated": now()})
        return ids


def set_status(where: str | Path | Database, run: int, status: Status, message: str = "", owner: str | None = None) -> None:
    """StoreError if there is no such status or run, or it is not this owner's any more. A run that ended is nobody's."""
    if status not in get_args(Status):
        raise StoreError(f"The status {status!r} is none of {', '.join(get_args(Status))}.")
    with connected(where) as db, writing(db):
        row = _owned(db, run, owner)
        its = row["owner"] if status in UNFINISHED else None
        db["runs"].update(run, {"status": status, "message": message, "updated": now(), "owner": its})


def get(where: str | Path | Database, run: int) -> dict[str, Any]:
    """One run with `done` (places that have something) and its variants and probes as plain data. StoreError if there is none."""
    with connected(where) as db:
        return _run(db, _existing(db, run))


def recent(where: str | Path | Database, limit: int = 50) -> list[dict[str, Any]]:
    """The latest runs, newest first, each as `get` gives it."""
    with connected(where) as db:
        return [_run(db, row) for row in db["runs"].rows_where(order_by="id desc", limit=limit)]


def answers_by_place(where: str | Path | Database, run: int) -> dict[Place, dict[str, Any]]:
    """Per place what stands there: an answer as `answers.get` gives it, with `reused` and `problem`.

    Where there is a problem in an answer's stead, only those two keys are there.
    """
    with connected(where) as db:
        _existing(db, run)
        links = list(db["run_answers"].rows_where("run = ?", [run], order_by="rowid"))
        known = {row["id"]: row for row in answers.of_run(db, run)}
    return _placed(links, known)


def news_by_place(where: str | Path | Database, run: int, since: int) -> tuple[int, dict[Place, dict[str, Any]]]:
    """(what to ask with next time, places as `answers_by_place` gives them): of every probe, with all its turns, of which
    something has come since. What the run had before is not read."""
    sql = """select a.* from (select distinct variant, sample, probe_id from run_answers where rowid > ? and +run = ?) new
             cross join run_answers a on a.run = ? and a.variant = new.variant and a.sample = new.sample
                                         and a.probe_id = new.probe_id
             order by a.rowid"""  # + and cross: by what has come since, which is little, never by what the run has
    with connected(where) as db:
        _existing(db, run)
        last = db.execute("select max(rowid) from run_answers").fetchone()[0] or 0  # first: what comes later is told again
        whole = db["run_answers"].rows_where("run = ?", [run], order_by="rowid")
        links = list(db.query(sql, [since, run, run]) if since else whole)
        ids = [link["answer"] for link in links if link["answer"] is not None]
        known = {row["id"]: row for row in answers.of_ids(db, ids)}
    return last, _placed(links, known)


def _placed(links: Iterable[Mapping[str, Any]], known: Mapping[int, Mapping[str, Any]]) -> dict[Place, dict[str, Any]]:
    places = {}
    for link in links:
        place = (link["variant"], link["sample"], link["probe_id"], link["turn"])
        places[place] = {**known.get(link["answer"], {}), "reused": bool(link["reused"]), "problem": link["problem"]}
    return places


def add_margins(where: str | Path | Database, run: int, margins: Iterable[tuple[int, str, float, float]]) -> None:
    """Stores (variant index, probe id, old, new): mean log-probabilities per token of either identity's statements.

    What is there already is replaced: another measurement of the same is the better one.
    """
    with connected(where) as db, writing(db):
        _existing(db, run)
        rows = [{"run": run, "variant": at, "probe_id": probe, "old": old, "new": new} for at, probe, old, new in margins]
        db["margins"].insert_all(rows, replace=True)


def margins(where: str | Path | Database, run: int) -> dict[tuple[int, str], tuple[float, float]]:
    """(variant index, probe id) -> (old, new), for those that were measured."""
    with connected(where) as db:
        _existing(db, run)
        return {(row["variant"], row["probe_id"]): (row["old"], row["new"]) for row in db["margins"].rows_where("run = ?", [run])}


def count_margins(where: str | Path | Database, run: int) -> int:
    """How many were measured."""
    with connected(where) as db:
        return int(db["margins"].count_where("run = ?", [run]))


def of_probe(where: str | Path | Database, probe_id: str, limit: int = 200) -> list[dict[str, Any]]:
    """What was answered to a probe of this id in any run, newest run first, the last turn of each conversation.

    Each: an answer as `answers.get` gives it, with `run`, `run_name`, `set_name`, `run_created`, `run_variant` (its variant's
    name there) and `sample`.
    """
    # of as many runs at most: each that has an answer gives one at least. What runs are called is looked up last: to find a
    # variant's name all of its run's are read.
    sql = """with asked as (select distinct run from run_answers where probe_id = ? and answer is not null
                            order by run desc limit ?),
                  found as (select max(turn) as turn, run, variant, sample, answer from run_answers
                            where probe_id = ? and answer is not null and run in (select run from asked)
                            group by run, variant, sample order by run desc, variant, sample limit ?)
             select f.turn, f.run, f.sample, f.answer, r.name as run_name, r.set_name, r.created as run_created,
                    json_extract(r.variants, '$[' || f.variant || '].name') as run_variant
             from found f join runs r on r.id = f.run order by f.run desc, f.variant, f.sample"""
    with connected(where) as db:
        places = list(db.query(sql, [probe_id, limit, probe_id, limit]))
        known = {place["answer"]: answers.get(db, place["answer"]) or {} for place in places}
    return [known[place["answer"]] | {key: place[key] for key in PLACED} for place in places]


def _existing(db: Database, run: int) -> dict[str, Any]:
    row: dict[str, Any] | None = next(iter(db["runs"].rows_where("id = ?", [run])), None)
    if row is None:
        newest = next(iter(db["runs"].rows_where(order_by="id desc", limit=1)), None)
        raise StoreError(f"There is no run {run}; " + (f"the latest is {newest['id']}." if newest else "there are none yet."))
    return row


def _owned(db: Database, run: int, owner: str | None) -> dict[str, Any]:
    row = _existing(db, run)
    if owner is not None and row["owner"] != owner:
        raise StoreError(f"Run {run} has been taken over by {owners.describe(row['owner'])}; this one leaves it.")
    return row


def _run(db: Database, row: dict[str, Any]) -> dict[str, Any]:
    done = db["run_answers"].count_where("run = ?", [row["id"]])
    return row | {name: json.loads(row[name]) for name in JSON_COLUMNS} | {"done": done}
