"""A stand-in for the engine where its answers do not matter, only what is done with them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace

from engine.types import Answer, EngineError, Piece, Timings, Variant


def answer(raw: str, shown: str | None = None, variant: Variant | None = None, **changes) -> Answer:
    facts = dict(
        variant=variant or Variant(),
        raw=raw,
        shown=raw if shown is None else shown,
        prompt="the prompt",
        format="chatml",
        finish="stop",
        prompt_tokens=3,
        new_tokens=2,
        mean_logprob=-0.5,
        dropped_turns=0,
        timings=Timings(0.0, 0.1, 0.2),
        hashes={"base": "b", "format": "f", "identity": None, "adapters": {}},
    )
    return Answer(**facts | changes)


class StandIn:
    """Streams each row's words: the variant's name and the question. `fail_at`: the step at which it fails."""

    def __init__(self, fail_at: int | None = None, error: Exception | None = None):
        self.base = SimpleNamespace(name="stand-in", spec="stand-in", format=SimpleNamespace(name="chatml"))
        self.adapters: dict[str, SimpleNamespace] = {}
        self.fail_at, self.error = fail_at, error or EngineError("Out of memory; ask fewer columns.")
        self.asked: list[list] = []
        self.closed = 0

    def stream(self, requests: list, stop: threading.Event | None = None, owner: object = None) -> Iterator[list[Piece]]:
        self.asked.append(requests)
        words = [f"{request.variant.name} answers {request.messages[-1]['content']}".split() for request in requests]
        try:
            for step in range(max(map(len, words))):
                if step == self.fail_at:
                    raise self.error
                stopped = stop is not None and stop.is_set()
                news = []
                for row, said in enumerate(words):
                    if step < len(said):
                        text = " ".join(said[: step + 1])
                        whole = stopped or step + 1 == len(said)
                        finish = "stopped" if stopped else "stop"
                        done = answer(text, variant=requests[row].variant, finish=finish) if whole else None
                        news.append(Piece(row, text, text, done))
                yield news
                if stopped:
                    return
        finally:
            self.closed += 1

    def format_of(self, variant: Variant) -> SimpleNamespace:
        return SimpleNamespace(name=variant.format or "chatml")

    def add_adapter(self, path, name: str, accept_other_base: bool = False) -> str:
        if "bad" in str(path):
            raise EngineError(f"Adapter {name!r} is all zero; train it again.")
        facts = dict(name=name, path=str(path), hash="h", rank=4, targets=("q_proj",), parameters=9, format=None, card={})
        self.adapters[name] = SimpleNamespace(**facts)
        return name
