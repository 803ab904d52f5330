"""What every tab needs to know of the rest of the program, said once; and how a failure becomes a sentence."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path

from engine.types import EngineError
from identities import IdentityError
from store import StoreError
from ui.words import Languages, say

log = logging.getLogger("mirror")


@dataclass(frozen=True)
class House:
    """The engine, where things lie, and the language of a request.

    refused: adapter folder -> why it was not loaded. closed: set when the page is served no more.
    """

    engine: object
    db: Path
    identities: Path
    adapters: tuple[Path, ...]
    language: Languages
    accept_other_base: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    closed: threading.Event = field(default_factory=threading.Event)


def sentence(lang: str, error: BaseException) -> str:
    """What a person is told about an error; the trace of one that nobody foresaw goes to the terminal."""
    if isinstance(error, EngineError | IdentityError | StoreError):
        return str(error)
    log.error("unforeseen", exc_info=error)
    return say(lang, "unforeseen", kind=type(error).__name__, problem=str(error).strip().split("\n")[0][:200])
