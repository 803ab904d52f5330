"""What the desk of the Label tab is told and what it does: items as they may be shown, decisions as they come in.

Plain data in and out, for the page's own script (label.js) and for tests; nothing here knows Gradio.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from sqlite_utils import Database

import identities
import store
from common.errors import UserError
from identities import IdentityError
from probes import identity_pair
from probes.identity_pair import FactPair, Side, Word
from probes.suggest.masking import mask_names
from store import StoreError, drawn, labels, pairs, queues
from store.names import person
from ui.answer_html import split_shown
from ui.context import App

log = logging.getLogger("mirror")

AHEAD = 40  # items a page holds: what a fast person labels while a slow answer is on its way
MOST = 200  # decisions taken at once; a page that was offline for long sends several times
RECENT = 10
LONGEST_S = 24 * 3600  # that somebody looked at an answer
LONGEST_TOKEN = 200  # characters; the page's own has 36
LONGEST_COMMENT = 10_000  # characters
STORED, REFUSED, ELSEWHERE = "stored", "refused", "elsewhere"


def open_desk(app: App, queue: int, annotator: str) -> dict:
    """All that a desk needs to begin: the queue, the first items, the last decisions, how far it is. StoreError.

    Settling shows what others said, so opening such a queue locks this person's own blind labels of its answers.
    """
    annotator = person(annotator)
    with store.open(app.db) as db:
        settings = queues.get(db, queue)
        if settings["kind"] == "settle":
            labels.reveal(db, annotator, queue=queue)
        reveal = is_revealed(db, settings, annotator)
        about = {key: settings[key] for key in ("id", "name", "kind", "blind", "mask", "overlap")}
        return {
            "queue": about | {"stamp": settings["created"], "revealed": settings["blind"] and reveal},
            "items": next_cards(app, db, settings, annotator, reveal),
            "recent": last_decisions(app, db, settings, annotator, reveal),
            "progress": progress_of(db, queue, annotator),
        }


def more_items(app: App, queue: int, annotator: str, without: Sequence[int], skipped: bool = False) -> dict:
    """Further items for a desk that holds some. StoreError."""
    annotator = person(annotator)
    with store.open(app.db) as db:
        settings = queues.get(db, queue)
        reveal = is_revealed(db, settings, annotator)
        there = drawn.stored_items(db, queue, without, blind=not reveal)
        items = next_cards(app, db, settings, annotator, reveal, list(there.values()), skipped)
        return {"items": items, "progress": progress_of(db, queue, annotator)}


def queue_state(
    app: App, queue: int, annotator: str, held: Sequence[int], decided: Sequence[int] = (), *, everybody: bool = True
) -> dict:
    """How far the queue is, with `everybody` each person too; which of the items that a desk holds need nobody any more
    (`gone`), and which of those just decided had been decided by enough others (`crowded`). StoreError."""
    with store.open(app.db) as db:
        progress = progress_of(db, queue, annotator) if everybody else queues.progress(db, queue, annotator)
        blind = not is_revealed(db, queues.get(db, queue), annotator)
        found = {}
        for what, asked, which in (("gone", held, queues.finished_items), ("crowded", decided, queues.crowded_items)):
            there = drawn.stored_items(db, queue, asked, blind=blind)
            true = set(which(db, list(there.values())))
            found[what] = [given for given, item in there.items() if item in true]
        return {"progress": progress} | found


def carry_out(app: App, annotator: str, decisions: Iterable[Mapping]) -> list[dict]:
    """Carries decisions out in their order; what became of each, by its token. One sent again does nothing new.

    A decision: `token`, `queue`, `stamp` (when the queue was made: another database has other queues under the same numbers),
    `do` (label, skip, vote, undo), `item`, and as that needs `answer`, `label`, `tags`, `flag`, `comment`, `seconds`, `choice`,
    `order`. Whatever cannot be read or written just now is a sqlite3.OperationalError: to be sent again.
    """
    with store.open(app.db) as db:
        return [_decided(db, annotator, decision) for decision in list(decisions)[:MOST]]


def is_revealed(db: Database, settings: Mapping, annotator: str) -> bool:
    """Whether nothing is hidden from this person: an open queue, or a blind one that was revealed to them."""
    if not settings["blind"]:
        return True
    return settings["kind"] != "settle" and labels.has_revealed(db, annotator, settings["id"])


def progress_of(db: Database, queue: int, annotator: str) -> dict:
    return queues.progress(db, queue, annotator) | {"people": queues.count_per_person(db, queue)}


def next_cards(
    app: App,
    db: Database,
    settings: Mapping,
    annotator: str,
    reveal: bool,
    without: Sequence[int] = (),
    skipped: bool = False,
) -> list[dict]:
    found = queues.upcoming_items(db, settings["id"], annotator, AHEAD, skipped=skipped, without=without, reveal=reveal)
    return build_cards(app, db, settings, found, annotator, reveal)


def last_decisions(app: App, db: Database, settings: Mapping, annotator: str, reveal: bool) -> list[dict]:
    """The last ten, newest first: each a card with `said`."""
    if settings["kind"] == "pairs":
        found = pairs.recent(db, settings["id"], annotator, RECENT)
        shown = build_cards(app, db, settings, found, annotator, reveal)
        return [card | {"said": {"choice": item["choice"]}} for card, item in zip(shown, found, strict=True)]
    rows = labels.recent(db, annotator, RECENT, settings["id"])
    items = queues.decided_items(db, settings["id"], annotator, [row["answer"] for row in rows], reveal=reveal)
    rows = [row for row in rows if row["answer"] in items]
    shown = build_cards(app, db, settings, [items[row["answer"]] for row in rows], annotator, reveal)
    kept = ("label", "tags", "flag", "comment")
    return [card | {"said": {key: row[key] for key in kept}} for card, row in zip(shown, rows, strict=True)]


def build_cards(app: App, db: Database, settings: Mapping, items: Sequence[Mapping], annotator: str, reveal: bool) -> list[dict]:
    """Items as the page may have them: named keys only, so that nothing that gives a variant away slips through."""
    said = {}
    if settings["kind"] == "settle" or (reveal and settings["kind"] == "labels"):
        said = labels.standing(db, answers=[item["answer"] for item in items])
    hide = _masking(app) if settings["mask"] and not reveal else None
    prompts = _ends_of_prompts(db, [side["answer"] for item in items for side in item.get("sides") or [item]])
    made = []
    for item in items:
        sides = [side | {"prompt": prompts.get(side["answer"])} for side in item.get("sides") or [item]]
        made.append(_card(settings, item, sides, said.get(item.get("answer", 0), ()), annotator, reveal, hide))
    return made


def _card(
    settings: Mapping, item: Mapping, sides: Sequence[Mapping], said: Sequence[Mapping], annotator: str, reveal: bool,
    hide: FactPair | None,
) -> dict:  # fmt: skip
    control = item.get("group") in labels.CONTROL_GROUPS
    known = {side["answer"]: side["answer"] if reveal else item["drawn"]["answers"][side["answer"]] for side in sides}
    card = {
        "item": item["item"] if reveal else item["drawn"]["item"],
        "lang": item.get("lang") or "",
        "question": item["question"],
        "control": control,
        "sides": [{"answer": known[side["answer"]], "before": _before(side, hide)} | _said(side, reveal, hide) for side in sides],
        "old": item.get("old") or "",
        "new": item.get("new") or "",
    }
    if settings["kind"] == "settle":
        # Who settles blind reads what was said, not by whom.
        card["others"] = [
            {"annotator": row["annotator"] if reveal else "", "label": row["label"]} for row in said if row["kind"] == "label"
        ]
    if reveal:
        names = item.get("variant_of") or {}
        card["variants"] = [names.get(str(side["answer"])) or item.get("variant") or "" for side in sides]
        card["category"] = item.get("category") or ""
        if item.get("suggestion"):
            card["suggestion"] = {
                "label": item["suggestion"],
                "sure": bool(item.get("sure", True)),
                "tags": item.get("tags") or {},
            }
        if settings["kind"] == "labels":
            others = [row for row in said if row["annotator"] != annotator]
            card["others"] = [{"annotator": row["annotator"], "label": row["label"], "kind": row["kind"]} for row in others]
    return card


def _ends_of_prompts(db: Database, answers: Sequence[int]) -> dict[int, str | None]:
    """By answer; a prompt may have begun the thought that the answer goes on with."""
    sql = "select id, substr(prompt, -200) from answers where id in (select value from json_each(?))"
    return dict(db.execute(sql, [json.dumps(list(answers))]).fetchall())


def _said(side: Mapping, reveal: bool, hide: FactPair | None) -> dict:
    """The words to label. Thoughts are told only where nothing is hidden: they can quote who the model was told to be."""
    said = split_shown(side["shown"], side["prompt"])
    told = {"shown": _veiled(said.answer, hide), "unfinished": not said.finished}
    return told | ({"thoughts": "\n".join(one.strip() for one in said.thoughts)} if said.thoughts and reveal else {})


def _before(side: Mapping, hide: FactPair | None) -> list[dict]:
    """What was said before the question, without system messages: they name who the model was told to be."""
    turns = [turn for turn in side.get("messages", ())[:-1] if turn.get("role") in ("user", "assistant")]
    texts = [turn["content"] if turn["role"] == "user" else _veiled(split_shown(turn["content"]).answer, hide) for turn in turns]
    return [{"role": turn["role"], "text": text} for turn, text in zip(turns, texts, strict=True)]


def _veiled(text: str, hide: FactPair | None) -> str:
    return mask_names(text, hide) if hide else text


def _decided(db: Database, annotator: str, decision: Mapping) -> dict:
    token = decision.get("token") if isinstance(decision.get("token"), str) else None
    try:
        if not token:
            raise StoreError("A decision came without a token and is not stored; load the page again.")
        if len(token) > LONGEST_TOKEN:
            raise StoreError(f"A decision came with a token of {len(token):,} characters and is not stored; load the page again.")
        settings = _its_queue(db, decision)
        if settings is None:
            return {"token": token, "status": ELSEWHERE}
        _do(db, settings, annotator, decision, token)
        return {"token": token, "status": STORED}
    except UserError as error:
        return {"token": token, "status": REFUSED, "message": str(error)}
    except sqlite3.OperationalError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, sqlite3.Error) as error:
        log.warning("a decision that could not be read", exc_info=error)
        why = f"{type(error).__name__}: {str(error)[:200]}"
        return {"token": token, "status": REFUSED, "message": f"A decision could not be read ({why}) and is not stored."}


def _its_queue(db: Database, decision: Mapping) -> dict | None:
    """None if the decision is about a queue of another database."""
    try:
        settings = queues.get(db, whole_number(decision["queue"]))
    except StoreError:
        return None
    return settings if settings["created"] == decision.get("stamp") else None


def _do(db: Database, settings: Mapping, annotator: str, decision: Mapping, token: str) -> None:
    queue, do = settings["id"], decision["do"]
    blind, given = not is_revealed(db, settings, annotator), whole_number(decision["item"])
    item = drawn.stored_items(db, queue, [given], blind=blind).get(given)
    if item is None:
        raise StoreError("The decision is not stored: it is about no item of its queue; load the page again.")
    if settings["kind"] == "pairs":
        if do == "vote":
            order = drawn.stored_answers(db, item, [whole_number(answer) for answer in decision["order"]], blind=blind)
            pairs.vote(db, item, annotator, decision["choice"], order, token=token)
        elif do == "skip":
            pairs.skip(db, item, annotator, token=token)
        elif do == "undo":
            pairs.undo(db, queue, annotator, item=item, token=token)
        else:
            raise ValueError(f"{do!r} is not done to pairs")
        return
    [answer] = drawn.stored_answers(db, item, [whole_number(decision["answer"])], blind=blind)
    if do == "undo":
        labels.undo(db, annotator, queue=queue, answer=answer, token=token)
        return
    if do not in ("label", "skip"):
        raise ValueError(f"{do!r} is not done to answers")
    labels.add(
        db,
        answer,
        annotator,
        decision["label"] if do == "label" else None,
        kind="skip" if do == "skip" else "adjudication" if settings["kind"] == "settle" else "label",
        tags={str(aspect): str(tag) for aspect, tag in (decision.get("tags") or {}).items() if tag},
        flag=bool(decision.get("flag")),
        comment=comment_of(decision.get("comment")),
        blind=settings["blind"],
        token=token,
        queue=queue,
        seconds=seconds_of(decision.get("seconds")),
    )


def whole_number(value: object) -> int:
    """A number as JSON has it, or as digits. ValueError for what no database can hold."""
    number = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if number is None or not 0 <= number < 2**63:
        raise ValueError(f"{str(value)[:40]!r} is no number of anything")
    return number


def comment_of(value: object) -> str:
    comment = str(value or "")
    if len(comment) > LONGEST_COMMENT:
        raise StoreError(f"The label is not stored: its comment has {len(comment):,} characters, at most {LONGEST_COMMENT:,}.")
    return comment


def seconds_of(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_S:
        raise ValueError(f"{str(value)[:40]} are no seconds that somebody looked at an answer")
    return float(value)


def _masking(app: App) -> FactPair:
    """Everybody the app knows, as one pair: whoever masks does not know yet who is in the text."""
    files = sorted(Path(app.identities).glob("*.yaml"))
    return _everybody(str(app.identities), tuple((file.stem, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=4)
def _everybody(folder: str, files: tuple[tuple[str, int], ...]) -> FactPair:
    words: dict[Word, None] = {}  # each once, in their order
    placeholders: dict[tuple[str, str], None] = {}
    for name, _ in files:
        try:
            known = identities.load(name, Path(folder)).facts
        except IdentityError:
            continue  # a broken file hides nothing and must not stop the labelling; the Identity tab says what is wrong with it
        side = identity_pair.from_identities(known, None, needed=False).old
        words |= dict.fromkeys(side.words)
        placeholders |= dict.fromkeys(side.placeholders)
    return FactPair(Side(tuple(words), tuple(placeholders)))
