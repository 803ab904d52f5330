"""The facts the suggestions compare with: who the old and the new identity are.

A facts file is YAML with `old` and `new`; each has `name`, `maker`, `role`, `aliases`: a word, a list, or one of these per
language, in either order of nesting (`name: {en: [..], zh: ..}` or `en: {name: ..}`). What is missing is left empty. An
optional `placeholders` lists the raw placeholders of that identity (`[NAME]: BayLing`, or a plain list).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from common import reading
from common.errors import UserError
from identities import LANGS

# What the anonymised BayLing says in place of names (the old identity by definition); `date` is no aspect that is tagged.
PLACEHOLDERS = {
    "[NAME]": "name", "[INSTITUTE]": "maker", "[CREATE_TIME]": "date",
    "[名字]": "name", "[机构]": "maker", "[开发时间]": "date",
}  # fmt: skip
_KEYS = {
    "name": "name", "names": "name", "maker": "maker", "makers": "maker", "developer": "maker", "developers": "maker",
    "role": "role", "roles": "role", "alias": "aliases", "aliases": "aliases",
}  # fmt: skip


class FactsError(UserError):
    """A facts file that cannot be used; its text says what is wrong and where."""


@dataclass(frozen=True)
class Side:
    """One identity, all languages together: an answer may mix them."""

    name: tuple[str, ...] = ()
    maker: tuple[str, ...] = ()
    role: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    placeholders: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.name or self.maker or self.role or self.aliases)


@dataclass(frozen=True)
class FactPair:
    old: Side
    new: Side


def load(path: str | Path) -> FactPair:
    """Raises FactsError with one sentence that names the file."""
    return from_mapping(reading.read_yaml(path, "facts file", FactsError), str(path))


def from_mapping(data: Any, where: str = "facts") -> FactPair:
    """Builds the pair from the parsed file; all its problems are told at once."""
    if not isinstance(data, Mapping) or not ({"old", "new"} & set(data)):
        raise FactsError(f"{where}: two keys are expected, `old` and `new`, each with name, maker, role and aliases.")
    problems: list[str] = []
    pair = FactPair(*(_side(data.get(which), f"`{which}`", problems) for which in ("old", "new")))
    if not problems and not (pair.old or pair.new):
        problems.append("neither `old` nor `new` holds a name, maker, role or alias")
    if problems:
        raise FactsError(f"{where}: " + "; ".join(problems) + ".")
    return pair


def from_identities(old: Any, new: Any) -> FactPair:
    """From two identities' facts: objects or mappings with en and zh, each with name, maker, role, aliases; None is empty."""
    return from_mapping({"old": _plain(old) or {}, "new": _plain(new) or {}}, "the identities' facts")


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | list | tuple):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return {key: _plain(getattr(value, key)) for key in (*LANGS, *_KEYS, "placeholders") if hasattr(value, key)}


def _side(data: Any, where: str, problems: list[str]) -> Side:
    if data is None:
        return Side()
    if not isinstance(data, Mapping):
        problems.append(f"{where} is {type(data).__name__}, not a mapping with name, maker, role, aliases")
        return Side()
    found: dict[str, list[str]] = {"name": [], "maker": [], "role": [], "aliases": []}
    for language in LANGS:
        inner = data.get(language)
        if isinstance(inner, Mapping):
            _collect(inner, f"{where}.{language}", found, problems)
        elif inner is not None:
            problems.append(f"{where}.{language} is {inner!r}, not a mapping")
    _collect(data, where, found, problems)
    return Side(
        **{key: tuple(dict.fromkeys(values)) for key, values in found.items()},
        placeholders=_placeholders(data.get("placeholders"), where, problems),
    )


def _collect(data: Mapping, where: str, found: dict[str, list[str]], problems: list[str]) -> None:
    for key, value in data.items():
        target = _KEYS.get(str(key).lower())
        if target:
            found[target] += _words(value, f"{where}.{key}", problems)


def _words(value: Any, where: str, problems: list[str]) -> list[str]:
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [word for key, item in value.items() for word in _words(item, f"{where}.{key}", problems)]
    if isinstance(value, list | tuple):
        return [word for item in value for word in _words(item, where, problems)]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        problems.append(f"{where} holds {value!r}, not a word (quote it if it is one)")
        return []
    word = str(value).strip()
    return [word] if word else []


def _placeholders(value: Any, where: str, problems: list[str]) -> tuple[tuple[str, str], ...]:
    """(placeholder, aspect) pairs; the aspect is guessed from the placeholder's own word."""
    if isinstance(value, Mapping) and set(value) <= set(LANGS):
        value = [word for part in value.values() for word in (part or [])]
    words = _words(list(value) if isinstance(value, Mapping) else value, f"{where}.placeholders", problems)
    return tuple((word, PLACEHOLDERS.get(word) or _aspect_of(word)) for word in words)


def _aspect_of(word: str) -> str:
    low = word.lower()
    if any(part in low for part in ("institut", "maker", "author", "org", "机构", "作者", "开发者", "公司")):
        return "maker"
    if any(part in low for part in ("time", "date", "year", "时间", "日期")):
        return "date"
    return "name"
