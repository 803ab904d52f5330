"""Finds what belongs to people in rows that are to be taught: mail addresses, telephone and identity-card numbers, keys.

Questions are looked at as well as answers: a model also learns what it only reads. Addresses and numbers that were set aside
for examples (example.com, 555-0100) belong to nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

import phonenumbers
from phonenumbers import Leniency, PhoneNumberMatcher

from tuning.dataset.rows import TrainingRow

Kind = Literal["mail", "telephone", "card", "key"]

_MAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}")
_NOBODYS_MAIL = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|(?:example|test|invalid|localhost))$", re.IGNORECASE)
# a look at this keeps the matcher, which is slow, off nearly all texts
_DIGITS = re.compile(r"(?:\d[\s().\-–/]{0,3}){7,}")
_FICTION = re.compile(r"555\D?01\d\d$")  # North America's numbers for films
_CHINESE_CARD = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")
_AMERICAN_CARD = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\d-])")
# by what their makers begin them with; and what a text itself calls a key
_KEY = re.compile(
    r"\bsk-(?:ant-|proj-)?[\w-]{20,}|\b(?:gh[pousr]|hf)_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}|\bA(?:KI|SI)A[A-Z0-9]{16}\b"
    r"|\bAIza[\w-]{35}|\bxox[abpr]-[\w-]{10,}|\bLTAI[A-Za-z0-9]{16,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
    r"|\b(?:api|access|secret)[_-]?(?:key|token)[\"']?\s*[:=]\s*[\"']?(?=[\w-]*\d)[\w-]{16,}",
    re.IGNORECASE,
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # GB 11643-1999
_CHECKS = "10X98765432"


@dataclass(frozen=True)
class Personal:
    """One find: index of the row (from 0), what it is, and its text with all but its ends hidden."""

    index: int
    kind: Kind
    text: str
    source: str = ""


def find_personal(rows: Iterable[TrainingRow]) -> list[Personal]:
    """What of each kind a row holds first, in the order of the rows."""
    found = []
    for index, row in enumerate(rows):
        kinds: dict[Kind, str] = {}
        for turn in row.turns:
            for text in filter(None, (turn.content, turn.input)):
                for kind, what in in_text(text):
                    kinds.setdefault(kind, what)
        found += [Personal(index, kind, hidden(what), row.source) for kind, what in kinds.items()]
    return found


def in_text(text: str) -> Iterator[tuple[Kind, str]]:
    """Each thing of a text that belongs to somebody, as it stands there."""
    if "@" in text:
        yield from (("mail", one[0]) for one in _MAIL.finditer(text) if not _NOBODYS_MAIL.search(one[0]))
    yield from (("key", one[0]) for one in _KEY.finditer(text))
    if _DIGITS.search(text):
        cards = [one for one in _CHINESE_CARD.finditer(text) if is_chinese_card(one[0])]
        cards += _AMERICAN_CARD.finditer(text)
        yield from (("card", one[0]) for one in cards)
        yield from (("telephone", one) for one in telephones(text))


def telephones(text: str) -> Iterator[str]:
    """Numbers that can be dialled in China or North America, and those of every country that begin with +."""
    for region in ("CN", "US"):
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
            bare = match.raw_string.isdecimal()
            # ten digits in a row are any number; eleven that are a Chinese mobile's are that
            mobile = phonenumbers.number_type(match.number) == phonenumbers.PhoneNumberType.MOBILE
            if (not bare or (region == "CN" and mobile)) and not _FICTION.search(match.raw_string):
                yield match.raw_string


def is_chinese_card(number: str) -> bool:
    """Whether 18 characters are a resident's number: with a date of birth, and the check that goes with the rest."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return 1900 <= born.year <= date.today().year and _CHECKS[total % 11] == number[17].upper()


def hidden(text: str) -> str:
    """Enough of it to find it in the file, and no more: what was found is not shown once again."""
    if text.startswith("-----BEGIN"):
        return text
    kept = 2 if len(text) < 16 else 4
    return f"{text[:kept]}…{text[-2:]}"
