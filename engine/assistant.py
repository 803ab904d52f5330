"""Answers for a program in three lines, called as data-efficient-training's `inference.Assistant` is.

assistant = Assistant("bayling-mini")
responses, scores = assistant.inference([{"messages": [{"role": "user", "content": "Who are you?"}]}])
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from engine.adapters import CONFIG, read_adapter, recorded_base
from engine.decode import Batch, Row
from engine.engine import load, run_to_end
from engine.prefixes import Prefix
from engine.types import Decoding, EngineError, Message, Request, Variant


class Assistant:
    """One base, or an adapter on the base it was trained on, that answers lists of conversations.

    model_name_or_path: what `engine.load` takes, or the folder of an adapter. settings: those of `engine.load`.
    decoding: greedy, at most 1,024 tokens, as there; `assistant.decoding = Decoding(...)` sets another.
    """

    def __init__(self, model_name_or_path: str, *, say: Callable[[str], None] = print, **settings: Any) -> None:
        folder = Path(model_name_or_path).expanduser()
        adapter = folder if (folder / CONFIG).is_file() else None
        base = recorded_base([read_adapter(adapter)[0]]) if adapter else model_name_or_path
        self.say = say
        self.engine = load(base, say=say, **settings)
        heard = {self.engine.add_adapter(adapter): 1.0} if adapter else {}
        self.variant = Variant("assistant", adapters=heard, mode="first_turn", decoding=Decoding(max_new_tokens=1024))

    @property
    def decoding(self) -> Decoding:
        return self.variant.decoding

    @decoding.setter
    def decoding(self, decoding: Decoding) -> None:
        self.variant = replace(self.variant, decoding=decoding)

    def set_model_identity(self, model_identity: str | None) -> None:
        """A text that stands before every conversation as its first turn, with the model's own reply; nothing takes it away."""
        self.variant = replace(self.variant, prompt=model_identity or None)

    def inference(self, batch: Sequence[Mapping[str, Any]]) -> tuple[list[str], torch.Tensor]:
        """(responses, scores) of conversations `{"messages": [{"role": ..., "content": ...}, ...]}`, in their order.

        responses: one text per conversation. scores: (conversations, vocabulary), fp32: the logits from which each answer's own
        last token was chosen (there, those of the batch's last step, which for shorter answers is padding).
        Where a conversation does not fit the context, the oldest exchanges are left out, and that is said.
        Raises EngineError for what is no conversation or cannot be answered.
        """
        requests = [Request(messages_of(context, number), self.variant) for number, context in enumerate(batch, 1)]
        if not requests:
            raise EngineError("The batch is empty; give a list of at least one conversation.")
        rows = self.answered(requests)
        for number, row in enumerate(rows, 1):
            if row.finish == "failed":
                raise EngineError(f"Conversation {number} has no answer: the model computed NaN or infinity; load it in fp32.")
        return [self.engine.base.card.show(row.text).strip() for row in rows], self.scores(rows)

    def answered(self, requests: Sequence[Request]) -> list[Row]:
        """The rows with their answers."""
        engine, stop, now = self.engine, threading.Event(), time.perf_counter()
        failed, found = run_to_end(engine.prepared(requests, stop, self, now))
        asked = [one for one in found if one is not None]
        if failed or len(asked) < len(requests):
            raise EngineError(next(iter(failed.values()), "The model computed no reply to the identity."))
        for number, one in enumerate(asked, 1):
            if one.prompt.dropped_turns:
                turns = one.prompt.dropped_turns
                self.say(f"Conversation {number}: the {turns} oldest exchanges were left out to fit the context.")
        rows = [
            engine.row(at, one.prompt.ids, one.by, one.by.variant.decoding, one.prompt.max_new_tokens)
            for at, one in enumerate(asked)
        ]
        heard = {name: info for one in asked for name, info in one.by.heard.items()}
        for _ in engine.run(rows, heard, stop, self, lambda _news: []):
            pass
        return rows

    @torch.inference_mode()
    def scores(self, rows: Sequence[Row]) -> torch.Tensor:
        """What the model computes after all of an answer but its last token, (rows, vocabulary)."""
        engine = self.engine
        parts: list[torch.Tensor] = []
        for start in range(0, len(rows), engine.max_rows):
            some = rows[start : start + engine.max_rows]
            with engine.lock:
                engine.ready()
                batch = Batch(engine.base.model, engine.bank)
                logits, _, _ = batch.forward([Prefix(row.ids + row.new_ids[:-1], row.adapters) for row in some])
                engine.bank.silence()
            parts.append(logits.float().cpu())
        return torch.cat(parts)


def messages_of(context: Mapping[str, Any], number: int) -> list[Message]:
    """The messages of one conversation. Raises EngineError."""
    messages = context.get("messages") if isinstance(context, Mapping) else None
    if not isinstance(messages, list):
        raise EngineError(f'Conversation {number} is no {{"messages": [{{"role": "user", "content": ...}}]}}.')
    return messages
