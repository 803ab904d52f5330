"""What is odd about an identity's facts, found before anything is taught or judged by them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from identities import LANGS, Facts, Who
from probes.suggest import lexicon
from probes.suggest.names import squeeze
from probes.suggest.text import read_text


@dataclass(frozen=True)
class Doubt:
    """kind: same_as_maker, somebody_else, no_language, no_name, no_maker, prompt_differs. field: as in `Who`; values: what its
    sentence names."""

    lang: str
    field: str
    kind: str
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)


def doubts(facts: Facts, others: Mapping[str, Facts], read: Facts | None = None) -> list[Doubt]:
    """others: the facts of everybody else, by the name of the identity. read: what the prompt says (`prompt_facts`)."""
    found: list[Doubt] = []
    named = any(who and who.name for who in (facts.en, facts.zh))
    for lang in LANGS:
        who = getattr(facts, lang)
        if who:
            found += _of(lang, who, others, getattr(read, lang) if read else None)
        elif named:
            found.append(Doubt(lang, "name", "no_language"))
    return found


def _of(lang: str, who: Who, others: Mapping[str, Facts], read: Who | None) -> Iterator[Doubt]:
    if not who.name:
        yield Doubt(lang, "name", "no_name")
    elif not who.maker:
        yield Doubt(lang, "maker", "no_maker")
    if who.name and _key(who.name) == _key(who.maker):
        yield Doubt(lang, "maker", "same_as_maker", {"name": who.name})
    for place, names in (("name", [who.name]), ("aliases", who.aliases)):
        for name in names:
            if somebody := _bearer(name, others):
                yield Doubt(lang, place, "somebody_else", {"name": name, "other": somebody})
    for place in ("name", "maker"):
        own, said = getattr(who, place), getattr(read, place) if read else ""
        known = (own, *who.aliases) if place == "name" else (own,)
        if own and said and not any(_alike(said, one) for one in known):
            yield Doubt(lang, place, "prompt_differs", {"said": said})


def _bearer(name: str, others: Mapping[str, Facts]) -> str:
    """Whose name it is: of an identity, of another model, or of a company; "" for nobody's."""
    key = _key(name)
    if not key:
        return ""
    for other, facts in others.items():
        for who in (facts.en, facts.zh):
            if who and key in {_key(one) for one in (who.name, who.maker, *who.aliases)}:
                return other
    return _known().get(key, "")


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    third = lexicon.common()["third_party"]
    return {_key(form): str(form) for kind in ("name", "maker") for form in third[kind]}


def _alike(one: str, other: str) -> bool:
    """Whether two names may be wordings of one: half of the shorter stands in the other as it is."""
    a, b = _key(one), _key(other)
    shared = difflib.SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    return 2 * shared.size >= min(len(a), len(b))


def _key(text: str) -> str:
    return squeeze(read_text(text).plain)
