"""An answer made readable for rules: one script, one case, one kind of space, with the way back to every original character.

Full-width letters and punctuation become ASCII, traditional characters simplified, letters lower case; spaces and line
breaks beside Chinese characters go, other runs of them shrink to one space, and a line break stays only where it ends
a sentence or begins a list item. Offsets of the readable text are mapped back, so that evidence quotes the original.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from probes.suggest import lexicon

HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_DROPPED_OR_SPACES = re.compile(r"[\u200b-\u200f\u2060\ufeff\u00ad*`]+|\s+")  # invisible characters, Markdown emphasis, spaces
_ENDS_SENTENCE = frozenset(".!?。;:…")
_LIST_ITEM = re.compile(r"(?:[-•]|\d{1,2}[.)]|[A-Za-z][A-Za-z ]{1,18}:|[\u4e00-\u9fff]{2,6}:)")
_HAN_CHAR = re.compile(f"[{HAN}。、《》…]")


@dataclass(frozen=True)
class Reading:
    """`plain` is for the rules, `cased` the same with its capitals; `offsets[i]` is where plain[i] stands in `original`."""

    original: str
    plain: str
    cased: str
    offsets: tuple[int, ...] | None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Offsets in the original of plain[start:end]."""
        if self.offsets is None:
            return start, end
        if start >= end:
            at = self.offsets[start] if start < len(self.offsets) else len(self.original)
            return at, at
        return self.offsets[start], self.offsets[end - 1] + 1


@lru_cache(maxsize=1)
def _one_to_one() -> dict[int, str]:
    table = {0xFF01 + i: chr(0x21 + i) for i in range(94)}
    table |= {ord(a): b for a, b in zip("“”„‟«»「」『』＂", '"' * 11, strict=True)}
    table |= {ord(a): b for a, b in zip("‘’‚‛´ʼ", "'" * 6, strict=True)}
    table |= {ord(a): b for a, b in zip("【】〔〕﹝﹞", "[][][]", strict=True)}
    table |= {ord(a): b for a, b in zip("｡․﹒‐‑−İ", "。..---I", strict=True)}
    table |= {ord(a): " " for a in "\u3000\u00a0\u2002\u2003\u2009\u202f\t\r"}
    table |= {ord(a): b for a, b in lexicon.traditional().items()}
    return table


def _replacement(text: str, match: re.Match[str]) -> str:
    """What a run of spaces becomes: a line break that ends something stays one, all others are a space or nothing."""
    start, end = match.span()
    if start == 0 or end == len(text):
        return ""
    before, after = text[start - 1], text[end]
    breaks = match.group().count("\n")
    if breaks and (breaks > 1 or before in _ENDS_SENTENCE or _LIST_ITEM.match(text, end)):
        return "\n"
    if _HAN_CHAR.match(before) or _HAN_CHAR.match(after):
        return ""
    return " "


def read_text(text: str) -> Reading:
    """The readable form of a text of any length."""
    flat = text.translate(_one_to_one())
    pieces: list[str] = []
    offsets: list[int] = []
    changed = False
    at = 0
    for match in _DROPPED_OR_SPACES.finditer(flat):
        new = _replacement(flat, match) if match.group().isspace() else ""
        if new == match.group():
            continue
        changed = True
        pieces += [flat[at : match.start()], new]
        offsets += range(at, match.start())
        offsets += [match.start()] * len(new)
        at = match.end()
    pieces.append(flat[at:])
    offsets += range(at, len(flat))
    cased = "".join(pieces)
    plain = cased.lower()
    if len(plain) != len(cased):
        plain = "".join(c.lower() if len(c.lower()) == 1 else c for c in cased)
    return Reading(text, plain, cased, tuple(offsets) if changed else None)
