"""Who the old and the new identity are, as probes and suggestions need it: `identities.Facts` of two, or a facts file.

A facts file is YAML with `old` and `new`; each has `name`, `maker`, `role`, `date`, `aliases`: a word, a list, or one of these
per language, in either order of nesting (`name: {en: [..], zh: ..}` or `en: {name: ..}`). What is missing is left empty. An
optional `placeholders` lists the raw placeholders of that identity (`[NAME]: BayLing`, or a plain list). The facts of an
identity are one of these shapes, and so is what a run keeps of them; this is the one place where any of them is read.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from common import reading
from common.errors import UserError
from identities import LANGS, Facts
from identities.facts import TEXTS
from probes.checks import CJK

# What the anonymised BayLing says in place of names (the old identity by definition); `date` is no aspect that is tagged.
PLACEHOLDERS = {
    "[NAME]": "name", "[INSTITUTE]": "maker", "[CREATE_TIME]": "date",
    "[名字]": "name", "[机构]": "maker", "[开发时间]": "date",
}  # fmt: skip
ASPECTS = (*TEXTS, "aliases")
_KEYS = {
    "name": "name", "names": "name", "maker": "maker", "makers": "maker", "developer": "maker", "developers": "maker",
    "role": "role", "roles": "role", "alias": "aliases", "aliases": "aliases", "date": "date",
}  # fmt: skip


class FactsError(UserError):
    """A facts file that cannot be used; its text says what is wrong and where."""


class Word(NamedTuple):
    """One thing that an identity is called. lang: "" where nobody said which."""

    aspect: str
    lang: str
    text: str


@dataclass(frozen=True)
class Side:
    """One identity. placeholders: (what a base writes, the aspect it stands for)."""

    words: tuple[Word, ...] = ()
    placeholders: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return any(word.aspect != "date" for word in self.words)

    def all(self, aspect: str) -> tuple[str, ...]:
        """What it is called in any language: an answer may mix them."""
        return tuple(dict.fromkeys(word.text for word in self.words if word.aspect == aspect))

    name = property(lambda self: self.all("name"))
    maker = property(lambda self: self.all("maker"))
    role = property(lambda self: self.all("role"))
    aliases = property(lambda self: self.all("aliases"))

    def first(self, aspect: str, lang: str) -> str | None:
        """What it is called first in this language; of words without one the first in its script, else the first of all."""
        mine = [word for word in self.words if word.aspect == aspect]
        found = [word.text for word in mine if word.lang == lang] or [word.text for word in mine if not word.lang]
        alike = (text for text in found if bool(re.search(f"[{CJK}]", text)) == (lang == "zh"))
        return next(alike, found[0] if found else None)


@dataclass(frozen=True)
class FactPair:
    old: Side = Side()
    new: Side = Side()

    def __bool__(self) -> bool:
        return bool(self.old or self.new)


def load(path: str | Path) -> FactPair:
    """Raises FactsError with one sentence that names the file."""
    return from_mapping(reading.read_yaml(path, "facts file", FactsError), str(path))


def from_identities(old: Facts | None, new: Facts | None, *, needed: bool = True) -> FactPair:
    """As `from_mapping`; None is empty."""
    plain = {side: dataclasses.asdict(facts) if facts else {} for side, facts in (("old", old), ("new", new))}
    return from_mapping(plain, "the identities' facts", needed=needed)


def to_mapping(pair: FactPair) -> dict[str, Any]:
    """Plain data of which `from_mapping` makes the same pair."""
    return {
        which: {
            **{aspect: [{w.lang: w.text} if w.lang else w.text for w in side.words if w.aspect == aspect] for aspect in ASPECTS},
            "placeholders": [placeholder for placeholder, _ in side.placeholders],
        }
        for which, side in (("old", pair.old), ("new", pair.new))
    }


def from_mapping(data: Any, where: str = "facts", *, needed: bool = True) -> FactPair:
    """The pair of a file's or a stored run's plain data; all its problems are told at once.

    needed: whether it is a fault that there is nothing to compare with.
    """
    if not isinstance(data, Mapping) or not ({"old", "new"} & set(data)):
        raise FactsError(f"{where}: two keys are expected, `old` and `new`, each with name, maker, role and aliases.")
    problems: list[str] = []
    pair = FactPair(*(_side(data.get(which), f"`{which}`", problems) for which in ("old", "new")))
    if needed and not problems and not pair:
        problems.append("neither `old` nor `new` holds a name, maker, role or alias")
    if problems:
        raise FactsError(f"{where}: " + "; ".join(problems) + ".")
    return pair


def _side(data: Any, where: str, problems: list[str]) -> Side:
    if data is None:
        return Side()
    if not isinstance(data, Mapping):
        problems.append(f"{where} is {type(data).__name__}, not a mapping with name, maker, role, aliases")
        return Side()
    found: list[Word] = []
    for language in LANGS:
        inner = data.get(language)
        if isinstance(inner, Mapping):
            found += _collected(inner, language, f"{where}.{language}", problems)
        elif inner is not None:
            problems.append(f"{where}.{language} is {inner!r}, not a mapping")
    found += _collected(data, "", where, problems)
    return Side(tuple(dict.fromkeys(found)), _placeholders(data.get("placeholders"), where, problems))


def _collected(data: Mapping, lang: str, where: str, problems: list[str]) -> list[Word]:
    return [
        Word(aspect, of or lang, text)
        for key, value in data.items()
        if (aspect := _KEYS.get(str(key).lower()))
        for of, text in _words(value, f"{where}.{key}", problems)
    ]


def _words(value: Any, where: str, problems: list[str]) -> list[tuple[str, str]]:
    """(language or "", word) of a word, a list of them, or a mapping of languages to either."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        found = [(key, pair) for key, item in value.items() for pair in _words(item, f"{where}.{key}", problems)]
        return [(of or (key if key in LANGS else ""), text) for key, (of, text) in found]
    if isinstance(value, list | tuple):
        return [pair for item in value for pair in _words(item, where, problems)]
    if isinstance(value, bool) or not isinstance(value, str | int | float | datetime.date):  # YAML's own, for `2023-06-01`
        problems.append(f"{where} holds {value!r}, not a word (quote it if it is one)")
        return []
    word = str(value).strip()
    return [("", word)] if word else []


def _placeholders(value: Any, where: str, problems: list[str]) -> tuple[tuple[str, str], ...]:
    """(placeholder, aspect) pairs; the aspect is guessed from the placeholder's own word."""
    if isinstance(value, Mapping) and set(value) <= set(LANGS):
        value = [word for part in value.values() for word in (part or [])]
    words = _words(list(value) if isinstance(value, Mapping) else value, f"{where}.placeholders", problems)
    return tuple((word, PLACEHOLDERS.get(word) or _aspect_of(word)) for _, word in words)


def _aspect_of(word: str) -> str:
    low = word.lower()
    if any(part in low for part in ("institut", "maker", "author", "org", "机构", "作者", "开发者", "公司")):
        return "maker"
    if any(part in low for part in ("time", "date", "year", "时间", "日期")):
        return "date"
    return "name"
