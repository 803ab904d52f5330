"""What every tab needs to know of the rest of the program, said once; and how a failure becomes a sentence."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common import space
from common.errors import UserError
from common.paths import EVERYWHERE, Opened
from engine.limits import TooMuch
from probes.second_opinion import Judge
from ui.accounts import Accounts
from ui.words import Languages, say

if TYPE_CHECKING:  # torch takes seconds, and tests of a tab need none
    from engine import Engine

log = logging.getLogger("mirror")


@dataclass(frozen=True)
class App:
    """The engine, where things lie, and the language of a request.

    judge: who is asked for second opinions, if anybody. opened: where paths that come from the page may lead. accounts: who may
    log in; None where nobody has to. refused: adapter folder -> why it was not loaded. measured: what this machine can do, found
    out once. closed: set when the page is served no more.
    """

    engine: Engine
    db: Path
    identities: Path
    adapters: tuple[Path, ...]
    language: Languages
    accept_other_base: bool = False
    judge: Judge | None = None
    opened: Opened = EVERYWHERE
    accounts: Accounts | None = None
    refused: dict[str, str] = field(default_factory=dict)
    measured: dict[str, int] = field(default_factory=dict)
    closed: threading.Event = field(default_factory=threading.Event)

    @property
    def base_spec(self) -> str:
        """What every other process is told of the base: it finds the same one, whatever folder it works in."""
        return self.engine.base.spec

    @property
    def runs(self) -> Path:
        """Where a run's data goes: beside the database."""
        return self.db.parent

    @property
    def made_adapters(self) -> Path:
        """The shelf on which new adapters are put."""
        return self.adapters[-1]


def sentence(lang: str, error: BaseException) -> str:
    """What a person is told about an error; the trace of one that nobody foresaw goes to the terminal."""
    if isinstance(error, TooMuch):
        return say(lang, error.key, count=error.count, most=error.most)
    if isinstance(error, UserError):
        return str(error)
    if full := space.full_disk_sentence(error):
        return full
    log.error("unforeseen", exc_info=error)
    return say(lang, "unforeseen", kind=type(error).__name__, problem=str(error).strip().split("\n")[0][:200])
