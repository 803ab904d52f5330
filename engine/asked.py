"""From rows of the running batch to what their askers are told."""

from __future__ import annotations

from dataclasses import dataclass

from engine.card import ModelCard
from engine.decode import Row, text_so_far
from engine.prompts import Prompt
from engine.resolved import Resolved
from engine.types import Answer, Piece, Timings, Variant


@dataclass(frozen=True)
class Asked:
    """What a row's answer will carry, fixed before it begins. by: who answers. at: when it was asked, by time.perf_counter."""

    by: Resolved
    prompt: Prompt
    at: float


def piece(card: ModelCard, row: Row, asked: Asked) -> Piece:
    """The row's news as they are now."""
    if row.finish is None:
        raw = text_so_far(row)
        return Piece(row.index, raw, card.show_so_far(raw).lstrip())
    if row.finish == "failed":
        return Piece(row.index, row.text, card.show(row.text).strip(), None, no_numbers_sentence(asked.by.variant))
    answer = Answer(
        variant=asked.by.variant,
        raw=row.text,
        shown=card.show(row.text).strip(),
        prompt=asked.prompt.text,
        format=asked.by.format.name,
        finish=row.finish,
        prompt_tokens=len(row.ids),
        new_tokens=len(row.new_ids),
        mean_logprob=row.logprob / max(1, len(row.new_ids)),
        dropped_turns=asked.prompt.dropped_turns,
        timings=Timings(
            queued_s=(row.started_at or row.finished_at) - asked.at,
            prefill_s=row.prefill_s,
            decode_s=row.finished_at - row.prefilled_at if row.prefilled_at else 0.0,
            kept_tokens=row.kept_tokens,
        ),
        hashes=asked.by.hashes,
    )
    return Piece(row.index, row.text, answer.shown, answer)


def no_numbers_sentence(variant: Variant) -> str:
    heard = [name for name, strength in variant.adapters.items() if strength]
    without = f"ask it without {' and '.join(map(repr, heard))}, or " if heard else ""
    return f"Variant {variant.name!r} has no answer: the model computed NaN or infinity for it; {without}start with --dtype fp32."
