"""Right or wrong without a judge: a number, a word, a letter, looked for in what a model wrote.

A check is a JSON object: {"type": "number", "value": 12}, {"type": "word", "any": ["Paris"]} or
{"type": "choice", "value": "B"}. The rules are lenient about form (words for numbers, full-width digits, a sentence
around the answer) and strict about content: a denied answer ("not Paris") or two answers ("A or B") do not pass.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise

CJK = "\u3400-\u9fff"
LETTERS = "ABCDEFGH"
_FIELDS = {"number": {"type", "value"}, "word": {"type", "any"}, "choice": {"type", "value"}}

_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_SMALL = {word: n for n, word in enumerate(f"{_UNITS} eighteen nineteen".split())}
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_WORD = "|".join((*_SMALL, *_TENS, *_SCALES))
_HAN = {char: n for n, char in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10**4, "亿": 10**8}

_NUMBER = re.compile(
    r"(?P<minus>(?<![\w)])-|\bminus\s+|\bnegative\s+|负)?"
    r"(?:(?<![a-z\d.])(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?)"
    rf"(?:\s*(?P<scale>[万亿]|(?:{'|'.join(_SCALES)})\b))?"
    rf"|(?<![a-z])(?P<words>(?:{_WORD})(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*)(?![a-z])"
    rf"|(?P<han>[{''.join(_HAN)}{''.join(_HAN_UNITS)}]+))"
)
# Chinese numerals that count nothing: 三角形, 星期三, 十分, 一共, 一样
_HAN_IDLE = re.compile(
    r"[三四五六七八九十]+[角边](?=形)|(?:星期|周|第)[一二三四五六七八九十]+|十分(?![钟之])|一(?=[共般样起些直定切旦下致])"
)
_DENIED = re.compile(
    r"(?:\bnot|n't|\bnever|不是|并非|而非|不等于|不选|不为|不在)(?:\s+(?:be|called|the|a|an|option|in))?[\s\"'“”*(:]*$"
)
_SAID = re.compile(r"(?:\banswer(?:\s+(?:is|would be|will be))?|答案(?:应该)?(?:是|为)?)[\s:$*_\"'“”(\[]*$")
_EQUALS = re.compile(r"(?:=|\bequals|等于)[\s$*_]*$")
_HEDGE = re.compile(r"\s*(?:\bor\b|或者?|还是|\bbetween\b)\s*", re.IGNORECASE)

_LONE = rf"(?<![A-Za-z\d'])([{LETTERS}])(?![A-Za-z\d'])"
_CHOSEN = re.compile(
    r"(?:\b(?:[Aa]nswer|ANSWER|[Cc]hoice|[Cc]hoose|[Ss]elect|[Pp]ick)(?:\s+(?:is|would be|option|letter))*"
    rf"|答案(?:应该)?(?:是|为|选)?|正确的?选项(?:是|为)?|选择?(?:的是|了)?)[\s:*_\"'“”(\[]*{_LONE}"
)
_OPTION = re.compile(rf"(?:^|[\s(])([{LETTERS}])[).:、]\s*([^\n]+?)(?=[\s(]+[{LETTERS}][).:、]|\s*(?:\n|$))")


LARGEST = 10**15  # of a number check's value
LONGEST_HAN = 40  # characters of a numeral; what goes on is a model that repeats itself


def problems(check: object) -> list[str]:
    """What is wrong with a check, a sentence each; an empty list means it can be used."""
    if not isinstance(check, Mapping) or not isinstance(check.get("type"), str) or check["type"] not in _FIELDS:
        return [f'check is {check!r}, its type is one of {", ".join(_FIELDS)}, such as {{"type": "number", "value": 12}}.']
    kind, wrong = check["type"], []
    if unknown := set(check) - _FIELDS[kind]:
        wrong.append(f"a {kind} check has no {', '.join(map(repr, sorted(unknown)))}, it has {', '.join(sorted(_FIELDS[kind]))}.")
    value = check.get("value")
    if kind == "number":
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong.append(f"value of a number check is {value!r}, it is a number.")
        elif not abs(value) <= LARGEST:  # infinity and what is no number neither
            wrong.append(f"value of a number check is {str(value)[:40]}, it lies between -{LARGEST:,} and {LARGEST:,}.")
    if kind == "choice" and (not isinstance(value, str) or len(value) != 1 or value not in LETTERS):
        wrong.append(f"value of a choice check is {value!r}, it is one letter from {LETTERS[0]} to {LETTERS[-1]}.")
    words = check.get("any")
    if kind == "word" and not (isinstance(words, list) and words and all(isinstance(w, str) and w.strip() for w in words)):
        wrong.append(f"any of a word check is {words!r}, it is a list of at least one word.")
    return wrong


def passes(check: Mapping, question: str, answer: str) -> bool:
    """Whether `answer` to `question` passes; the question tells which numbers are only repeated, and the options."""
    answer = answer.replace(question.strip() or "\0", " ")  # reading the question out again answers nothing
    if check["type"] == "number":
        return _number_passes(check["value"], question, answer)
    if check["type"] == "word":
        return any(_says(_plain(answer).casefold(), _plain(word).casefold()) for word in check["any"])
    return _chosen(question, answer) == check["value"]


def numbers(text: str) -> list[tuple[float, int, int]]:
    """Every number of a text with its start and end in `_plain(text).lower()`: digits, English words, Chinese numerals."""
    text = _plain(text).lower()
    idle = [match.span() for match in _HAN_IDLE.finditer(text)]
    found = []
    for match in _NUMBER.finditer(text):
        sign = -1 if match["minus"] else 1
        start, end = match.span()
        if match["digits"]:
            scale = _SCALES.get(match["scale"]) or _HAN_UNITS.get(match["scale"], 1)
            found.append((sign * float(match["digits"].replace(",", "")) * scale, start, end))
        elif match["words"]:
            found += [(sign * _as_float(value), start, end) for value in _from_words(match["words"])]
        elif not any(a <= match.start("han") < b for a, b in idle):
            value = _from_han(match["han"], text[end : end + 1])
            found += [] if value is None else [(sign * _as_float(value), start, end)]
    return found


def _number_passes(value: float, question: str, answer: str) -> bool:
    text = _plain(_without_step_numbers(answer)).lower()
    asked = {number for number, _, _ in numbers(question)}
    repeated = set() if value in asked else asked
    found = [
        (number, start, end)
        for number, start, end in numbers(text)
        if number not in repeated
        and not _DENIED.search(text[:start])
        and not (value != 1 and text[start:end] in ("one", "一"))  # "this one", "一个": mostly no count
    ]
    if not found:
        return False
    for (one, _, end), (other, start, _) in pairwise(found):
        if one != other and value in (one, other) and _HEDGE.fullmatch(text[end:start]):
            return False
    if said := [number for number, start, _ in found if _SAID.search(text[:start])]:
        return _same(said[-1], value)
    # people and models put the result first ("12, because ...") or last ("... makes 12")
    results = [number for number, start, _ in found if _EQUALS.search(text[:start])][-1:]
    return any(_same(number, value) for number in (found[0][0], found[-1][0], *results))


def _says(text: str, word: str) -> bool:
    """Whether the word stands in the text and is not denied; inside Chinese there are no word boundaries to ask for."""
    pattern = re.escape(word) if re.search(f"[{CJK}]", word) else rf"(?<![^\W_{CJK}]){re.escape(word)}(?![^\W_{CJK}])"
    return any(not _DENIED.search(text[: match.start()]) for match in re.finditer(pattern, text))


def _chosen(question: str, answer: str) -> str | None:
    """The one letter an answer decides for, None if it names none, several, or a letter with another one's words."""
    text = _plain(answer).strip()
    options = {letter: option.strip().rstrip(".;,。") for letter, option in _OPTION.findall(_plain(question))}
    options = {letter: option for letter, option in options.items() if option}
    letter = _letter(text)
    if letter is None:
        said = [known for known, option in options.items() if _says(text.casefold(), option.casefold())]
        return said[0] if len(said) == 1 and not re.search(_LONE, text.replace("A ", "")) else None
    others = "|".join(re.escape(option) for known, option in options.items() if known != letter)
    contradicted = others and re.search(rf"(?<![A-Za-z]){letter}[\s).:、*]+(?:{others})(?!\w)", text)
    return None if contradicted else letter


def _letter(text: str) -> str | None:
    if small := re.fullmatch(rf"(?:.*(?:[Aa]nswer(?: is)?|答案是?)[\s:*]+)?[\W_]*([{LETTERS.lower()}])[\W_]*", text, re.DOTALL):
        return small[1].upper()
    if any(one != other for one, other in re.findall(rf"{_LONE}{_HEDGE.pattern}{_LONE}", text)):
        return None
    if chosen := [match[1] for match in _CHOSEN.finditer(text) if _stands(text, match.start(1))]:
        return chosen[-1]
    if len(set(re.findall(rf"^[\s(*]*([{LETTERS}])[).:、]", text, re.MULTILINE))) > 1:
        return None  # the options, read out again
    if opening := re.match(rf"[\s(*_\[]*([{LETTERS}])(?=[).:、\]*]|,(?!\s*[{LETTERS}]\b)|\s*[\n-]|\s*$)", text):
        return opening[1]
    lone = {match[1] for match in re.finditer(_LONE, text) if _stands(text, match.start(1))}
    return lone.pop() if len(lone) == 1 else None


def _stands(text: str, at: int) -> bool:
    """Whether the letter at `at` is meant as one: not denied, and not the English article ("A planet is ...")."""
    article = text[at] == "A" and re.match(r"A (?!(?:is|because|since|as)\b)[a-z]", text[at:])
    return not article and not _DENIED.search(text[:at].lower())


def _plain(text: str) -> str:
    """Full-width letters and digits made ordinary, thin spaces inside numbers closed.

    The Chinese comma parts clauses, not thousands, unless full-width digits stand on both sides.
    """
    text = re.sub(r"(?<![０-９])，|，(?![０-９])", ", ", text)
    text = re.sub(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3}(?!\d))", "", text)
    text = unicodedata.normalize("NFKC", text).replace("\u2212", "-").replace("\u2013", "-")
    return text.replace("\u2019", "'")


def _without_step_numbers(text: str) -> str:
    """A numbered list counts its own lines; a single "12." may be the answer and stays."""
    marker = re.compile(r"^\s*\d{1,2}[.)、]\s+(?=\S)", re.MULTILINE)
    return marker.sub("", text) if len(marker.findall(text)) > 1 else text


def _from_words(text: str) -> list[int]:
    """English number words; words that cannot belong to one number ("seven and five") make several."""
    values: list[int] = []
    total = current = 0
    last = ""  # kind of the word before: small, tens, scale, or nothing yet
    for word in re.split(r"[\s-]+", text):
        if word == "and":
            last = last if last == "scale" else "closed"
            continue
        attaches = (
            last in ("scale", "tens", "small")
            if word in _SCALES
            else last == "scale" or (last == "tens" and 0 < _SMALL.get(word, 0) < 10)
        )
        if last and not attaches:
            values.append(total + current)
            total = current = 0
        if word == "hundred":
            current = (current or 1) * 100
        elif word in _SCALES:
            total, current = total + (current or 1) * _SCALES[word], 0
        else:
            current += _SMALL[word] if word in _SMALL else _TENS[word]
        last = "scale" if word in _SCALES else "tens" if word in _TENS else "small"
    return [*values, total + current]


def _from_han(text: str, after: str) -> int | None:
    """A Chinese numeral; None for 百, 千, 万 and 亿 without a count (百聆, 千万), which are no numbers."""
    if text[-1] == "千" and after and after in "克米瓦卡":  # kilogram, kilometre
        text = text[:-1]
    if not text or text[0] in "百千万亿" or len(text) > LONGEST_HAN:
        return None
    if len(text) > 1 and not set(text) & set(_HAN_UNITS):
        return int("".join(str(_HAN[char]) for char in text))
    total = section = digit = 0
    for char in text:
        if char in _HAN:
            digit = _HAN[char]
        elif (unit := _HAN_UNITS[char]) < 10**4:
            section, digit = section + (digit or (1 if unit == 10 else 0)) * unit, 0
        else:
            total, section, digit = (total + section + digit) * unit, 0, 0
    if len(text) > 1 and text[-1] in _HAN and text[-2] in "百千万" and digit:  # 一百五 is 150
        digit *= _HAN_UNITS[text[-2]] // 10
    return total + section + digit


def _as_float(value: int) -> float:
    """Infinity for what is larger than any number that a check may ask for: models repeat themselves."""
    return float(value) if value <= 10**300 else math.inf


def _same(one: float, other: float) -> bool:
    return abs(one - other) < 1e-9 * max(1.0, abs(other))
