"""From a request to the exact prompt: identity, format, and what has to go to fit the context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from common.outside import whole_characters
from engine import formats, limits, literal
from engine.bases import Base
from engine.formats import Format
from engine.types import EngineError, Message, Request, Variant

LEAST_ANSWER = 16  # tokens; with less room than this a message counts as too long
LONGEST = 8  # characters a token, so many that longer text rarely fits; what does is found all the same
JITTER = 64  # tokens by which a shorter conversation may be the longer prompt: Alpaca's preamble for a first message with input
LOOKED_BACK = 32  # exchanges


@dataclass(frozen=True)
class Prompt:
    """Its format, the text as rendered from marked messages (`literal`), its token ids, the oldest exchanges left out, and the
    room left for the answer in tokens."""

    format: Format
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
    limits.check_conversation(request)
    if not messages[-1]["content"].strip():
        raise EngineError("The question is empty; type something to ask.")
    if messages[0].get("role") == "system" and request.variant.prompt is not None:
        raise EngineError(
            f"Variant {request.variant.name!r} brings an identity and the conversation a system message; keep one of the two."
        )


def fit(base: Base, chosen: Format, request: Request, first_reply: str | None = None) -> Prompt:
    """Render and tokenize; drop the oldest exchanges until prompt and answer fit the context.

    The identity and the last message always stay. Raises EngineError when they alone are too long. Costs a few prompts of the
    context's length, however long the conversation is.
    """
    check_messages(request)
    fixed = identity_messages(request.variant, first_reply)
    turns = list(request.messages)
    if turns[0]["role"] == "system":
        fixed, turns = turns[:1], turns[1:]
    wanted = request.variant.decoding.max_new_tokens
    needed = min(wanted, base.context // 2)  # a generous limit must not cost the conversation its memory
    starts = [at for at, turn in enumerate(turns) if turn["role"] == "user"]
    prompts: dict[int, tuple[str, list[int]]] = {}

    def over(dropped: int) -> int:
        """Tokens that are too many without so many of the oldest exchanges."""
        if dropped not in prompts:
            prompts[dropped] = render(base.tokenizer, chosen, [*fixed, *turns[starts[dropped] :]])
        return len(prompts[dropped][1]) + needed - base.context

    dropped = least_that_fits(over, first_guess(turns, starts, base.context), len(starts))
    dropped = min(dropped, len(starts) - 1)
    room = -over(dropped) + needed
    text, ids = prompts[dropped]
    if room < min(needed, LEAST_ANSWER):
        raise EngineError(
            f"The message to variant {request.variant.name!r} is too long: with its prompt it takes {len(ids)} tokens, "
            f"and the model's context of {base.context} must leave {LEAST_ANSWER} for an answer; shorten it."
        )
    return Prompt(chosen, text, ids, dropped, min(wanted, room))


def first_guess(turns: Sequence[Message], starts: Sequence[int], context: int) -> int:
    """The fewest exchanges to drop with which what is left may fit: its characters are no more than LONGEST a token."""
    left, end = context * LONGEST, len(turns)
    for number in range(len(starts) - 1, -1, -1):
        left -= sum(limits.characters(turn) + LONGEST for turn in turns[starts[number] : end])  # each has a mark of its own, too
        end = starts[number]
        if left < 0:
            return min(number + 1, len(starts) - 1)
    return 0


def least_that_fits(over: Callable[[int], int], guess: int, count: int) -> int:
    """The least number in range(count) for which over(number) <= 0, `count` if there is none.

    What is over becomes less with the number, but for JITTER: a template may begin a shorter conversation with more words.
    """
    fits, misfit = count, -1
    at = guess
    while at < fits and over(at) <= 0:  # twice as many are kept, until they are too many
        fits, at = at, max(0, at - (count - at))
    misfit = at if at < fits else misfit
    while fits - misfit > 1:
        middle = (fits + misfit) // 2
        fits, misfit = (middle, misfit) if over(middle) <= 0 else (fits, middle)
    for at in range(fits - 1, max(-1, fits - 1 - LOOKED_BACK), -1):
        if over(at) > JITTER:
            break
        fits = at if over(at) <= 0 else fits
    return fits


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
