"""How much one request may hold: far more than people and probe sets need, and less than would hold everybody else up.

The sentences are said here in English; a page says them in its reader's language, under the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.types import EngineError, Request

VARIANTS = 256  # of one question
ROWS = 2_048  # answers of one call; a longer run asks in pieces
MESSAGES = 25_000  # of one conversation
CHARACTERS = 4_000_000  # of one conversation, its identity included: a running one of 1,500 probes has two million
ALL_MESSAGES = 2_000_000  # of all conversations of one call
ALL_CHARACTERS = 100_000_000
NEW_TOKENS = 131_072  # of one answer; the context's end comes sooner in most models

SENTENCES = {
    "limit_variants": "The question goes to {count:,} variants, at most {most:,} are taken at once; ask in pieces.",
    "limit_rows": "The request asks for {count:,} answers at once, at most {most:,} are taken; ask in pieces.",
    "limit_messages": "The conversation has {count:,} messages, at most {most:,} are taken; leave out the oldest.",
    "limit_characters": "The conversation has {count:,} characters, at most {most:,} are taken; shorten it.",
    "limit_all_messages": "All conversations together have {count:,} messages, at most {most:,} are taken; ask in pieces.",
    "limit_all_characters": "All conversations together have {count:,} characters, at most {most:,} are taken; ask in pieces.",
    "limit_new_tokens": "max_new_tokens is {count:,}, at most {most:,} are taken; give less.",
}


class TooMuch(EngineError):
    """key: of the sentence; count: what was asked for; most: what is taken."""

    def __init__(self, key: str, count: int, most: int) -> None:
        super().__init__(SENTENCES[key].format(count=count, most=most))
        self.key, self.count, self.most = key, count, most


def refuse_over(key: str, count: int, most: int) -> None:
    if count > most:
        raise TooMuch(key, count, most)


def check(requests: Sequence[Request]) -> None:
    """Of one call. Raises TooMuch."""
    refuse_over("limit_rows", len(requests), ROWS)
    conversations = [request.messages for request in requests]
    refuse_over("limit_all_messages", sum(map(len, conversations)), ALL_MESSAGES)
    for request in requests:
        check_conversation(request)
    refuse_over("limit_all_characters", sum(sum(map(characters, one)) for one in conversations), ALL_CHARACTERS)


def check_conversation(request: Request) -> None:
    """Of one request. Raises TooMuch."""
    refuse_over("limit_new_tokens", request.variant.decoding.max_new_tokens, NEW_TOKENS)
    refuse_over("limit_messages", len(request.messages), MESSAGES)
    refuse_over("limit_characters", sum(map(characters, request.messages)) + len(request.variant.prompt or ""), CHARACTERS)


def characters(message: Mapping[str, Any]) -> int:
    """Of a message; whatever is no text is refused elsewhere."""
    texts = (message.get(key) for key in ("content", "input")) if isinstance(message, Mapping) else ()
    return sum(len(text) for text in texts if isinstance(text, str))
