"""Facts about an identity: who it is, in English and in Chinese, as NAME.yaml says it.

    about: {en: one line for a person choosing, zh: 一句话}
    en: {name: ..., maker: ..., role: ..., date: ..., aliases: [..., ...]}
    zh: {name: ..., maker: ..., role: ..., date: ..., aliases: [..., ...]}
    placeholders: {"[NAME]": BayLing}

Every part may be missing; an unknown one is a fault, because it is nearly always a misspelt known one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from common import outside
from common.errors import UserError, nearest

Lang = Literal["en", "zh"]
LANGS: tuple[Lang, ...] = ("en", "zh")  # of identities, probes and data; the page names its own (ui.words)
LONGEST = 2000  # characters of one text; it goes into prompts and training rows as it stands
TEXTS = ("name", "maker", "role", "date")


class IdentityError(UserError):
    """Something about an identity that a person can put right; its text is for that person."""


@dataclass(frozen=True)
class Who:
    """An identity in one language; what is not known is empty. `aliases` are other names it may answer by."""

    name: str = ""
    maker: str = ""
    role: str = ""
    date: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """Who an identity is. `placeholders` map what a base writes to what people read (a model card)."""

    en: Who | None = None
    zh: Who | None = None
    placeholders: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)  # language -> one line

    @property
    def by_lang(self) -> dict[Lang, Who]:
        """Who it is, in the languages that say it."""
        known: dict[Lang, Who | None] = {"en": self.en, "zh": self.zh}
        return {lang: who for lang, who in known.items() if who}


def facts_from_dict(plain: object, where: str = "facts") -> Facts:
    """Facts from plain data (a request, a job's settings). IdentityError names every fault at once."""
    return _build(plain, where, {})


def read_facts(path: Path) -> Facts:
    """Facts from a YAML file; faults carry the file's name and line."""
    return read_facts_text(read_text(path), path.name)


def read_facts_text(text: str, where: str) -> Facts:
    """Facts from the text of such a file. where: its name in faults."""
    lines: dict[tuple[Any, ...], int] = {}
    doubled: list[tuple[tuple[Any, ...], str]] = []
    # BaseLoader leaves every value the text it is: 2023 stays "2023" and a name like No stays "No".
    plain = outside.from_yaml(
        text, where, IdentityError, yaml.BaseLoader,
        look=lambda node: doubled.extend(_note_lines(node, lines)), broken=": this is no YAML",
    )  # fmt: skip
    return _build(plain if plain is not None else {}, where, lines, doubled)


def to_plain(facts: Facts) -> dict[str, Any]:
    """What `facts_from_dict` makes these facts of: what is empty is left out."""
    plain: dict[str, Any] = {"about": {lang: text for lang, text in facts.about.items() if text}}
    for lang in LANGS:
        who = getattr(facts, lang)
        texts = {key: getattr(who, key) for key in TEXTS if who and getattr(who, key)}
        plain[lang] = texts | ({"aliases": list(who.aliases)} if who and who.aliases else {})
    plain["placeholders"] = dict(facts.placeholders)
    return {key: part for key, part in plain.items() if part}


def to_yaml(facts: Facts, where: str = "facts") -> str:
    """The file that `read_facts` reads these facts from. IdentityError names every fault."""
    plain = to_plain(facts)
    facts_from_dict(plain, where)
    return str(yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=120))


def read_text(path: Path) -> str:
    """An identity's file as text, its line ends those of Python. IdentityError."""
    try:
        text = outside.read_bytes(path, IdentityError, outside.LARGEST_YAML).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise IdentityError(f"{path.name}: this is no UTF-8 text; save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _build(
    plain: object, where: str, lines: Mapping[tuple[Any, ...], int], found: list[tuple[tuple[Any, ...], str]] | None = None
) -> Facts:
    faults = [*(found or []), *_faults(plain)]
    if faults or not isinstance(plain, Mapping):
        placed = sorted(faults, key=lambda fault: lines.get(fault[0], 0))
        said = [(f"line {lines[key]}: " if key in lines else "") + fault for key, fault in placed]
        raise IdentityError(f"{where}: {'; '.join(said)}.")
    who = {
        language: Who(
            **{key: str(plain[language].get(key) or "").strip() for key in TEXTS},
            aliases=tuple(alias.strip() for alias in plain[language].get("aliases") or ()),
        )
        for language in LANGS
        if plain.get(language)
    }
    return Facts(**who, placeholders=dict(plain.get("placeholders") or {}), about=dict(plain.get("about") or {}))


def _faults(plain: object) -> list[tuple[tuple[Any, ...], str]]:
    """(where in the data, what is wrong) for everything that is wrong."""
    if not isinstance(plain, Mapping):
        return [((), "facts are a mapping with en, zh, about and placeholders")]
    faults = _unknown(plain, (*LANGS, "about", "placeholders"), ())
    for part in (*LANGS, "about", "placeholders"):
        if plain.get(part) and not isinstance(plain[part], Mapping):
            faults.append(((part,), f"{part} is a mapping of keys to texts"))
    for language in LANGS:
        who = _mapping(plain, language)
        faults += _unknown(who, (*TEXTS, "aliases"), (language,))
        for key in TEXTS:
            # a year may come as a number where the facts are plain data
            if not isinstance(who.get(key) or "", (str, int) if key == "date" else str):
                faults.append(((language, key), f"{language}.{key} is a text"))
            elif len(str(who.get(key) or "")) > LONGEST:
                faults.append(((language, key), f"{language}.{key} is longer than {LONGEST:,} characters"))
        aliases = who.get("aliases") or []
        if not isinstance(aliases, (list, tuple)) or not all(isinstance(alias, str) and alias.strip() for alias in aliases):
            faults.append(((language, "aliases"), f"{language}.aliases is a list of texts, none of them empty"))
        elif sum(map(len, aliases)) > LONGEST:
            faults.append(((language, "aliases"), f"{language}.aliases are longer than {LONGEST:,} characters in all"))
    about = _mapping(plain, "about")
    faults += _unknown(about, LANGS, ("about",))
    for part, entries in (("about", about), ("placeholders", _mapping(plain, "placeholders"))):
        for key, value in entries.items():
            if not (isinstance(key, str) and key and isinstance(value, str) and value.strip()):
                faults.append(((part, key), f"{part}.{_told(key)} is a text, not empty"))
            elif max(len(key), len(value)) > LONGEST:
                faults.append(((part, key), f"{part}.{_told(key)} is longer than {LONGEST:,} characters"))
    return faults


def _told(key: object) -> str:
    """A key in a sentence; from outside it may be anything, of any length."""
    return key if isinstance(key, str) and len(key) <= 60 else outside.abbreviate(key)


def _mapping(plain: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    return plain[part] if isinstance(plain.get(part), Mapping) else {}


def _unknown(plain: Mapping[str, Any], known: tuple[str, ...], inside: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], str]]:
    faults = []
    for key in plain:
        if key not in known:
            near = nearest(key, known)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            faults.append(((*inside, key), f"unknown key {'.'.join((*inside, _told(key)))} ({hint})"))
    return faults


def _note_lines(
    node: yaml.Node, lines: dict[tuple[Any, ...], int], inside: tuple[Any, ...] = ()
) -> list[tuple[tuple[Any, ...], str]]:
    """Fill `lines` (place in the data -> line in the file) and return keys that stand twice, which YAML swallows."""
    if not isinstance(node, yaml.MappingNode) or len(inside) == 2:  # facts are two levels deep, and YAML may be circular
        return []
    doubled = []
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode):
            place = (*inside, key.value)
            if place in lines:
                doubled.append((place, f"{'.'.join(place)} stands twice"))
            lines[place] = key.start_mark.line + 1
            doubled += _note_lines(value, lines, place)
    return doubled
