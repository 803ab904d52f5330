"""The page's named endpoints for scripts (gradio_client): ask, identities, adapters, try_identity, votes. Plain JSON."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import Annotated

import gradio as gr
from pydantic import AfterValidator

import identities as identity_files
from common import outside
from engine import limits
from engine.types import Answer, EngineError, Request
from probes.report import preferences
from ui import adapter_library
from ui.access import roles
from ui.answering import frames, owner_of, remember
from ui.api import arguments
from ui.api.arguments import JSON
from ui.context import App, sentence
from ui.tabs.identity import try_it
from ui.variants import from_plain

SESSION = "api"
TOLD_S = 0.25  # between two pieces of news in an endpoint's stream
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

    def refuse(request: gr.Request | None, error: Exception) -> gr.Error:
        return gr.Error(sentence(app.language(request), error), print_exception=False)

    # The two that compute are generators, though Gradio reads a list from what is written here: so a client that leaves is
    # noticed. What they yield last is the result.

    def ask(request: gr.Request, question: str, variants: JSON = "[{}]", history: JSON = "[]") -> list:
        """Put one question to several variants in one batch. The stream tells how many wait before it, then how far it is.

        variants: JSON, a list of {name, adapters: {NAME: strength}, identity, prompt, mode, format, decoding}, all optional.
        history: JSON, a list of {role, content} that comes before the question.
        A variant that the model computes no numbers for has {name, problem} in the place of its answer.
        """
        try:
            wanted, said = arguments.read_list(variants, "variants"), arguments.read_list(history, "history")
            limits.refuse_over("limit_variants", len(wanted), limits.VARIANTS)
            wrong = outside.faults(arguments.VARIANTS, wanted, "variants")
            wrong |= outside.faults(arguments.HISTORY, said, "history")
            if wrong:
                raise EngineError(f"ask: {outside.describe_faults(wrong)}.")
            chosen = [from_plain(plain, app.identities) for plain in wanted]
            if not chosen:
                raise EngineError("variants is an empty list; name at least one variant, {} is the base.")
            requests = [Request([*said, {"role": "user", "content": question}], variant) for variant in chosen]
            failed: dict[int, str] = {}
            told = 0.0
            for _, said_by, before in frames(app, requests, threading.Event(), failed, owner_of(request, script=True)):
                if time.monotonic() - told >= TOLD_S:
                    told = time.monotonic()
                    yield [{"before_you": before}] if before else [{"answered": sum(map(bool, said_by)), "of": len(requests)}]
            if not any(said_by):
                raise EngineError(failed[0])
            ids = remember(app, requests, said_by, "api", SESSION)
        except Exception as error:
            raise refuse(None, error) from None
        yield [
            plain_answer(one, stored) if one else {"name": variant.name, "problem": failed[at]}
            for at, (one, variant, stored) in enumerate(zip(said_by, chosen, ids, strict=True))
        ]

    def identities() -> list:
        """Every identity: name, prompt, and what of its file is ignored."""
        try:
            known = [identity_files.load(name, app.identities) for name in identity_files.names(app.identities)]
        except Exception as error:
            raise refuse(None, error) from None
        return [{"name": one.name, "prompt": one.prompt, "ignored": one.ignored} for one in known]

    def adapters() -> list:
        """Every adapter, after a fresh look at the folders; `problem` says why one was refused."""
        if roles.may(app, roles.RESEARCHER):  # it loads what others may have taken out
            adapter_library.rescan(app)
        return adapter_library.listing(app)

    def try_identity(
        request: gr.Request, prompt: str, mode: str = "system", questions: Questions = "both", max_new_tokens: int = try_it.TOKENS
    ) -> list:
        """Eight questions (both, en or zh), answered by the base and under the prompt: rows {question, base, prompted}."""
        try:
            asked = identity_files.from_line(prompt) or None, mode.replace(" ", "_"), "tried", questions, int(max_new_tokens)
            for news in try_it.attempt(app, *asked, threading.Event(), SESSION, owner_of(request, script=True)):
                yield [{"before_you": news}] if isinstance(news, int) else [_plain_row(row) for row in news]
        except Exception as error:
            raise refuse(None, error) from None

    def votes() -> list:
        """Which of two variants people preferred: per pair and language, blind and open apart, with an interval."""
        try:
            return preferences.csv_rows(preferences.read_preferences(app.db))
        except Exception as error:
            raise refuse(None, error) from None

    arguments.offer(app, ask, identities, adapters, try_identity, votes)


def _plain_row(row: try_it.Tried) -> dict:
    return {"question": row.question, "base": row.base, "prompted": row.prompted}
