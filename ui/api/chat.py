"""The page's named endpoints for scripts (gradio_client): ask, identities, adapters, try_identity, votes. Plain JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, cast

import gradio as gr
from pydantic import AfterValidator

import identities as identity_files
from common import outside
from engine import limits
from engine.types import Answer, EngineError, Message, Request
from probes.report import preferences
from ui import adapter_library
from ui.access import roles
from ui.answering import owner_of, store_answers, stream_frames
from ui.api import arguments
from ui.api.arguments import JSON
from ui.context import App
from ui.listeners import bind
from ui.tabs.identity import try_it
from ui.variants import from_plain, read_mode

SESSION = "api"
NEWS_S = 0.25  # between two pieces of news in an endpoint's stream
Questions = Annotated[str, AfterValidator(arguments.one_of("both", "en", "zh"))]


def plain_answer(answer: Answer, stored: int | None) -> dict:
    """An answer as JSON, with the id under which it was stored."""
    return asdict(answer) | {
        "variant": answer.variant.as_dict(),
        "name": answer.variant.name,
        "timings": asdict(answer.timings),
        "tokens_per_s": answer.tokens_per_s,
        "id": stored,
    }


def build_api(app: App) -> None:
    """Inside a Blocks: the five endpoints. A mistake in a call comes back as one sentence."""
    arguments.add_endpoints(app, *(bind(endpoint, app) for endpoint in (ask, identities, adapters, try_identity, votes)))


# The two that compute are generators, so that a client that leaves is noticed. What they yield last is the result.


def ask(app: App, request: gr.Request, question: str, variants: JSON = "[{}]", history: JSON = "[]") -> Iterator[list]:
    """Put one question to several variants in one batch. The stream tells how many wait before it, then how far it is.

    variants: JSON, a list of {name, adapters: {NAME: strength}, identity, prompt, mode, format, decoding}, all optional.
    history: JSON, a list of {role, content} that comes before the question.
    A variant that the model computes no numbers for has {name, problem} in the place of its answer.
    """
    wanted, said = arguments.read_list(variants, "variants"), arguments.read_list(history, "history")
    limits.refuse_over("limit_variants", len(wanted), limits.VARIANTS)
    wrong = outside.faults(arguments.VARIANTS, wanted, "variants")
    wrong |= outside.faults(arguments.HISTORY, said, "history")
    if wrong:
        raise EngineError(f"ask: {outside.describe_faults(wrong)}.")
    chosen = [from_plain(plain, app.identities, app.db) for plain in wanted]
    if not chosen:
        raise EngineError("variants is an empty list; name at least one variant, {} is the base.")
    turns = cast(list[Message], said)
    requests = [Request([*turns, {"role": "user", "content": question}], variant) for variant in chosen]
    failed: dict[int, str] = {}
    answers: list[Answer | None] = []
    last = 0.0
    for _, answers, before in stream_frames(app, requests, threading.Event(), failed, owner_of(request, script=True)):
        if time.monotonic() - last >= NEWS_S:
            last = time.monotonic()
            yield [{"before_you": before}] if before else [{"answered": sum(map(bool, answers)), "of": len(requests)}]
    if not any(answers):
        raise EngineError(failed[0])
    ids = store_answers(app, requests, answers, "api", SESSION)
    yield [
        plain_answer(one, stored) if one else {"name": variant.name, "problem": failed[at]}
        for at, (one, variant, stored) in enumerate(zip(answers, chosen, ids, strict=True))
    ]


def identities(app: App) -> list:
    """Every identity: name, prompt, and what of its file is ignored."""
    known = [identity_files.load(name, app.identities) for name in identity_files.names(app.identities)]
    return [{"name": one.name, "prompt": one.prompt, "ignored": one.ignored} for one in known]


def adapters(app: App) -> list:
    """Every adapter, after a fresh look at the folders; `problem` says why one was refused."""
    if roles.is_allowed(app, roles.RESEARCHER):  # it loads what others may have taken out
        adapter_library.rescan(app)
    return adapter_library.list_adapters(app)


def try_identity(
    app: App,
    request: gr.Request,
    prompt: str,
    mode: str = "system",
    questions: Questions = "both",
    max_new_tokens: int = try_it.TOKENS,
) -> Iterator[list]:
    """Eight questions (both, en or zh), answered by the base and under the prompt: rows {question, base, prompted}."""
    asked = identity_files.from_line(prompt) or None, read_mode(mode), "tried", questions, int(max_new_tokens)
    for news in try_it.stream_trial(app, *asked, threading.Event(), SESSION, owner_of(request, script=True)):
        yield [{"before_you": news}] if isinstance(news, int) else [_plain_row(row) for row in news]


def votes(app: App) -> list:
    """Which of two variants people preferred: per pair and language, blind and open apart, with an interval."""
    return preferences.csv_rows(preferences.read_preferences(app.db))


def _plain_row(row: try_it.TrialRow) -> dict:
    return {"question": row.question, "base": row.base, "prompted": row.prompted}
