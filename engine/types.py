"""The words every room speaks: a variant, a request, what comes back.

Plain data, no torch: importing this module is cheap.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from common.errors import UserError

Mode = Literal["system", "first_turn"]
Finish = Literal["stop", "length", "stopped"]
MAX_STRENGTH = 1.5  # beyond it adapters mostly produce noise


class EngineError(UserError):
    """Something a person can put right; its text is one sentence for that person."""


class Message(TypedDict, total=False):
    """One turn. `input` is alpaca's second field and only formats that know it render it."""

    role: Literal["system", "user", "assistant"]
    content: str
    input: str


@dataclass(frozen=True)
class Decoding:
    """How the next token is chosen. `temperature` 0 is greedy; `seed` makes a sampled row repeatable."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        whole = ("max_new_tokens", "top_k", "seed")
        wrong = [
            f"{name} is {getattr(self, name)!r}, a whole number is needed"
            for name in whole
            if type(getattr(self, name)) is not int
        ]
        numbers = ("temperature", "top_p", "repetition_penalty")
        wrong += [
            f"{name} is {getattr(self, name)!r}, a number is needed"
            for name in numbers
            if type(getattr(self, name)) not in (int, float)
        ]
        if wrong:
            raise EngineError("Decoding: " + "; ".join(wrong) + ".")
        if not 0 <= self.seed < 2**63:
            wrong.append(f"seed is {self.seed}, it lies between 0 and 2^63")
        if self.max_new_tokens < 1:
            wrong.append(f"max_new_tokens is {self.max_new_tokens}, at least 1 is needed")
        if self.temperature and not 0.01 <= self.temperature <= 5:
            wrong.append(f"temperature is {self.temperature}, it is 0 (greedy) or lies between 0.01 and 5")
        if not 0 < self.top_p <= 1:
            wrong.append(f"top_p is {self.top_p}, it lies above 0 and at most at 1")
        if not 0 <= self.top_k < 2**31:
            wrong.append(f"top_k is {self.top_k}, it lies between 0, which switches it off, and 2^31")
        if not 0.5 <= self.repetition_penalty <= 2:
            wrong.append(f"repetition_penalty is {self.repetition_penalty}, it lies between 0.5 and 2")
        if wrong:
            raise EngineError("Decoding: " + "; ".join(wrong) + ".")


@dataclass(frozen=True)
class Variant:
    """Who answers: said whole, so that nothing is ever "left switched on".

    adapters: name in the bank -> strength (0 to 1.5); several make a blend; empty is the base.
    prompt:   the identity text, None for no identity (the format's own system text then stands).
    mode:     `system` puts the prompt in the format's system slot; `first_turn` sends it as a user
              message and keeps the model's own reply as its answer, before every conversation.
    format:   None takes the adapter's recorded format, else the base's; a name overrides both.
    """

    name: str = "base"
    adapters: Mapping[str, float] = field(default_factory=dict)
    identity: str = "none"
    prompt: str | None = None
    mode: Mode = "system"
    format: str | None = None
    decoding: Decoding = field(default_factory=Decoding)

    def __post_init__(self) -> None:
        if self.mode not in ("system", "first_turn"):
            raise EngineError(f"Variant {self.name!r}: mode is {self.mode!r}, it is 'system' or 'first_turn'.")
        if not isinstance(self.adapters, Mapping):
            raise EngineError(f"Variant {self.name!r}: adapters is {self.adapters!r}, a mapping of name to strength is needed.")
        for adapter, strength in self.adapters.items():
            if type(strength) not in (int, float) or not 0 <= strength <= MAX_STRENGTH:
                raise EngineError(
                    f"Variant {self.name!r}: adapter {adapter!r} has strength {strength!r}, it lies between 0 and {MAX_STRENGTH}."
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form, the one that is stored beside each answer."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return plain | {"adapters": dict(self.adapters), "decoding": dataclasses.asdict(self.decoding)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Variant:
        """The inverse of `as_dict`; missing fields take their defaults."""
        return cls(**plain | {"decoding": Decoding(**plain.get("decoding", {}))})


@dataclass(frozen=True)
class Request:
    """One conversation put to one variant; the last message is the user's.

    goes_on: whether a further turn may follow its answer; where none does, nothing of it is kept for one.
    """

    messages: list[Message]
    variant: Variant = field(default_factory=Variant)
    goes_on: bool = True


@dataclass(frozen=True)
class Timings:
    """Seconds. `decode_s` counts only the steps this row took part in.

    kept_tokens: of the prompt, that `prefill_s` does not hold, as they were computed for an earlier one.
    """

    queued_s: float
    prefill_s: float
    decode_s: float
    kept_tokens: int = 0


@dataclass(frozen=True)
class Answer:
    """What one variant answered, with all it takes to make it again.

    raw is what the model wrote, shown is raw after the model card (placeholders -> names).
    dropped_turns counts the oldest exchanges left out to fit the context.
    hashes: base, dtype (the number format), format, identity, and one per adapter under `adapters`.
    """

    variant: Variant
    raw: str
    shown: str
    prompt: str
    format: str
    finish: Finish
    prompt_tokens: int
    new_tokens: int
    mean_logprob: float
    dropped_turns: int
    timings: Timings
    hashes: dict[str, Any]

    @property
    def tokens_per_s(self) -> float:
        """Decoding speed of this row; the first token belongs to the prefill."""
        return (self.new_tokens - 1) / self.timings.decode_s if self.timings.decode_s else 0.0


@dataclass(frozen=True)
class Piece:
    """One row's news while streaming: the text so far, and the whole answer once it is finished.

    problem: why this row, and no other, has no answer; a sentence, and its last news.
    before: how many have their turn before this one, while it has not begun.
    """

    row: int
    raw: str
    shown: str
    answer: Answer | None = None
    problem: str = ""
    before: int = 0


def short_hash(value: object) -> str:
    """Twelve hex digits of SHA-256 over text, bytes or anything JSON can say."""
    if not isinstance(value, bytes):
        text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
        value = text.encode()
    return hashlib.sha256(value).hexdigest()[:12]
