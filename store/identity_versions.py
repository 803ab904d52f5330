"""Every text of an identity that was saved, with its facts: when, by whom, and how many answers were given under its prompt."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from sqlite_utils import Database

from store.db import connected, now, writing


@dataclass(frozen=True)
class Version:
    """text: as NAME.txt had it. facts: as NAME.yaml had them, "" without any. hash: of the prompt. answers: given under it."""

    id: int
    created: str
    who: str
    name: str
    hash: str
    text: str
    facts: str
    answers: int


def note(where: str | Path | Database, name: str, hash: str, text: str, facts: str, who: str = "") -> bool:
    """Keeps what an identity is now; False where its latest version says the same already. StoreError."""
    row = {"created": now(), "who": who, "name": name, "hash": hash, "text": text, "facts": facts}
    with connected(where) as db, writing(db):
        latest = db.execute(
            "select text, facts from identity_versions where name = ? order by id desc limit 1", [name]
        ).fetchone()
        if latest == (text, facts):
            return False
        db["identity_versions"].insert(row)
    return True


def of(where: str | Path | Database, name: str) -> list[Version]:
    """The versions of an identity, the newest first."""
    return _read(where, "name = ?", [name])


def find(where: str | Path | Database, name: str, hash: str) -> Version | None:
    """The newest version of an identity with that prompt."""
    return next(iter(_read(where, "name = ? and hash = ?", [name, hash])), None)


def saved_last(where: str | Path | Database) -> str | None:
    """The identity whose version is the newest of all; it may have been deleted since."""
    with connected(where) as db:
        row = db.execute("select name from identity_versions order by id desc limit 1").fetchone()
        return str(row[0]) if row else None


def answers_under(where: str | Path | Database, hash: str) -> int:
    """How many answers were given under a prompt with that hash."""
    with connected(where) as db:
        return int(db.execute("select count(*) from answers where identity_hash = ?", [hash]).fetchone()[0])


def renamed(where: str | Path | Database, old: str, new: str) -> None:
    """The versions go with the identity."""
    with connected(where) as db, writing(db):
        db.execute("update identity_versions set name = ? where name = ?", [new, old])


def _read(where: str | Path | Database, condition: str, values: list[str]) -> list[Version]:
    columns = ", ".join(one.name for one in fields(Version) if one.name != "answers")
    under = "(select count(*) from answers where identity_hash = v.hash)"
    with connected(where) as db:
        found = db.execute(f"select {columns}, {under} from identity_versions v where {condition} order by id desc", values)
        return [Version(*row) for row in found]
