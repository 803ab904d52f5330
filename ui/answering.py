"""Asking the columns of a page in one batch and remembering what they said. No Gradio: the tabs turn this into updates."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict

from engine.types import Answer, EngineError, Request, Variant
from store import answers as stored_answers
from ui.context import App, sentence
from ui.conversation import ChatTurn, Page, messages
from ui.variants import variant_of

FRAME_S = 0.125  # eight pictures a second read as flowing; each costs the browser and the server computing time


def owner_of(request, script: bool = False) -> str:
    """Whose a request (gr.Request) is in the engine's eyes: a login's, else a page's. A script's is its machine's: each of its
    calls may come under another session."""
    if request.username:
        return request.username
    return f"scripts at {request.client.host if request.client else '?'}" if script else request.session_hash


def stream_frames(
    app: App,
    requests: list[Request],
    stop: threading.Event,
    failed: dict[int, str] | None = None,
    owner: str | None = None,
) -> Iterator[tuple[list[str], list[Answer | None], int]]:
    """Streams `requests`; now and then, and at the end, (shown text per row, answer per finished row, places before it).

    owner: see `Engine.stream`.
    failed: gets row -> sentence of rows that failed alone; without it the first of them is raised at the end.
    Raises what the engine raises. Closing this generator stops the computation.
    """
    lost: dict[int, str] = {} if failed is None else failed
    shown, answers = [""] * len(requests), [None] * len(requests)
    drawn, before = 0.0, 0
    stream = app.engine.stream(requests, stop, owner)
    try:
        for pieces in stream:
            finished, moved = False, before
            for piece in pieces:
                before = piece.before
                shown[piece.row] = piece.shown
                if piece.answer is not None:
                    answers[piece.row], finished = piece.answer, True
                if piece.problem:
                    lost[piece.row], finished = piece.problem, True
            if finished or before != moved or time.monotonic() - drawn >= FRAME_S:
                drawn = time.monotonic()
                yield list(shown), list(answers), before
    finally:
        stop.set()
        stream.close()
    if failed is None and lost:
        raise EngineError(next(iter(lost.values())))


def store_answers(app: App, asked: list[Request], answers: list[Answer | None], source: str, session: str) -> list[int | None]:
    """Stores the answers there are; their ids, in order. Opens its own connection: the thread may be another next time."""
    rows = [
        {field: getattr(answer, field) for field in PLAIN}
        | {
            "variant": answer.variant.as_dict(),
            "messages": list(request.messages),
            "timings": asdict(answer.timings),
            "source": source,
        }
        for request, answer in zip(asked, answers, strict=True)
        if answer is not None
    ]
    ids = iter(stored_answers.add(app.db, rows, session=session))
    return [None if answer is None else next(ids) for answer in answers]


PLAIN = ("raw", "shown", "prompt", "format", "finish", "prompt_tokens", "new_tokens", "mean_logprob", "dropped_turns", "hashes")


def ask(
    app: App, page: Page, question: str, lang: str, stop: threading.Event, session: str, owner: str | None = None
) -> Iterator[list[str] | int | str]:
    """Puts `question` to every visible column; yields the texts so far in the order of `page.places()`, or the places before it.

    When it ends, each column has one more turn, answered or with the sentence why not. A sentence of its own
    is yielded if the answers could not be stored.
    """
    columns = [column for _, column in page.places()]
    turns = [page.turns_of(column) for column in columns]
    answers: list[Answer | None] = [None] * len(columns)
    ids: list[int | None] = [None] * len(columns)
    problem = ""
    failed: dict[int, str] = {}
    try:
        variants = [variant_of(page.picks[column], app.identities, app.db) for column in columns]
        requests = [Request(messages(said, question), variant) for said, variant in zip(turns, variants, strict=True)]
        for shown, answers, before in stream_frames(app, requests, stop, failed, owner):  # noqa: B007 - the last answers are stored
            yield before or shown
    except Exception as error:
        problem = sentence(lang, error)
    if any(answers):
        try:
            ids = store_answers(app, requests, answers, "blind" if page.blind else "chat", session)
        except Exception as error:
            yield sentence(lang, error)
    for at, (said, answer, id) in enumerate(zip(turns, answers, ids, strict=True)):
        said.append(ChatTurn(question, answer, "" if answer else failed.get(at, problem), id))


def upcoming_variant(app: App, page: Page, column: int) -> Variant | Exception:
    """The variant that would answer next in a column, or why there is none."""
    try:
        return variant_of(page.picks[column], app.identities, app.db)
    except Exception as error:
        return error
