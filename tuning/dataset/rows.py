"""What training reads: a row is one conversation with its answers, and nothing else travels between the modules.

Plain data, no torch: importing this module is cheap.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from common.errors import UserError
from identities import Lang

if TYPE_CHECKING:
    from engine.types import Message

Kind = Literal["identity", "general"]
Role = Literal["system", "user", "assistant"]

_NO_WORD = re.compile(r"[\W_]+")
_CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")


class DataError(UserError):
    """Something about the data that a person can put right; its text says what, where and what to do."""


class Turn(NamedTuple):
    """One message. `input` is alpaca's second field, on user turns only. learn: an answer with False is only read."""

    role: Role
    content: str
    input: str = ""
    learn: bool = True


@dataclass(frozen=True)
class TrainingRow:
    """One training conversation; its last turn is an answer.

    source:   where it came from, "FILE row 12" or "identity:NAME".
    category: the kind of question of a generated identity row ("name", "maker", ...), else "".
    """

    turns: tuple[Turn, ...]
    source: str = ""
    kind: Kind = "general"
    lang: Lang = "en"
    category: str = ""

    @property
    def question(self) -> str:
        """The last thing the user says, its input on a line of its own."""
        last = next((turn for turn in reversed(self.turns) if turn.role == "user"), Turn("user", ""))
        return f"{last.content}\n{last.input}" if last.input else last.content

    @property
    def answer(self) -> str:
        """The last answer."""
        return self.turns[-1].content

    def as_messages(self) -> list[Message]:
        """The conversation as chat templates take it; `input` only where there is one."""
        messages: list[Message] = []
        for turn in self.turns:
            messages.append({"role": turn.role, "content": turn.content})
            if turn.input:
                messages[-1]["input"] = turn.input
        return messages


def pair(question: str, answer: str, **about) -> TrainingRow:
    """A row of one question and one answer; `about` are the other fields of Row."""
    return TrainingRow((Turn("user", question), Turn("assistant", answer)), **about)


def normalise(text: str) -> str:
    """A wording without what does not change it: case, width, punctuation and spaces."""
    return _NO_WORD.sub("", unicodedata.normalize("NFKC", text).casefold())


def detect_lang(text: str) -> Lang:
    """zh where the Chinese characters outnumber the Latin words, else en."""
    chinese = len(_CJK.findall(text))
    return "zh" if chinese and chinese > len(_LATIN_WORD.findall(text)) else "en"


def distinct(rows: Iterable[TrainingRow]) -> dict[tuple[Turn, ...], int]:
    """Each different conversation with the number of times it occurs, in order of first occurrence."""
    counts: dict[tuple[Turn, ...], int] = {}
    for row in rows:
        counts[row.turns] = counts.get(row.turns, 0) + 1
    return counts
