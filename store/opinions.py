"""Second opinions: what a judge model said of a stored answer, and what it was asked. They are never labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlite_utils import Database

from store.db import StoreError, connected, now, writing


def add(where: str | Path | Database, answer: int, *, judge: str, opinion: str, prompt: str, reply: str) -> int:
    """The new opinion's id. opinion: a label, or `unclear`; reply: as the judge gave it. StoreError without such an answer."""
    row = {"created": now(), "answer": answer, "judge": judge, "opinion": opinion, "prompt": prompt, "reply": reply}
    with connected(where) as db, writing(db):
        if not db["answers"].count_where("id = ?", [answer]):
            raise StoreError(f"The second opinion is not stored: there is no answer {answer}.")
        id: int = db["opinions"].insert(row).last_pk
        return id


def of_answer(where: str | Path | Database, answer: int) -> list[dict[str, Any]]:
    """All opinions on an answer, the oldest first."""
    with connected(where) as db:
        return list(db["opinions"].rows_where("answer = ?", [answer], order_by="id"))
