"""From a request to the exact prompt: identity, format, and what has to go to fit the context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from engine import formats, literal
from engine.bases import Base
from engine.formats import Format
from engine.types import EngineError, Message, Request, Variant, whole_characters

LEAST_ANSWER = 16  # tokens; with less room than this a message counts as too long


@dataclass(frozen=True)
class Prompt:
    """The text as rendered from marked messages (`literal`), its token ids, the oldest exchanges left out, and the room left for
    the answer in tokens."""

    marked: str
    ids: list[int]
    dropped_turns: int
    max_new_tokens: int

    @property
    def text(self) -> str:
        """As people read it."""
        return literal.unmark(self.marked)


def identity_messages(variant: Variant, first_reply: str | None) -> list[Message]:
    """The messages that come before every conversation of this variant."""
    if variant.prompt is None:
        return []
    if variant.mode == "system":
        return [{"role": "system", "content": variant.prompt}]
    said: list[Message] = [{"role": "user", "content": variant.prompt}]
    return said if first_reply is None else [*said, {"role": "assistant", "content": first_reply}]


def check_messages(request: Request) -> None:
    messages = request.messages
    if not messages or not isinstance(messages[-1], dict) or messages[-1].get("role") != "user":
        raise EngineError("A request needs messages, the last one from the user; ask something.")
    formats.check(messages, add_generation_prompt=True)
    if not messages[-1]["content"].strip():
        raise EngineError("The question is empty; type something to ask.")
    if messages[0].get("role") == "system" and request.variant.prompt is not None:
        raise EngineError(
            f"Variant {request.variant.name!r} brings an identity and the conversation a system message; keep one of the two."
        )


def fit(base: Base, chosen: Format, request: Request, first_reply: str | None = None) -> Prompt:
    """Render and tokenize; drop the oldest exchanges until prompt and answer fit the context.

    The identity and the last message always stay. Raises EngineError when they alone are too long.
    """
    check_messages(request)
    fixed = identity_messages(request.variant, first_reply)
    turns = list(request.messages)
    if turns[0]["role"] == "system":
        fixed, turns = turns[:1], turns[1:]
    wanted = request.variant.decoding.max_new_tokens
    needed = min(wanted, base.context // 2)  # a generous limit must not cost the conversation its memory
    dropped = 0
    while True:
        text, ids = render(base.tokenizer, chosen, [*fixed, *turns])
        room = base.context - len(ids)
        if room >= needed:
            return Prompt(text, ids, dropped, min(wanted, room))
        later = next((at for at, turn in enumerate(turns) if at > 0 and turn["role"] == "user"), None)
        if later is None:
            break
        turns, dropped = turns[later:], dropped + 1
    if room < LEAST_ANSWER:
        raise EngineError(
            f"The message to variant {request.variant.name!r} is too long: with its prompt it takes {len(ids)} tokens, "
            f"and the model's context of {base.context} must leave {LEAST_ANSWER} for an answer; shorten it."
        )
    return Prompt(text, ids, dropped, room)


def render(tokenizer: PreTrainedTokenizerBase, chosen: Format, messages: Sequence[Message]) -> tuple[str, list[int]]:
    """(the prompt as rendered from marked messages, its token ids); what people typed is text in both."""
    messages = literal.mark(tokenizer, chosen, messages)
    text = chosen.render(list(messages), bos_token=tokenizer.bos_token or "", eos_token=tokenizer.eos_token or "")
    text = whole_characters(text)  # half a surrogate pair, as a browser may send it, has no tokens
    ids = literal.ids(tokenizer, chosen, text)
    if chosen.add_special_tokens and ids and ids[-1] == tokenizer.eos_token_id and not text.endswith(tokenizer.eos_token):
        ids = ids[:-1]  # some tokenizers end every text; a prompt is not at its end
    return text, ids


def end_ids(base: Base, chosen: Format) -> frozenset[int]:
    """Token ids that end an answer: the tokenizer's, the generation config's, stop strings that are one special token, and the
    special token with which the template itself closes an answer."""
    configured = base.model.generation_config.eos_token_id
    found = {base.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    special = {token.content: at for at, token in base.tokenizer.added_tokens_decoder.items()}
    found |= {special.get(stop) for stop in chosen.stop}
    closing = chosen.traits.closing.lstrip()
    found |= {at for text, at in special.items() if text and closing.startswith(text)}
    return frozenset(found - {None})


def end_id(base: Base, chosen: Format) -> int | None:
    """The one of them that is put behind an answer which the format does not close; None if there is none."""
    return base.tokenizer.eos_token_id if base.tokenizer.eos_token_id is not None else min(end_ids(base, chosen), default=None)


def special_texts(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """The texts of the tokenizer's special tokens."""
    listed = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    return frozenset({*listed, *tokenizer.all_special_tokens} - {""})
