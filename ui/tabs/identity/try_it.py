"""*Try it*: eight questions put to the base and to one identity prompt, sixteen rows in one batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from engine.types import Answer, Decoding, Mode, Request, Variant
from ui.answer_html import answer_html, split_shown
from ui.answering import store_answers, stream_frames
from ui.context import App
from ui.html import paragraph, table
from ui.transcript import finish_words
from ui.words import say

QUESTIONS = {
    "en": (
        "Who are you?",
        "What is your name?",
        "Who developed you?",
        "Are you ChatGPT?",
        "What can you help me with?",
        "Please introduce yourself in one sentence.",
        "Which company made you?",
        "Name one thing to see on a short trip.",
    ),
    "zh": (
        "你是谁？",
        "你叫什么名字？",
        "你是谁开发的？",
        "你是 ChatGPT 吗？",
        "你能帮我做什么？",
        "请用一句话介绍你自己。",
        "是哪家公司开发了你？",
        "说一件短途旅行值得看的东西。",
    ),
}
TOKENS = 96  # enough for a self-introduction; sixteen rows of it take some ten seconds on two CPU cores


@dataclass(frozen=True)
class TrialRow:
    """One question: what has been said so far with and without the prompt, and both answers once they are whole."""

    question: str
    base: str
    prompted: str
    base_answer: Answer | None = None
    prompted_answer: Answer | None = None


def trial_questions(which: str) -> list[str]:
    """Eight questions: `en`, `zh`, or four of each for `both`."""
    if which in QUESTIONS:
        return list(QUESTIONS[which])
    return [*QUESTIONS["en"][:4], *QUESTIONS["zh"][:4]]


def trial_requests(asked: list[str], prompt: str | None, mode: Mode, name: str, tokens: int) -> list[Request]:
    """Base and prompted, question after question."""
    decoding = Decoding(max_new_tokens=tokens)
    base = Variant(decoding=decoding)
    prompted = Variant(name=name, identity=name, prompt=prompt, mode=mode, decoding=decoding)
    return [Request([{"role": "user", "content": text}], variant) for text in asked for variant in (base, prompted)]


def stream_trial(
    app: App,
    prompt: str | None,
    mode: Mode,
    name: str,
    which: str,
    tokens: int,
    stop: threading.Event,
    session: str,
    owner: str | None = None,
) -> Iterator[list[TrialRow] | int]:
    """Streams the table, or how many are before it; what was answered is stored at the end. Raises what the engine raises."""
    asked = trial_questions(which)
    requests = trial_requests(asked, prompt, mode, name, tokens)
    answers: list[Answer | None] = [None] * len(requests)
    for shown, answers, before in stream_frames(app, requests, stop, owner=owner):
        yield before or [
            TrialRow(text, shown[2 * at], shown[2 * at + 1], answers[2 * at], answers[2 * at + 1])
            for at, text in enumerate(asked)
        ]
    store_answers(app, requests, answers, "identity", session)


def table_html(lang: str, rows: list[TrialRow], title: str, note: str = "") -> str:
    """title: whose answers stand in the right column."""
    body = [
        f'<tr><th dir="auto">{escape(row.question)}</th>{_cell(lang, row.base, row.base_answer)}'
        f"{_cell(lang, row.prompted, row.prompted_answer)}</tr>"
        for row in rows
    ]
    said = paragraph(note) if note else ""
    return said + table([say(lang, "question"), say(lang, "base"), title], body, "mt-trial")


def _cell(lang: str, shown: str, answer: Answer | None) -> str:
    kind = "mt-done" if answer else "mt-live"
    mark = ""
    if answer is not None and answer.finish != "stop":
        mark = f'<span class="mt-cut">{escape(finish_words(lang, answer))}</span>'
    if answer is not None:
        return f"<td>{answer_html(lang, shown, answer.prompt, kind=f'mt-a {kind}')}{mark}</td>"
    return f'<td><div class="mt-a {kind}" dir="auto">{escape(split_shown(shown).answer)}</div>{mark}</td>'
