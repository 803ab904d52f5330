"""The page's named endpoints for scripts (gradio_client): ask, identities, adapters, try_identity, votes. Plain JSON."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import Annotated

import gradio as gr
from pydantic import AfterValidator

import identities as identity_files
from common import outside
from engine.types import Answer, EngineError, Request
from probes import preferences
from ui import api_arguments, shelf, try_it
from ui.api_arguments import JSON
from ui.asking import remember
from ui.house import House, sentence
from ui.variants import from_plain

SESSION = "api"
Questions = Annotated[str, AfterValidator(api_arguments.one_of("both", "en", "zh"))]


def plain_answer(answer: Answer, stored: int | None) -> dict:
    """An answer as JSON, with the id under which it was stored."""
    return asdict(answer) | {
        "variant": answer.variant.as_dict(),
        "name": answer.variant.name,
        "timings": asdict(answer.timings),
        "tokens_per_s": answer.tokens_per_s,
        "id": stored,
    }


def build_api(house: House) -> None:
    """Inside a Blocks: the five endpoints. A mistake in a call comes back as one sentence."""

    def refuse(request: gr.Request | None, error: Exception) -> gr.Error:
        return gr.Error(sentence(house.language(request), error), print_exception=False)

    def ask(question: str, variants: JSON = "[{}]", history: JSON = "[]") -> list:
        """Put one question to several variants in one batch.

        variants: JSON, a list of {name, adapters: {NAME: strength}, identity, prompt, mode, format, decoding}, all optional.
        history: JSON, a list of {role, content} that comes before the question.
        """
        try:
            wanted, said = api_arguments.read_list(variants, "variants"), api_arguments.read_list(history, "history")
            wrong = outside.faults(api_arguments.VARIANTS, wanted, "variants")
            wrong |= outside.faults(api_arguments.HISTORY, said, "history")
            if wrong:
                raise EngineError(f"ask: {outside.said(wrong)}.")
            chosen = [from_plain(plain, house.identities) for plain in wanted]
            if not chosen:
                raise EngineError("variants is an empty list; name at least one variant, {} is the base.")
            requests = [Request([*said, {"role": "user", "content": question}], variant) for variant in chosen]
            answers = house.engine.answer(requests)
            ids = remember(house, requests, answers, "api", SESSION)
        except Exception as error:
            raise refuse(None, error) from None
        return [plain_answer(answer, stored) for answer, stored in zip(answers, ids, strict=True)]

    def identities() -> list:
        """Every identity: name, prompt, and what of its file is ignored."""
        try:
            known = [identity_files.load(name, house.identities) for name in identity_files.names(house.identities)]
        except Exception as error:
            raise refuse(None, error) from None
        return [{"name": one.name, "prompt": one.prompt, "ignored": one.ignored} for one in known]

    def adapters() -> list:
        """Every adapter, after a fresh look at the folders; `problem` says why one was refused."""
        shelf.rescan(house)
        return shelf.listing(house)

    def try_identity(
        prompt: str, mode: str = "system", questions: Questions = "both", max_new_tokens: int = try_it.TOKENS
    ) -> list:
        """Eight questions (both, en or zh), answered by the base and under the prompt: rows {question, base, prompted}."""
        try:
            rows = list(
                try_it.attempt(
                    house,
                    identity_files.from_line(prompt) or None,
                    mode.replace(" ", "_"),
                    "tried",
                    questions,
                    int(max_new_tokens),
                    threading.Event(),
                    SESSION,
                )
            )[-1]
        except Exception as error:
            raise refuse(None, error) from None
        return [{"question": row.question, "base": row.base, "prompted": row.prompted} for row in rows]

    def votes() -> list:
        """Which of two variants people preferred: per pair and language, blind and open apart, with an interval."""
        try:
            return preferences.plain(preferences.of_store(house.db))
        except Exception as error:
            raise refuse(None, error) from None

    api_arguments.offer(house, ask, identities, adapters, try_identity, votes)
