"""The words of tables, curves and reports in English and Chinese: `locales/report.LANG.json`.

What the code itself calls a thing - a verdict, a label, a reason - is a term: English as it is, Chinese by the list of terms.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "locales"
UNKNOWN_BUT = "not known: "  # how `verdicts.usable_verdict` begins a list of what it does not know


@cache
def words(lang: str) -> dict:
    """key -> text, and under `terms` English -> the language's own word."""
    return json.loads((FOLDER / f"report.{lang}.json").read_text(encoding="utf-8"))


def say(lang: str, key: str, **values) -> str:
    """One sentence or heading. KeyError for a key that is not in the file."""
    text = words(lang)[key]
    return text.format(**values) if values else text


def term(lang: str, text: str) -> str:
    """A verdict, label, group or reason; one that nobody foresaw stays as it is."""
    return words(lang)["terms"].get(text, text)


def reason(lang: str, why: str) -> str:
    """The `why` of a verdict, which may list several terms."""
    if not why or not words(lang)["terms"]:
        return why
    known = why.removeprefix(UNKNOWN_BUT)
    listed = say(lang, "and").join(term(lang, part) for part in re.split(r", | and ", known))
    return (say(lang, "not_known") if known != why else "") + listed


def language(lang: str, of: str) -> str:
    """What the language `of` is called in `lang`; its own code if it is another one."""
    return words(lang).get(f"lang_{of}", of)
