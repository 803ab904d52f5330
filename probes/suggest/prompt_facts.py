"""Who a prompt says the model is, read by the rules that judge what it answers.

A prompt speaks to the model ("You are Mira"), an answer of itself ("I am Mira"): what addresses the model is turned round first,
and what it is told to say ("say: 'I am Mira'") is read as the answer it would be. A suggestion, for a person to correct.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from identities import LANGS, Facts, Who
from probes.suggest.claims import Seen, find_claims, languages_of
from probes.suggest.identity_pair import PLACEHOLDERS, FactPair, Side
from probes.suggest.lexicon import Language
from probes.suggest.names import build_spotter, squeeze
from probes.suggest.question import parse_question
from probes.suggest.text import Reading, read_text
from probes.suggest.values import MADE, sentence_end, value_end

# what stands between quotation marks of either script
_SAID = re.compile(r"[\"\u201c\u300c\u300e]([^\"\u201c\u201d\u300c-\u300f\n]{1,300})[\"\u201d\u300d\u300f]")
_SELF = re.compile(r"\b(?:I am|I'm|my name|I was)\b|我(?:是|叫|的|由)", re.IGNORECASE)
_ADDRESSED = re.compile(r"\b(?:you|your)\b|[你您]", re.IGNORECASE)
_TURNED = tuple(
    (re.compile(old, re.IGNORECASE), new)
    for old, new in (
        # whoever writes the prompt is the user
        (r"\b(?:I|me)\b", "the user"), (r"\bmy\b", "the user's"), ("我们?", "用户"),
        (r"\byou are\b", "I am"), (r"\byou're\b", "I'm"), (r"\byou were\b", "I was"), (r"\byourself\b", "myself"),
        (r"\byour\b", "my"), (r"\byou\b", "I"), ("[你您]们?", "我"),
    )
)  # fmt: skip
_ARTICLE = re.compile(r"(?:an?|the|your|my)\s+|一?[个款种名位]", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:!?()\n。]|\.(?=\s|$)")
_INSTITUTE = re.compile(r"(?:研究|计算|技术|事务)$")  # "计算所开发" is made by an institute, 所 is no particle there
_MARK = re.compile(r"\s*[\[{<]")
_NAME_WORDS, _NAME_SIGNS = 4, 8  # of a Latin and of a Chinese name at most


@dataclass
class _Read:
    """What was found in one language, best first within each list."""

    names: list[str] = field(default_factory=list)
    nouns: list[str] = field(default_factory=list)  # "a finance advisor": a name where there is no other
    makers: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    deeds: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # "an intelligent assistant": what many are

    def who(self) -> Who | None:
        named: dict[str, str] = {}
        for name in self.names or self.nouns:
            named.setdefault(squeeze(name), name)
        name, *aliases = [*named.values()] or [""]
        roles = [*self.roles, *self.deeds, *(self.nouns if self.names else []), *self.kinds]
        maker, role, date = (next(iter(those), "") for those in (self.makers, roles, self.dates))
        found = Who(name, maker, role, date, tuple(aliases))
        return found if found != Who() else None


def read_prompt(prompt: str) -> Facts:
    """The facts that a prompt states, as far as the rules see them; what it does not say is empty."""
    said = [match[1] for match in _SAID.finditer(prompt) if _SELF.search(match[1])]
    rest = _SAID.sub(lambda match: " " if _SELF.search(match[1]) else match[0], prompt)
    found = {lang: _Read() for lang in LANGS}
    for text in (_turned_round(rest), *said):
        _read(read_text(text), found)
    who = {lang: one.who() for lang, one in found.items()}
    known = {mark: next((getattr(one, what) for one in _by_script(mark, who) if one), "") for mark, what in PLACEHOLDERS.items()}
    return Facts(
        en=who["en"], zh=who["zh"], placeholders={mark: value for mark, value in known.items() if value and mark in prompt}
    )


def _by_script(mark: str, who: dict[str, Who | None]) -> tuple[Who | None, ...]:
    return (who["en"], who["zh"]) if mark.isascii() else (who["zh"], who["en"])


def _turned_round(text: str) -> str:
    """In the first person, if it speaks to somebody."""
    if _ADDRESSED.search(text):
        for pattern, new in _TURNED:
            text = pattern.sub(new, text)
    return text


def _read(reading: Reading, found: dict[str, _Read]) -> None:
    frames = find_claims(reading, build_spotter(FactPair(Side(), Side())), parse_question("")).frames
    for at, seen in enumerate(frames):
        if seen.who != "self" or seen.neg or seen.hedge:
            continue
        next_frame = frames[at + 1].start if at + 1 < len(frames) else len(reading.plain)
        _from_frame(reading, seen, next_frame, found[seen.language.name])
    for language in languages_of(reading):
        found[language.name].deeds += _deeds(reading, language)


def _from_frame(reading: Reading, seen: Seen, next_frame: int, found: _Read) -> None:
    clause = _CLAUSE.search(reading.plain, seen.value_start)
    end = min(next_frame, clause.start() if clause else len(reading.plain))
    if seen.slot == "be":
        _from_being(reading, seen, end, found)
        found.roles += _apposition(reading, seen, end, next_frame)
    elif seen.slot == "name":
        end = min(end, value_end(reading, seen))
        name = _text(reading, seen.value_start, end)
        found.names += [name] if name and not _MARK.match(name) else []
        found.roles += _apposition(reading, seen, end, next_frame)
    elif seen.slot == "maker":
        text = _text(reading, seen.value_start, min(end, value_end(reading, seen)))
        maker = MADE.split(text)[0]
        maker += "所" if _INSTITUTE.search(maker) and text[len(maker) :].startswith("所") else ""
        date = _date(reading, seen)
        maker = re.sub(rf"[,\s]*(?:in|since|于|在)?\s*{re.escape(date)}\s*$", "", maker) if date else maker
        maker = maker.strip(" 的，,")
        found.makers += [maker] if maker and not _MARK.match(maker) and not _is_common(maker, seen.language) else []
        found.dates += [date] if date else []


def _from_being(reading: Reading, seen: Seen, end: int, found: _Read) -> None:
    """What stands behind "I am": a name, a noun that may be one, or what many are."""
    text = _text(reading, seen.value_start, end)
    article = _ARTICLE.match(text)
    noun = text[article.end() :].strip() if article else text
    if not noun or _MARK.match(noun):
        return
    if _is_common(noun, seen.language):
        found.kinds.append(noun)
    elif seen.language.name == "zh":
        short = len(noun) <= _NAME_SIGNS and "的" not in noun
        (found.roles if not short else found.nouns if article else found.names).append(noun)
    else:
        short = len(noun.split()) <= _NAME_WORDS and not re.search(r"\b(?:of|for|in|at|from|with|to|who|that)\b", noun)
        odd = " " not in noun and re.search(r"[^a-z]", noun)  # "guide-2": no word of the language
        proper = noun[:1].isupper() or (article is None and odd)
        if article or proper or " " in noun:  # "polite" is neither a name nor a role
            (found.names if short and proper else found.nouns if short and article else found.roles).append(noun)


def _apposition(reading: Reading, seen: Seen, end: int, next_frame: int) -> Iterator[str]:
    """ "Mira, the guide of the museum": what the clause behind a name says of its bearer."""
    if reading.plain[end : end + 1] != ",":
        return
    clause = _CLAUSE.search(reading.plain, end + 1)
    text = _text(reading, end + 1, min(next_frame, clause.start() if clause else len(reading.plain)))
    text = text.removeprefix("是")
    article = _ARTICLE.match(text)
    noun = text[article.end() :].strip() if article else text
    if noun and (article or (seen.language.name == "zh" and "的" in noun)) and not _is_common(noun, seen.language):
        yield noun


def _deeds(reading: Reading, language: Language) -> Iterator[str]:
    for match in language.patterns["deed"].finditer(reading.plain):
        task = match.groupdict().get("task")
        start = match.start("task") if task else match.start("verb")
        over = language.patterns["deed_end"].search(reading.plain, start)
        text = _text(reading, start, min(match.end(), over.start() if over else match.end()))
        if language.name == "en":
            verb, _, rest = text.partition(" ")
            text = f"{_third_person(verb.lower())} {rest}".replace(" my ", " its ").strip()
        if not _is_common(text, language):
            yield text.replace("我的", "").replace("我", "")


def _third_person(verb: str) -> str:
    if re.search(r"(?:s|sh|ch|x|o)$", verb):
        return verb + "es"
    return verb[:-1] + "ies" if re.search(r"[^aeiou]y$", verb) else verb + "s"


def _date(reading: Reading, seen: Seen) -> str:
    start = max(reading.plain.rfind(mark, 0, seen.start) for mark in (". ", "。", "! ", "\n")) + 1
    match = seen.language.patterns["date"].search(reading.plain, start, sentence_end(reading.plain, seen.value_start))
    return reading.cased[slice(*match.span(1))] if match else ""


def _is_common(text: str, language: Language) -> bool:
    """Whether it says nothing in particular, as "a helpful assistant" does."""
    return not squeeze(language.generic_run.sub(" ", text.lower()))


def _text(reading: Reading, start: int, end: int) -> str:
    """The original's words there."""
    return " ".join(reading.original[slice(*reading.span(start, end))].split()).strip(" \"'“”.,:;，：；、。")
