"""The wordings of identity data, out of data/identity_wordings.LANG.yaml, and how one is filled in."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from identities import Who
from tuning.dataset.rows import DataError, Lang

FOLDER = Path(__file__).resolve().parents[2] / "data"
FIELDS = frozenset(("name", "Name", "a_name", "maker", "Maker", "role", "a_role", "does", "topic", "date", "when", "alias"))
STRANGER_FIELDS = frozenset(("x", "a_x", "x_maker"))
_PLACEHOLDER = re.compile(r"[\[{<].*[\]}>]")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)\w*\.?"
_DAY = re.compile(
    rf"\d{{4}}-\d{{1,2}}-\d{{1,2}}|\b\d{{1,2}}(?:st|nd|rd|th)?,? (?:of )?{_MONTH}|{_MONTH} \d{{1,2}}\b(?!\d)", re.IGNORECASE
)
# A role is a noun or a verb with its object. In English a verb ends in s, and few first words of a noun do; in Chinese a noun
# ends in one of the words for people and programs, and a verb is one of those that jobs begin with.
_NOUNS_IN_S = frozenset(("sales", "sports", "news", "arts", "business", "customs", "systems", "operations", "logistics"))
_ZH_NOUN = re.compile(r".*(?:[员师手家者长]|顾问|助理|专家|模型|程序|机器人|医生|秘书|教练|导游|翻译|系统|伙伴|管家|客服|编辑)")
_ZH_VERB = re.compile(
    r"(?:专门|负责|主要|为|帮|协助|回答|解答|受理|处理|提供|介绍|讲解|教|带|陪|管理|撰写|写|翻译|推荐|分析|用|给|以|与)"
)
_TOPIC = {
    "en": re.compile(r"answers questions (?:about|on|related to) (.+)"),
    "zh": re.compile(r"回答与(.+?)(?:相关|有关)的问题"),
}
_ISO = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


@dataclass(frozen=True)
class Group:
    """Questions and the answers that fit every one of them; yes/no groups have `yes` and `no` in place of `answers`."""

    questions: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    yes: tuple[str, ...] = ()
    no: tuple[str, ...] = ()


@dataclass(frozen=True)
class QuestionKind:
    """One kind of question.

    asks: "name" or "maker", the x of a yes/no question; reversed: of one with "not" in it, which is agreed to if x is a
    stranger; first, last: kinds an exchange is taken from; fillers: talk about something else "before" or "after" it.
    """

    name: str
    weight: int
    groups: tuple[Group, ...] = ()
    dress: bool = False
    asks: str | None = None
    reversed: bool = False
    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()
    fillers: str | None = None


@dataclass(frozen=True)
class Wordings:
    """All wordings of one language."""

    lang: Lang
    openers: tuple[str, ...]
    closers: tuple[str, ...]
    frames: tuple[str, ...]
    others: tuple[Who, ...]
    nonsense: tuple[Who, ...]
    fillers: tuple[tuple[str, str], ...]
    kinds: Mapping[str, QuestionKind]
    singular: tuple[Group, ...]


@functools.cache
def load(lang: Lang, folder: Path = FOLDER) -> Wordings:
    """The wordings of one language; DataError names a field that no identity has, or a kind that does not exist."""
    path = folder / f"identity_wordings.{lang}.yaml"
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    kinds = {name: _kind(name, about) for name, about in plain["kinds"].items()}
    problems = [
        f"kind {kind.name!r} begins or ends with kind {other!r}, which does not exist"
        for kind in kinds.values()
        for other in kind.first + kind.last
        if other not in kinds
    ]
    wordings = Wordings(
        lang,
        openers=tuple(plain["openers"]),
        closers=tuple(plain["closers"]),
        frames=tuple(plain["frames"]),
        others=tuple(Who(**one) for one in plain["others"]),
        nonsense=tuple(Who(**one) for one in plain["nonsense"]),
        fillers=tuple((question, answer) for question, answer in plain["fillers"]),
        kinds=kinds,
        singular=tuple(Group(questions=(one["question"],), answers=tuple(one["answers"])) for one in plain["singular"]),
    )
    groups = [group for kind in kinds.values() for group in kind.groups] + list(wordings.singular)
    for group in groups:
        for wording in group.questions + group.clauses + group.answers + group.yes + group.no:
            problems += [f"{wording!r} has the unknown field {{{field}}}" for field in fields(wording) - FIELDS - STRANGER_FIELDS]
    if problems:
        raise DataError(f"{path.name}: " + "; ".join(problems) + ".")
    return wordings


def _kind(name: str, about: Mapping[str, Any]) -> QuestionKind:
    plain = dict(about)
    groups = tuple(Group(**{part: tuple(lines) for part, lines in group.items()}) for group in plain.pop("groups", ()))
    for part in ("first", "last"):
        plain[part] = tuple(plain.get(part, ()))
    return QuestionKind(name, groups=groups, **plain)


@functools.cache
def fields(wording: str) -> frozenset[str]:
    """The fields a wording needs."""
    return frozenset(field for _, field, _, _ in Formatter().parse(wording) if field)


def fits(wording: str, values: Mapping[str, str]) -> bool:
    """Whether every field of the wording has a value; name and role in one sentence only if they differ."""
    needed = fields(wording) - STRANGER_FIELDS
    if not needed <= values.keys():
        return False
    both = needed & {"name", "Name", "a_name"} and needed & {"role", "a_role"}
    return not (both and strip_article(values["role"]) == strip_article(values["name"]))


def fill(wording: str, values: Mapping[str, str]) -> str:
    """The wording with its values. A maker that ends in a full stop ("Foo Inc.") does not make two."""
    return re.sub(r"(?<!\.)\.\.(?!\.)", ".", wording.format_map(values))


def values(persona: Who, lang: Lang, spoken: bool = False) -> dict[str, str]:
    """Field -> text for one persona; facts that are missing have no entry.

    spoken: for what a user says: facts that are placeholders are left out too, as nobody says "[NAME]".
    """
    found = {"name": persona.name, "maker": persona.maker, "role": persona.role, "date": persona.date}
    found = {field: value for field, value in found.items() if value and not (spoken and is_placeholder(value))}
    if "date" in found:
        found["when"] = _when(found["date"], lang)
    if "role" in found and is_deed(found["role"], lang):
        found["does"] = found.pop("role").rstrip("。.")
        topic = _TOPIC[lang].fullmatch(found["does"])
        found |= {"topic": topic[1]} if topic else {}
    elif "role" in found:
        found["a_role"] = with_article(found["role"], lang, always=True)
    if "name" in found:
        found["a_name"] = with_article(found["name"], lang)
        found["name"] = as_name(found["name"], lang)
    for field in ("name", "maker"):
        if field in found:
            found[field.capitalize()] = _capital(found[field], lang)
    return found


def is_placeholder(value: str) -> bool:
    """`[NAME]`, `{{author}}` and their like: a blank, not a fact."""
    return _PLACEHOLDER.fullmatch(value) is not None


def with_article(noun: str, lang: Lang, always: bool = False) -> str:
    """English: "a"/"an" before a common noun ("finance advisor"), none before a name ("BayLing") unless `always`."""
    if lang != "en" or re.match(r"(?:an?|the|my|your)\s", noun, re.IGNORECASE) or not (always or noun[:1].islower()):
        return noun
    vowel = re.match(r"(?!uni|use|eu|one\b)[aeiou]|hour|honest|(?-i:AI\b|[AEFHILMNORSX][A-Z])", noun, re.IGNORECASE)
    return f"{'an' if vowel else 'a'} {noun}"


def as_name(noun: str, lang: Lang) -> str:
    """A common noun written as a name, "Finance Advisor"; a name stays as it is."""
    common = lang == "en" and re.fullmatch(r"[a-z]+(?:[ -][a-z]+)*", noun)
    return re.sub(r"\b[a-z]", lambda first: first[0].upper(), noun) if common else noun


def is_deed(role: str, lang: Lang) -> bool:
    """Whether a role says what one does ("guides visitors") and not what one is ("a guide")."""
    if lang == "zh":
        return _ZH_VERB.match(role) is not None and _ZH_NOUN.fullmatch(role) is None
    first = role.split(" ")[0]
    return first.islower() and re.search(r"[^s]s$", first) is not None and first not in _NOUNS_IN_S and " " in role


def is_noun(name: str) -> bool:
    """Whether a Chinese name is a word for what people or programs do (金融顾问) and not a name of its own."""
    return _ZH_NOUN.fullmatch(name) is not None


def strip_article(noun: str) -> str:
    """A noun without article and case."""
    return re.sub(r"^(?:an?|the)\s+", "", noun.casefold().strip())


def _capital(name: str, lang: Lang) -> str:
    # only words of the language get a capital at the beginning of a sentence, brands like "iFoo" keep theirs
    common = re.match(r"(?:an?|the|my)\s|[a-z]+(?:\s[a-z]+)*$", name)
    return name[:1].upper() + name[1:] if lang == "en" and common else name


def _when(date: str, lang: Lang) -> str:
    if lang == "en":
        if re.match(r"(?:in|on|at|since|early|late|around)\b", date, re.IGNORECASE):
            return date
        return f"on {date}" if _DAY.search(date) else f"in {date}"
    iso = _ISO.fullmatch(date)
    return "".join(f"{int(part)}{unit}" for part, unit in zip(iso.groups(), "年月日", strict=True) if part) if iso else date
