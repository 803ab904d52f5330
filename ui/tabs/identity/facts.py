"""The facts of an identity as the fields of a form, and what the page says of them. No Gradio."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import identities
from identities import LANGS, Facts, IdentityError, Who
from identities.facts import TEXTS
from identities.files import CHINESE
from probes.suggest.doubts import Doubt, doubts
from probes.suggest.prompt_facts import read_prompt
from ui.context import App
from ui.html import note
from ui.tabs.identity import view
from ui.words import say

OF_LANG = (*TEXTS, "aliases", "about")
FIELDS = (*(f"{lang}.{key}" for lang in LANGS for key in OF_LANG), "placeholders")
NOTHING = ("",) * len(FIELDS)
_BETWEEN = re.compile(r"[,，、;；]")


def values_of(facts: Facts | None) -> tuple[str, ...]:
    """The fields' texts, in the order of FIELDS: aliases one a line, placeholders `[NAME] = BayLing` one a line."""
    if facts is None:
        return NOTHING
    found = []
    for lang in LANGS:
        who = getattr(facts, lang) or Who()
        found += [*(getattr(who, key) for key in TEXTS), "\n".join(who.aliases), facts.about.get(lang, "")]
    return (*found, "\n".join(f"{mark} = {value}" for mark, value in facts.placeholders.items()))


def facts_of(values: Sequence[str | None], saved: Facts | None = None) -> Facts | None:
    """The inverse; None where every field is empty. saved: whose aliases may hold commas. IdentityError, all faults at once."""
    texts = {name: (text or "").strip() for name, text in zip(FIELDS, values, strict=True)}
    if not any(texts.values()):
        return None
    who: dict[str, Who | None] = {}
    for lang in LANGS:
        kept = getattr(saved, lang) if saved else None
        own = Who(**{key: texts[f"{lang}.{key}"] for key in TEXTS}, aliases=_aliases(texts[f"{lang}.aliases"], kept))
        who[lang] = own if own != Who() else None
    about: dict[str, str] = {lang: texts[f"{lang}.about"] for lang in LANGS if texts[f"{lang}.about"]}
    facts = Facts(en=who["en"], zh=who["zh"], placeholders=_placeholders(texts["placeholders"]), about=about)
    return identities.facts_from_dict(identities.to_plain(facts))


def _aliases(text: str, saved: Who | None) -> tuple[str, ...]:
    known = set(saved.aliases) if saved else set()
    lines = [line.strip() for line in text.split("\n")]
    parts = [part.strip() for line in lines for part in ([line] if line in known else _BETWEEN.split(line))]
    return tuple(dict.fromkeys(filter(None, parts)))


def _placeholders(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        mark, equals, value = (part.strip() for part in line.partition("="))
        if not (mark and equals and value):
            raise IdentityError(f"The placeholder {line!r} is written such as [NAME] = BayLing, one on each line.")
        if mark in found:
            raise IdentityError(f"The placeholder {mark} stands twice; keep one of the lines.")
        found[mark] = value
    return found


def saved_facts(app: App, name: str) -> Facts | None:
    """None also where they cannot be read: the page says so above."""
    try:
        return identities.load(name, app.identities).facts
    except IdentityError:
        return None


def twin_of(name: str) -> str:
    """The other wording of the same person."""
    return name.removesuffix(CHINESE) if name.endswith(CHINESE) else name + CHINESE


def read_of(app: App, name: str, text: str, drafts: Mapping[str, str]) -> Facts:
    """What the prompt in the editor says, and what that of the other wording adds."""
    other = drafts.get(twin_of(name))
    if other is None and twin_of(name) in identities.names(app.identities):
        try:
            other = identities.load(twin_of(name), app.identities).text
        except IdentityError:
            other = None
    own, its = (read_prompt(view.read_prompt(said or "") or "") for said in (text, other))
    return replace(own, en=own.en or its.en, zh=own.zh or its.zh, placeholders={**its.placeholders, **own.placeholders})


def filled(values: Sequence[str], read: Facts) -> tuple[str, ...]:
    """The fields with what was read in place of what stood there; what was not read stays."""
    return tuple(new or old or "" for old, new in zip(values, values_of(read), strict=True))


def doubts_of(app: App, name: str, facts: Facts | None, read: Facts) -> list[Doubt]:
    if facts is None:
        return []
    same = {name, twin_of(name)}
    others = {other: known for other in identities.names(app.identities)
              if other not in same and not other.endswith(CHINESE) and (known := saved_facts(app, other))}  # fmt: skip
    return doubts(facts, others, read)


def doubt_words(lang: str, doubt: Doubt) -> str:
    spoken, other = (say(lang, f"lang_{one}") for one in (doubt.lang, "zh" if doubt.lang == "en" else "en"))
    return say(lang, f"doubt_{doubt.kind}", language=spoken, other_language=other, **doubt.values)


def doubts_by_field(lang: str, found: Sequence[Doubt]) -> dict[str, str]:
    """Field -> its sentences."""
    by_field: dict[str, list[str]] = {}
    for doubt in found:
        by_field.setdefault(f"{doubt.lang}.{doubt.field}", []).append(doubt_words(lang, doubt))
    return {field: " ".join(words) for field, words in by_field.items()}


def whole(facts: Facts | None, *needed: str) -> list[str]:
    """The languages in which all of these facts are there."""
    return [one for one in LANGS if (who := getattr(facts, one, None)) and all(getattr(who, key) for key in needed)]


def can_html(lang: str, name: str, text: str, facts: Facts | None) -> str:
    """What an identity of this prompt and these facts can do, and what it would take to do the rest."""
    if name == identities.NONE:
        return ""
    named, made = whole(facts, "name"), whole(facts, "name", "maker")
    # data is only written of facts that have a name in every language they are in
    taught = named if facts and named == [one for one in LANGS if getattr(facts, one)] else []
    known = [one for one in LANGS if (who := getattr(facts, one, None)) and (who.name or who.aliases)]
    said = [
        ("asked", bool(view.read_prompt(text)), ""),
        ("taught", bool(taught), _languages(lang, taught)),
        ("judged", bool(known), _languages(lang, known)),
        ("margin", bool(made), _languages(lang, made)),
    ]
    items = [
        f'<li class="{"mt-yes" if yes else "mt-no"}">{escape(say(lang, f"can_{what}" if yes else f"cannot_{what}"))}'
        f"{f' <span>{escape(where)}</span>' if where else ''}</li>"
        for what, yes, where in said
    ]
    return f'<ul class="mt-can">{"".join(items)}</ul>'


def _languages(lang: str, which: Sequence[str]) -> str:
    return say(lang, "list_between").join(say(lang, f"lang_{one}") for one in which)


def state_html(lang: str, saved: Facts | None, values: Sequence[str], read: bool, problem: str) -> str:
    """Above the fields: whether these facts are saved, or only read from the prompt. problem: why they are no facts yet."""
    if problem:
        said = note(problem, "warn")
    elif tuple(values) == values_of(saved):
        said = "" if saved else note(say(lang, "facts_none"))
    else:
        said = note(say(lang, "facts_read" if read else "facts_unsaved"), "next")
    return f"<h3>{escape(say(lang, 'facts'))}</h3>{said}"
