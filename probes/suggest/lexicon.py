"""The language-specific matter of the suggestions, read once from `language/*.yaml` and compiled.

`en.yaml` and `zh.yaml` hold the frames ("I am", "我的开发者是") with what they mean, `common.yaml` the known third parties,
the fields of work and the table of traditional characters. The rules that use them are in `claims.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import yaml

from identities import LANGS

FOLDER = Path(__file__).parent / "language"


@dataclass(frozen=True)
class Frame:
    """A phrase and what the words after it are: see the head of `language/en.yaml`."""

    who: str
    slot: str
    pattern: re.Pattern[str]
    neg: bool = False
    hedge: bool = False
    strong: bool = False
    fresh: bool = False
    within: bool = False

    def denies(self, match: re.Match[str]) -> bool:
        return self.neg or any(value is not None for name, value in match.groupdict().items() if name.startswith("neg"))


@dataclass(frozen=True)
class Language:
    name: str
    script: re.Pattern[str]
    frames: tuple[Frame, ...]
    post: tuple[Frame, ...]
    patterns: Mapping[str, re.Pattern[str]]
    generic: frozenset[str]
    not_names: frozenset[str]
    generic_run: re.Pattern[str]

    def spoken_in(self, plain: str) -> bool:
        return bool(self.script.search(plain)) and (self.name != "en" or not _HAN.search(plain) or bool(_ENGLISH.search(plain)))


_HAN = re.compile(r"[\u4e00-\u9fff]")
_ENGLISH = re.compile(r"\b(?:i|i'm|my|me|we|you|is|was|am|are|by|name|call|called|yes|no|this|it|as|from|the|an?)\b")
_SCRIPTS = {"latin": r"[a-zA-Z]", "han": r"[\u4e00-\u9fff]"}
_PATTERNS = (
    "subject", "owner", "answer_yes", "answer_no", "that_is_me", "reset", "negators", "breaks", "breakers", "role_breakers",
    "preposition", "made_after", "relation", "vocative", "beside", "beside_after", "given_after", "and_all", "appositive",
    "no_name", "no_maker", "none_value", "human", "human_life", "function_words", "generic_nouns", "value_end",
    "deed", "deed_end", "date",
)  # fmt: skip


def _read(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def common() -> dict:
    return _read("common")


@lru_cache(maxsize=1)
def traditional() -> dict[str, str]:
    """Traditional character -> simplified one."""
    old, new = "".join(common()["traditional"]), "".join(common()["simplified"])
    return dict(zip(old, new, strict=True))


@lru_cache(maxsize=1)
def question_phrases() -> dict[str, re.Pattern[str]]:
    """The phrases of questions, all languages in one pattern: a question may mix them."""
    parts = [_read(name)["asked"] for name in LANGS]
    return {key: re.compile("|".join(f"(?:{part[key]})" for part in parts)) for key in parts[0] if key != "first_person"}


@lru_cache(maxsize=1)
def first_person() -> tuple[tuple[re.Pattern[str], str], ...]:
    """(pattern, replacement) in the order in which they turn a yes/no question into its statement."""
    return tuple((re.compile(old, re.IGNORECASE), new) for name in LANGS for old, new in _read(name)["asked"]["first_person"])


@lru_cache(maxsize=len(LANGS))
def language(name: str) -> Language:
    data = _read(name)
    macros = data.get("macros", {})

    def compiled(pattern: str) -> re.Pattern[str]:
        for _ in range(3):  # a macro may hold another one
            pattern = re.sub(r"<(\w+)>(?<!\(\?P<neg>)", lambda m: macros.get(m[1], m[0]), pattern)
        return re.compile(pattern)

    def frame(entry: dict, who: str = "") -> Frame:
        flags = {key: bool(entry.get(key)) for key in ("neg", "hedge", "strong", "fresh", "within")}
        whole_words = r"(?![a-z0-9])" if data["script"] == "latin" else ""
        return Frame(entry.get("who", who), entry["slot"], compiled(f"(?:{entry['re']}){whole_words}"), **flags)

    words = sorted((str(word) for word in data["generic"]), key=len, reverse=True)
    joined = "|".join(map(re.escape, words))
    run = rf"\b(?:{joined})\b" if data["script"] == "latin" else f"(?:{joined})"
    return Language(
        name=name,
        script=re.compile(_SCRIPTS[data["script"]]),
        frames=tuple(frame(entry) for entry in data["frames"]),
        post=tuple(frame(entry, "self") for entry in data["post"]),
        patterns={key: compiled(data.get(key, "(?!)")) for key in _PATTERNS},
        generic=frozenset(words),
        not_names=frozenset(str(word) for word in data["not_names"]),
        generic_run=re.compile(run),
    )
