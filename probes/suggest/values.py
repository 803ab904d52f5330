"""What a frame says when no known name follows it: nothing in particular, a human being, no name at all, or an invented one."""

from __future__ import annotations

import re
from itertools import pairwise

from probes.suggest import lexicon
from probes.suggest.claims import Claim, Found, Seen
from probes.suggest.lexicon import Language
from probes.suggest.names import Spotter, squeeze
from probes.suggest.question import ParsedQuestion
from probes.suggest.text import HAN, Reading

_WORD = re.compile(r"[A-Za-z][\w'.+-]*")
_ADJECTIVE = re.compile(r"(?:ed|ing|ful|ly|py|ry|ble|ive|ere)$")
_GIVEN = re.compile(rf"^(?:小|阿|老)[{HAN}]{{1,2}}$|^[{HAN}]{{1,3}}(?:宝|仔|儿)$")
MADE = re.compile(r"(?:所|共同|联合)?(?:开发|创造|创建|打造|训练|研发|设计|制造|制作|推出|构建|发布|研制)")
_COMPANY = re.compile(r"公司|大学|研究院|科技|集团|实验室|研究所|学院|团队")
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)|[。\n]")
_LONGEST = 300  # characters of a sentence that are read for a value: text that runs on for ever must not take for ever
_LEFTOVER = re.compile(rf"[{HAN}]{{2,}}|[A-Za-z]{{3,}}")


def fill_values(
    reading: Reading, spotter: Spotter, asked: ParsedQuestion, found: Found, languages: list[Language]
) -> list[Claim]:
    """The claims without a known name, and those of a bare answer to a question about the model itself."""
    claims: list[Claim] = []
    for seen in found.frames:
        if seen.who not in ("self", "weak"):
            continue
        end = value_end(reading, seen)
        named = [claim for claim in found.claims if seen.value_start <= claim.start < end]
        if named and seen.slot != "be":
            continue
        # a field of work inside it ("HealthTech Solutions") does not say who it is
        talked = any(seen.value_start <= mention.start < end and mention.entity.kinds != {"role"} for mention in found.talk)
        if talked and (named or seen.slot not in ("be", "role")):
            continue
        claims += _value(reading, spotter, seen, end, bool(named))
    if asked.about_self and not found.frames and not found.claims and not found.talk:
        claims += _bare(reading, spotter, asked, languages)
    if asked.about_self:
        for language in languages:
            match = language.patterns["human_life"].search(reading.plain)
            if match and not any(a <= match.start() < b for a, b in found.masked):
                claims.append(Claim("role", "human", "other", *match.span(), "be", sure=False, what="a human life"))
    return claims


def value_end(reading: Reading, seen: Seen) -> int:
    limit = min(len(reading.plain), seen.value_start + _LONGEST)
    match = seen.language.patterns["value_end"].search(reading.plain, seen.value_start, limit)
    return match.start() if match else limit


def sentence_end(plain: str, at: int) -> int:
    limit = min(len(plain), at + _LONGEST)
    match = _SENTENCE_END.search(plain, at, limit)
    return match.start() if match else limit


def _value(reading: Reading, spotter: Spotter, seen: Seen, end: int, named: bool) -> list[Claim]:
    plain, words = reading.plain, seen.language.patterns
    sentence = plain[seen.start : sentence_end(plain, seen.value_start)]
    at = (seen.start, max(end, seen.value_start))
    weak = seen.who == "weak"

    def claim(aspect: str, value: str, side: str = "", sure: bool = True, denied: bool = False, what: str = "") -> Claim:
        return Claim(aspect, value, side, *at, seen.slot, denied=denied, weak=weak, sure=sure and not seen.hedge, what=what)

    if seen.slot == "have":
        if words["no_name"].search(sentence):
            return [claim("name", "none", what="no name")]
        aspect, what = ("maker", "no maker") if words["no_maker"].search(sentence) else ("role", "what it is not")
        return [claim(aspect, "none", what=what)]
    if seen.slot == "role":
        return [claim("role", "generic", what="what it does")] if seen.who == "self" and not named else []
    value = reading.cased[seen.value_start : end]
    if seen.slot == "be":
        return [] if named else _being(reading, spotter, seen, value, claim)
    if seen.slot not in ("name", "maker"):
        return []
    none_words = words["no_name" if seen.slot == "name" else "no_maker"]
    untold = none_words.search(sentence if seen.neg else plain[seen.start : end])
    if untold or words["none_value"].search(value.lower()):
        return [claim(seen.slot, "none", what=f"no {seen.slot}")]
    if seen.neg:
        return [claim(seen.slot, "generic", sure=False, denied=True)]
    kind = classify(value, seen.frame.slot if seen.frame.slot == "name" else seen.slot, seen.language, spotter)
    if kind == "invented?" and seen.frame.who == "developers":
        return []
    if kind == "generic":
        rest = re.split(r"[,.。!?\n]", plain[seen.value_start :], maxsplit=1)[0]
        thing = seen.slot == "maker" and words["generic_nouns"].search(rest.partition("的")[2])  # "由人类开发的助手"
        return [claim(aspect, "generic", what="nobody in particular") for aspect in (seen.slot, *(["role"] if thing else []))]
    if kind in ("old", "new"):
        return [claim(seen.slot, kind, kind, sure=False, what="part or slip of the name")]
    if kind.startswith("invented"):
        return [claim(seen.slot, "third party", "other", sure=kind == "invented", what=f"an invented {seen.slot}")]
    return [claim(seen.slot, "generic", sure=False)] if seen.who == "self" else []


def _being(reading: Reading, spotter: Spotter, seen: Seen, value: str, claim) -> list[Claim]:
    """After "I am": a human, an assistant of no name, or a name nobody knows."""
    plain, words = reading.plain, seen.language.patterns
    low = value.lower()
    human = words["human"].match(low) if seen.language.name == "zh" else words["human"].search(low)
    if human and not words["breakers"].search(low[: human.start()]):
        return [claim("role", "human", "other", denied=seen.neg, what="a human being")]
    if seen.neg:
        return []
    if words["generic_nouns"].search(low) and not words["breakers"].search(low.split("(")[0][:12]):
        return [claim("role", "generic", what="nobody in particular")]
    text = value.strip(" \"'")
    if not text:
        return []
    clause_over = reading.plain[seen.value_start + len(value) :][:1] in ("", ",", ".", "。", "!", "\n", "(", "-", "—")
    rest = plain[seen.value_start + len(value) :][:8]
    if seen.language.name == "en":
        found = _WORD.findall(text)
        proper = 0 < len(found) <= 3 and all(word[:1].isupper() for word in found) and not set(found) & seen.language.not_names
        introduced = len(found) == 1 and re.match(r", (?:an?|the|your)\b", rest) and not _ADJECTIVE.search(found[0])
        if clause_over and (proper or (introduced and len(found[0]) > 3)):
            side = spotter.slip(text, "name")
            return [claim("name", side or "third party", side or "other", sure=proper and not side, what="an invented name")]
        return []
    latin = re.fullmatch(r"[A-Z][A-Za-z]+(?:[ -][A-Z]\w*)?", text) and text not in seen.language.not_names
    if latin or _GIVEN.match(text):
        return [claim("name", "third party", "other", what="an invented name")]
    if re.search(rf"(?:客服|助手|助理|机器人|AI|ai)[小阿老][{HAN}]{{1,2}}$", text) and not low.endswith("小助手"):
        return [claim("name", "third party", "other", what="an invented name")]
    presented = re.fullmatch(f"[{HAN}]{{2,5}}", text) and re.match(r",(?:一|是|您|你|由|来自|专)", rest)
    if presented and not words["function_words"].search(text) and seen.language.generic_run.sub("", text) == text:
        side = spotter.slip(text, "name")
        return [claim("name", side or "third party", side or "other", sure=False, what="an invented name")]
    return []


def classify(value: str, slot: str, language: Language, spotter: Spotter) -> str:
    """generic, old, new (a slip of it), invented, invented? (less sure), or nothing that can be said."""
    text = value.strip(" \"'.,:-()[]")
    if not text:
        return ""
    if not squeeze(language.generic_run.sub(" ", text.lower())):
        side = spotter.slip(text, "maker") if slot == "maker" else ""
        return side or "generic"
    pieces = [text, *re.split(r"\s+|的", text)]
    words = re.findall(r"[A-Za-z0-9]+", text)
    pieces += [a + b for a, b in pairwise(words)]
    named = {word for word in words if word[:1].isupper() and word.lower() not in language.generic}
    pieces = [piece for piece in dict.fromkeys(pieces) if piece.lower() not in language.generic]
    whole = (piece for piece in pieces if all(word in piece for word in named))  # "Zhang Wei" is no part of "Jim Zhang"
    side = next(filter(None, (spotter.slip(piece, slot) for piece in whole)), "")
    if side:
        return side
    return _unknown_latin(text, slot, language) if language.name == "en" else _unknown_han(text, slot, language)


def _unknown_latin(text: str, slot: str, language: Language) -> str:
    words = _WORD.findall(text)
    if not words:
        return "invented" if re.search(f"[{HAN}]", text) and len(text) <= 6 else ""
    capital = [word for word in words if word[:1].isupper() and word not in language.not_names]
    proper = [word for word in capital if word.lower() not in language.generic]
    if proper and slot == "name":
        return "invented" if len(words) <= 4 else "invented?"
    if proper:
        return "invented" if words[0] in proper or len(words) <= 3 else "invented?"
    if slot == "name" and len(words) == 1 and words[0].lower() not in language.generic and len(words[0]) > 2:
        return "invented?"
    return "generic" if slot == "maker" and {word.lower() for word in words} & language.generic else ""


def _unknown_han(text: str, slot: str, language: Language) -> str:
    if re.fullmatch(r"[A-Za-z][\w .-]*", text):
        return "invented" if text not in language.not_names and text.lower() not in lexicon.language("en").generic else "generic"
    if slot == "name":
        text = text.split("的")[0] or text
        short = len(text) <= 6 and not language.patterns["function_words"].search(text)
        if short:
            return "invented"
        return "invented?" if len(text) <= 8 and not language.generic_run.search(text.lower()) else ""
    text = MADE.split(text)[0]
    unknown = _LEFTOVER.findall(language.generic_run.sub(" ", text.lower()))
    left = [word for word in unknown if not language.patterns["function_words"].search(word)]
    latin = [word for word in re.findall(r"[A-Z]\w+", text) if word not in language.not_names]
    if latin:
        return "invented"
    if re.match(r"一(?:个|支|群|组|家|些|名|位|队|批)|许多|多个|很多", text):
        return "generic"
    if left and len(text) <= 14 and (_COMPANY.search(text) or len(text) <= 4):
        return "invented?"
    return "generic" if language.generic_run.search(text.lower()) else ""


def _bare(reading: Reading, spotter: Spotter, asked: ParsedQuestion, languages: list[Language]) -> list[Claim]:
    """An answer of a few words without any frame, to a question about the model: "An AI assistant.", "Elena", "小明。"."""
    text = reading.cased.strip(" .。!\n\"'")
    if not text or len(text) > 60 or not languages or asked.proposal:
        return []
    language = languages[-1] if re.search(f"[{HAN}]", text) else languages[0]
    if not squeeze(language.generic_run.sub(" ", text.lower())):
        return [Claim("role", "generic", "", 0, len(reading.plain), "any", what="nobody in particular")]
    slot = {"be": "name"}.get(asked.slot, asked.slot)
    if slot not in ("name", "maker"):
        return []
    words = language.patterns
    if words["none_value"].search(text.lower()) or words[f"no_{slot}"].search(text.lower()):
        return [Claim(slot, "none", "", 0, len(reading.plain), "any", what=f"no {slot}")]
    short = len(_WORD.findall(text)) <= 4 if language.name == "en" else len(text) <= 8
    kind = classify(text, slot, language, spotter) if short else ""
    if kind in ("old", "new"):
        return [Claim(slot, kind, kind, 0, len(reading.plain), "any", sure=False, what="part or slip of the name")]
    if kind.startswith("invented"):
        return [Claim(slot, "third party", "other", 0, len(reading.plain), "any", sure=False, what=f"an invented {slot}")]
    return [Claim(slot, "generic", "", 0, len(reading.plain), "any")] if kind == "generic" else []
