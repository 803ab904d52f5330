"""Talking: one base model, many variants of it, answering in one batch.

`engine.load().answer(requests)`; the words of a request are in `engine.types`.
"""

from typing import Any

from engine.types import Answer, Decoding, EngineError, Message, Piece, Request, Timings, Variant

__all__ = [
    "Answer",
    "Assistant",
    "Decoding",
    "Engine",
    "EngineError",
    "Message",
    "Piece",
    "Request",
    "Timings",
    "Variant",
    "load",
]


def __getattr__(name: str) -> Any:
    # torch and transformers take seconds to import, and formats or types are often all that is wanted
    if name in ("Engine", "load"):
        from engine import engine

        return getattr(engine, name)
    if name == "Assistant":
        from engine.assistant import Assistant

        return Assistant
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
