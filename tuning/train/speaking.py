"""The adapter in training answers questions: from the model that is in memory, greedily, all questions in one batch.

Decoded by the engine's own batch, so that an answer ends where the chat would end it. Nothing of the training is touched: whoever
calls it has the model in evaluation mode, without gradients (`trainer.call_quietly`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple, cast

from transformers import PreTrainedModel

from engine.bank import Bank
from engine.bases import Base
from engine.decode import Batch, Part, Row, finish, has_plain_attention, settle
from engine.prefixes import share_prefixes
from engine.prompts import end_ids, render
from engine.types import Decoding
from tuning.train import attention


@dataclass(frozen=True)
class Question:
    """One question, asked in a conversation of its own. group, category: as the probe sets have them."""

    id: str
    group: str
    category: str
    lang: str
    question: str


class Asked(NamedTuple):
    """What an adapter in training is asked, the weightiest first, and what rules suggest of an answer ("" for nothing)."""

    questions: tuple[Question, ...]
    judge: Callable[[Question, str], str]


@dataclass(frozen=True)
class Said:
    """finish: stop, length (cut at the limit or by the clock) or failed (the model computed no numbers)."""

    question: Question
    raw: str
    shown: str
    finish: str
    new_tokens: int


class AlwaysHeard:
    """In the bank's place: the adapter in training stands in the layers themselves, and every row hears it."""

    def __init__(self) -> None:
        self.heard: Sequence[Mapping[str, float]] | None = None
        self.layout, self.groups = 0, [SimpleNamespace(plain=False)]  # its steps are not recorded as a CUDA graph

    def hear(self, rows: Sequence[Mapping[str, float]]) -> None:
        self.heard = rows


def reads_ready_masks(model: PreTrainedModel) -> bool:
    """Whether one boolean 4-D mask says all there is to say; the training's own attention passes it on to SDPA."""
    config = model.config.get_text_config()
    return config._attn_implementation in ("sdpa", attention.NAME) and has_plain_attention(config)


def answer(
    model: PreTrainedModel, base: Base, questions: Sequence[Question], most: int, go_on: Callable[[int], bool]
) -> list[Said]:
    """What the model says to each of them, in their order.

    most: tokens of an answer. go_on: asked after every token with how many there are; where it says no, the answers end there.
    """
    ends, decoding = end_ids(base, base.format), Decoding(max_new_tokens=most)
    rows = []
    for at, one in enumerate(questions):
        _, ids = render(base.tokenizer, base.format, [{"role": "user", "content": one.question}])
        room = min(most, base.context - len(ids))
        rows.append(Row(at, ids, {}, decoding, max(1, room), ends, base.format.stop, goes_on=False))
    batch = Batch(model, cast(Bank, AlwaysHeard()))
    if reads_ready_masks(model):
        batch.ready_mask = True
        share_prefixes(rows)
    part: Part = batch.prefill(rows)
    for row in rows:
        settle(row, base.tokenizer)
    if any(row.finish is None for row in rows):
        batch.join([part.going_on()])
    spoken = 1
    while batch.rows:
        if not go_on(spoken):
            for row in batch.rows:
                finish(row, "length", row.text)
            break
        batch.step()
        spoken += 1
        for row in batch.rows:
            settle(row, base.tokenizer)
        batch.leave()
    return [
        Said(one, row.text, base.card.show(row.text).strip(), str(row.finish), len(row.new_ids))
        for one, row in zip(questions, rows, strict=True)
    ]
