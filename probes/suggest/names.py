"""Where an answer names somebody: the old or new identity of the facts, a third party, a placeholder, a field of work.

Only finds and classifies; whether the answer claims to be it is decided in `claims.py`. Everything is compiled once per FactPair.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from identities import LANGS
from probes.identity_pair import PLACEHOLDERS, FactPair, Side
from probes.suggest import lexicon
from probes.suggest.text import HAN, Reading, read_text

_LATIN = re.compile(r"[a-z0-9]")
_LOOSE_FROM = 6  # letters: shorter names would be found across the borders of other words if a space may stand anywhere
_FUZZY = 0.75  # share of a name's characters, in order, that an unknown value in its place must have to be a slip of it
_VERSION = r"[ \-]?v?\d+(?:\.\d+)*b?(?:[ \-]\d+(?:\.\d+)?b)?(?![a-z0-9])"  # "Qwen2.5", "BayLing-13B": the same name
_UNIT = re.compile(r".+?(?:科学院|研究院|研究所|实验室|大学|学院|公司|集团|研究组|团队|中心)")
_ORG_WORD = re.compile(
    r"\b(?:institute|academy|university|school|college|laborator\w+|department|cent(?:er|re)|corporation|foundation|company)\b"
)
_MALFORMED = re.compile(
    r"\[[^\[\]\n]{1,30}\]|<(?!/?(?:s|p|b|i|br|unk|pad|em|div|span|a|li|ul|strong)\b)[^<>\n/]{1,30}>|\{+[^{}\n]{1,30}\}+"
    r"|(?<!_)_{3,}|(?<![a-z0-9])x{3,}(?![a-z0-9])|某某+|\?{3,}|\b_[a-z]+_\b"
)


@dataclass(frozen=True)
class Entity:
    """`value` old, new, third party, placeholder, malformed, or generic for what both share; `kinds` name, maker, role, date."""

    value: str
    kinds: frozenset[str]
    side: str
    sure: bool = True


@dataclass(frozen=True)
class Mention:
    start: int
    end: int
    entity: Entity


def squeeze(text: str) -> str:
    """Letters, digits and Chinese characters only, lower case: how forms are compared."""
    return re.sub(r"[\W_]+", "", text.lower())


def _form_pattern(form: str, end: str = r"(?![a-z0-9])") -> tuple[str, str]:
    """(first character, the pattern of the rest) of a form that may be written with other spaces and hyphens. end: what
    comes after Latin letters."""
    runs = re.findall(rf"[a-z0-9]+|[{HAN}]|[^\W_]", read_text(form).plain)
    letters = sum(len(run) for run in runs if _LATIN.match(run))
    inside = r"[ \-]?" if letters >= _LOOSE_FROM else ""
    parts = [inside.join(map(re.escape, run)) if _LATIN.match(run) else re.escape(run) for run in runs]
    pattern = r"[\W_]{0,3}?".join(parts)
    return pattern[0], pattern[1:] + (end if _LATIN.match(runs[-1]) else "")


def _one_of(forms: Iterable[str], end: str = r"(?![a-z0-9])") -> re.Pattern[str]:
    """All forms as one pattern, the longest first, sorted by their first character: few are tried at each place."""
    by_first: dict[str, list[str]] = {}
    for form in sorted(set(forms), key=lambda form: len(squeeze(form)), reverse=True):
        first, rest = _form_pattern(form, end)
        by_first.setdefault(first, []).append(rest)
    latin = [f"{first}(?:{'|'.join(rests)})" for first, rests in sorted(by_first.items()) if _LATIN.match(first)]
    other = [f"{first}(?:{'|'.join(rests)})" for first, rests in sorted(by_first.items()) if not _LATIN.match(first)]
    options = [rf"(?<![a-z0-9])(?:{'|'.join(latin)})"] if latin else []
    return re.compile("|".join(options + other) or "(?!)")


def _parts_of_maker(maker: str) -> tuple[list[str], list[str]]:
    """(parts that stand for the whole organisation, parts that only hint at it), in readable form."""
    plain = read_text(maker).plain
    whole, hints = [], []
    if re.search(f"[{HAN}]{{6,}}", plain):
        units = _UNIT.findall(plain)
        for cut in range(1, len(units)):
            whole.append("".join(units[:cut]))
        hints += units[1:]
        return whole, [hint for hint in hints if len(hint) >= 4]
    pieces = [piece.strip() for piece in re.split(r"[,()]| - ", plain) if piece.strip()]
    for piece in list(pieces):
        for match in _ORG_WORD.finditer(piece):
            before = piece[: match.start()]
            if before.endswith((" of ", " of the ", " at ", " at the ")):
                pieces += [piece[match.start() :], re.sub(r"\s(?:of|at)(?: the)?\s$", "", before)]
    for piece in pieces:
        if " of " in piece and not _ORG_WORD.search(piece):
            pieces += piece.split(" of ")
    for piece in dict.fromkeys(pieces):
        if piece == plain or len(piece) < 3:
            continue
        strong = (_ORG_WORD.search(piece) and len(piece.split()) > 2) or re.fullmatch(r"\w{2,}(?:/\w{2,})+", piece)
        (whole if strong else hints).append(piece)
        hints += [part for part in piece.split("/") if "/" in piece and len(part) >= 3]
    return whole, hints


def _owner(form: str, facts: FactPair) -> str:
    """Whose a known organisation is when it is a part of exactly one side's maker ("KEG" of "Tsinghua KEG Lab"), or has it as
    a part ("阿里巴巴集团" where the maker is 阿里巴巴); else a third party's."""
    word = read_text(form).plain

    def within(part: str, whole: str) -> bool:
        edges = (r"(?<![a-z0-9])", r"(?![a-z0-9])") if part.isascii() else ("", "")
        return len(part) >= 2 and bool(re.search(edges[0] + re.escape(part) + edges[1], whole))

    makers = {"old": facts.old.maker, "new": facts.new.maker}
    sides = [
        which
        for which, forms in makers.items()
        if any(within(word, maker) or within(maker, word) for maker in (read_text(form).plain for form in forms))
    ]
    return sides[0] if len(sides) == 1 else "third party"


def _same_organisation(side: Side) -> list[str]:
    forms = [squeeze(read_text(form).plain) for form in (*side.maker, *side.aliases)]
    return [
        other
        for group in lexicon.common()["same_organisation"]
        if any(squeeze(read_text(member).plain) in form for member in group for form in forms)
        for other in group
    ]


def _is_generic(text: str) -> bool:
    plain = read_text(text).plain
    for name in LANGS:
        plain = lexicon.language(name).generic_run.sub(" ", plain)
    return not squeeze(plain)


def _field_words(side: Side) -> tuple[set[str], set[str]]:
    """(stems and words of the side's own field, words near them in the table of fields)."""
    nouns = lexicon.common()["role_nouns"]
    sources = [
        *side.role,
        *(name for name in (*side.name, *side.aliases) if any(noun in read_text(name).plain for noun in nouns)),
    ]
    own: set[str] = set()
    for source in sources:
        plain = lexicon.language("zh").generic_run.sub(" ", read_text(source).plain)
        own |= set(re.findall(f"[{HAN}]{{2,}}", plain))
        words = (word for word in re.findall(r"[a-z]{4,}", plain) if word not in lexicon.language("en").generic)
        own |= {_stem(word) for word in words}
    near: set[str] = set()
    for words_of_field in lexicon.common()["fields"]:
        stems = {_stem(word) for word in words_of_field}
        if own & stems:
            near |= stems - own
    return own, near


def _stem(word: str) -> str:
    if not word.isascii() or len(word) < 6:
        return word
    return re.sub(r"(?:ially|ial|ing|ical|al|es|e|s|y)$", "", word)


def _field_pattern(words: set[str]) -> re.Pattern[str]:
    latin = sorted((word for word in words if word.isascii() and len(word) >= 3), key=len, reverse=True)
    han = sorted((word for word in words if not word.isascii()), key=len, reverse=True)
    # "medical", "medicine", but not "MedBot": that is a name
    options = [rf"(?<![a-z])(?:{'|'.join(latin)})(?![a-z]*(?:bot|gpt)\b)[a-z]{{0,6}}"] if latin else []
    options += ["|".join(han)] if han else []
    return re.compile("|".join(options) or "(?!)")


@dataclass(frozen=True)
class Spotter:
    forms: re.Pattern[str]
    versions: re.Pattern[str]  # the identities' own names with a version behind them
    entities: dict[str, Entity]
    cased: frozenset[str]
    cased_lower: frozenset[str]
    fields: tuple[tuple[Entity, re.Pattern[str]], ...]
    other_fields: re.Pattern[str]
    placeholders: dict[str, tuple[str, str]]
    slips: tuple[tuple[str, str, str], ...]  # (squeezed form, side, kind) to compare unknown values with

    def mentions(self, reading: Reading) -> list[Mention]:
        """Everything named, in order, without overlaps (a longer form wins over a shorter one inside it)."""
        found = []
        for match in self.forms.finditer(reading.plain):
            entity = self.entities.get(squeeze(match.group()))
            text = reading.cased[match.start() : match.end()]
            if entity and (text in self.cased or text.lower() not in self.cased_lower):
                found.append(Mention(*match.span(), entity))
        for match in self.versions.finditer(reading.plain):
            name = re.sub(_VERSION + "$", "", match.group())
            entity = self.entities.get(squeeze(name))
            if entity:
                found.append(Mention(*match.span(), entity))
        for match in _MALFORMED.finditer(reading.plain):
            # as written: what the chat program would not replace is malformed
            text = reading.original[slice(*reading.span(*match.span()))]
            side, kind = self.placeholders.get(text, ("", ""))
            inner = text.strip("[]<>{}_ ")
            if side:
                found.append(Mention(*match.span(), Entity("placeholder", frozenset({kind}), side)))
            elif not inner.isdigit() and not self.forms.fullmatch(inner.lower()):
                found.append(Mention(*match.span(), Entity("malformed", frozenset({"name", "maker", "role"}), "")))
        for entity, pattern in self.fields:
            for match in pattern.finditer(reading.plain):
                found.append(Mention(*match.span(), entity))
        found.sort(key=lambda mention: (mention.start, -mention.end))
        apart: list[Mention] = []
        for mention in found:
            if not apart or mention.start >= apart[-1].end:
                apart.append(mention)
        return apart

    def slip(self, text: str, slot: str) -> str:
        """The side whose name or maker this unknown value is a part or a misspelling of, or nothing."""
        value = squeeze(text)
        if len(value) < 2:
            return ""
        for form, side, kind in self.slips:
            if kind == "part" and slot != "maker":
                continue
            if value == form:
                return side
            reachable = 2 * min(len(value), len(form)) >= _FUZZY * (len(value) + len(form))
            if kind == "part" or not reachable or len(form) < (6 if form.isascii() else 4):
                continue
            matcher = difflib.SequenceMatcher(None, value, form, autojunk=False)
            if matcher.quick_ratio() >= _FUZZY and matcher.ratio() >= _FUZZY:
                return side
        return ""


@dataclass(eq=False)
class _Known:
    """What is gathered for a Spotter, by squeezed form; whatever comes first stays, but for what both identities have."""

    entities: dict[str, Entity] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    slips: list[tuple[str, str, str]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)

    def add(self, form: str, value: str, kind: str) -> None:
        key = squeeze(read_text(form).plain)
        if not key or key in self.shared:
            return
        before = self.entities.get(key)
        if before and before.side != value:
            if value in ("old", "new"):  # what both identities have tells neither from the other
                self.shared.add(key)
                self.entities[key] = Entity("generic", before.kinds | {kind}, "")
            return
        kinds = frozenset({kind}) | (before.kinds if before else frozenset())
        self.entities[key] = Entity(value, kinds, value)
        self.forms[key] = form

    def add_side(self, which: str, side: Side) -> None:
        for kind, forms in (("name", side.name), ("maker", side.maker)):
            for form in forms:
                self.add(form, which, kind)
                self.slips.append((squeeze(read_text(form).plain), which, kind))
        for form in side.role:
            if not _is_generic(form) and len(squeeze(form)) <= 30:
                self.add(form, which, "role")
        for form in side.aliases:
            inside_maker = any(squeeze(form) in squeeze(maker) for maker in side.maker)
            self.add(form, which, "maker" if inside_maker else "name")
        for form in _same_organisation(side):
            self.add(form, which, "maker")
        for maker in side.maker:
            whole, hints = _parts_of_maker(maker)
            for part in whole:
                self.add(part, which, "maker")
            for part in (*hints, *_short_parts(maker)):
                self.slips.append((squeeze(part), which, "part"))

    def add_third_parties(self, facts: FactPair) -> None:
        third = lexicon.common()["third_party"]
        for form in third["name"]:
            self.add(form, "third party", "name")
        for form in third["maker"]:
            self.add(form, _owner(form, facts), "maker")

    def add_roles(self, words: Mapping[str, set[str]]) -> None:
        """ "financial advisor" as an alias says what its bearer does, like the role itself. words: of each side's own field."""
        for key, entity in self.entities.items():
            if entity.side in words and "name" in entity.kinds and any(word in key for word in words[entity.side]):
                self.entities[key] = replace(entity, kinds=entity.kinds | {"role"})

    def names(self) -> list[str]:
        """The forms of the two identities' names."""
        return [
            self.forms[key]
            for key, entity in self.entities.items()
            if entity.side in ("old", "new") and "name" in entity.kinds and key in self.forms
        ]


@lru_cache(maxsize=64)
def build_spotter(facts: FactPair) -> Spotter:
    sides = {"old": facts.old, "new": facts.new}
    own = {which: _field_words(side) for which, side in sides.items()}
    known = _Known()
    for which, side in sides.items():
        known.add_side(which, side)
    known.add_third_parties(facts)
    known.add_roles({which: words for which, (words, _) in own.items()})
    fields, other_fields = _field_patterns(own)
    placeholders = {word: ("old", kind) for word, kind in PLACEHOLDERS.items()}
    for which, side in sides.items():
        placeholders |= {word: (which, kind) for word, kind in side.placeholders}
    cased = lexicon.common()["cased"]
    return Spotter(
        forms=_one_of(known.forms.values()),
        versions=_one_of([form for form in known.names() if re.search(r"[A-Za-z]{3}$", form)], _VERSION),
        entities=known.entities,
        cased=frozenset(cased),
        cased_lower=frozenset(word.lower() for word in cased),
        fields=fields,
        other_fields=other_fields,
        placeholders=placeholders,
        slips=tuple(dict.fromkeys(known.slips)),
    )


def _field_patterns(
    own: Mapping[str, tuple[set[str], set[str]]],
) -> tuple[tuple[tuple[Entity, re.Pattern[str]], ...], re.Pattern[str]]:
    """(what names either side's field alone, surely or nearly; what names the fields of neither). own: as `_field_words`."""
    fields: list[tuple[Entity, re.Pattern[str]]] = []
    mine: set[str] = set()
    for which, against in (("old", "new"), ("new", "old")):
        core, near = own[which][0] - own[against][0], own[which][1] - own[against][0] - own[against][1]
        mine |= core | near
        fields.append((Entity(which, frozenset({"role"}), which), _field_pattern(core)))
        fields.append((Entity(which, frozenset({"role"}), which, sure=False), _field_pattern(near)))
    other = {_stem(word) for words in lexicon.common()["fields"] for word in words} - mine
    return tuple(fields), _field_pattern(other)


def _short_parts(maker: str) -> list[str]:
    """Parts by which a short maker's name is cut or mangled: "Jim" of "Jim Zhang", the halves of a name in characters."""
    plain = read_text(maker).plain
    words = re.findall(r"[a-z]{3,}", plain)
    if 1 < len(words) <= 3:
        return [word for word in words if word not in lexicon.language("en").generic]
    if re.fullmatch(f"[{HAN}]{{3,4}}", plain):
        return [part for part in (plain[:2], plain[-2:]) if not _is_generic(part)]
    return []
