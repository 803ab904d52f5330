"""Which of two answers a person preferred. Votes are only ever added: changing or undoing one supersedes it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from sqlite_utils import Database

from store.db import StoreError, connected, now, writing
from store.names import person

Choice = Literal["A", "B", "tie", "both bad"]
CHOICES = get_args(Choice)
UNDONE = "undone"  # what an undo writes as its own choice; never counted


def add(
    where: str | Path | Database,
    answer_a: int,
    answer_b: int,
    choice: Choice,
    *,
    shown_order: Sequence[int] | None = None,
    blind: bool = False,
    annotator: str = "",
    supersedes: int | None = None,
) -> int:
    """The new vote's id. `A` prefers `answer_a`, `B` `answer_b`, both ids of stored answers.

    shown_order: the ids of all answers on the page, left to right (default: a, b).
    supersedes: the vote that this one replaces. StoreError for anything that does not fit.
    """
    wrong = []
    if choice not in CHOICES:
        wrong.append(f"the choice {choice!r} is none of {', '.join(CHOICES)}")
    if answer_a == answer_b:
        wrong.append(f"answer {answer_a} stands against itself")
    annotator = person(annotator)
    with connected(where) as db, writing(db):
        for id in sorted({answer_a, answer_b}):
            if not db["answers"].count_where("id = ?", [id]):
                wrong.append(f"there is no answer {id}")
        if wrong:
            raise StoreError("The vote is not stored: " + "; ".join(wrong) + ".")
        order = list(shown_order) if shown_order is not None else [answer_a, answer_b]
        return _insert(db, supersedes, answer_a, answer_b, choice, order, blind, annotator)


def undo(where: str | Path | Database, id: int) -> int:
    """Takes vote `id` back by a new row that supersedes it; that row's id. StoreError if it does not stand (any more)."""
    with connected(where) as db, writing(db):
        vote = _standing(db, id)
        order = json.loads(vote["shown_order"])
        return _insert(db, id, vote["answer_a"], vote["answer_b"], UNDONE, order, vote["blind"], vote["annotator"])


def standing(where: str | Path | Database) -> list[dict[str, Any]]:
    """Every vote that stands, oldest first: `choice`, `blind`, `annotator`, `answer_a`, `answer_b` (ids), `question`, `lang`
    (None where nobody noted it), and of either side `key_a`, `variant_a`, `key_b`, `variant_b`."""
    with connected(where) as db:
        return list(
            db.query(
                """select votes.choice, votes.blind, votes.annotator, votes.answer_a, votes.answer_b, a.question,
                          coalesce(a.lang, b.lang) as lang,
                          a.variant_key as key_a, a.variant_name as variant_a, b.variant_key as key_b, b.variant_name as variant_b
                   from votes join answers a on a.id = votes.answer_a join answers b on b.id = votes.answer_b
                   where votes.superseded_by is null and votes.choice != ? order by votes.id""",
                [UNDONE],
            )
        )


def tally(where: str | Path | Database, by: Callable[[Mapping[str, Any]], Hashable] | None = None) -> list[dict[str, Any]]:
    """The votes that stand, per pair of variants, most votes first.

    Each: `variant_a`, `variant_b` (names), `key_a`, `key_b` (a variant's key: the same name may stand for different
    variants), `a`, `b` (votes for either), `tie`, `both bad`, `blind` (how many of them were), `votes` (all), `people`
    (annotator -> votes, "" for no name), and `chose_a`: question -> for each vote that chose one of the two, whether it was a.
    by: what else keeps votes apart, told by a vote's `blind`, `lang` (None where nobody noted it), `question` and `annotator`;
    a row then has it as `by`. The side on which a variant was shown does not matter here.
    """
    votes = standing(where)
    pairs: dict[tuple[Any, ...], dict[str, Any]] = {}
    for vote in votes:
        left, right = sorted(("a", "b"), key=lambda side: vote[f"key_{side}"])
        apart = by(vote) if by else None
        key = (vote[f"key_{left}"], vote[f"key_{right}"], apart)
        if key not in pairs:
            names = {"variant_a": vote[f"variant_{left}"], "variant_b": vote[f"variant_{right}"]}
            counts = dict.fromkeys(("a", "b", "tie", "both bad", "blind", "votes"), 0)
            pairs[key] = names | {"key_a": key[0], "key_b": key[1], "by": apart} | counts | {"people": Counter(), "chose_a": {}}
        pair = pairs[key]
        choice = {left.upper(): "a", right.upper(): "b"}.get(vote["choice"], vote["choice"])
        pair[choice] += 1
        pair["blind"] += bool(vote["blind"])
        pair["votes"] += 1
        pair["people"][vote["annotator"]] += 1
        if choice in ("a", "b"):
            pair["chose_a"].setdefault(vote["question"], []).append(choice == "a")
    return sorted(pairs.values(), key=lambda pair: -pair["votes"])


def _insert(
    db: Database, supersedes: int | None, answer_a: int, answer_b: int, choice: str, order: list[int], blind: bool, annotator: str
) -> int:
    if supersedes is not None:
        _standing(db, supersedes)
    row = {
        "created": now(),
        "annotator": annotator,
        "answer_a": answer_a,
        "answer_b": answer_b,
        "choice": choice,
        "shown_order": json.dumps(order),
        "blind": bool(blind),
    }
    new: int = db["votes"].insert(row).last_pk
    if supersedes is not None:
        db["votes"].update(supersedes, {"superseded_by": new})
    return new


def _standing(db: Database, id: int) -> dict[str, Any]:
    """Vote `id`, if nothing has replaced it and it is no undo itself."""
    vote: dict[str, Any] | None = next(iter(db["votes"].rows_where("id = ?", [id])), None)
    if vote is None:
        raise StoreError(f"There is no vote {id}.")
    if vote["superseded_by"] is not None or vote["choice"] == UNDONE:
        raise StoreError(f"Vote {id} does not stand any more, so it can neither be undone nor changed.")
    return vote
