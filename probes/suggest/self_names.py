"""What a model calls itself, in its own words: the commonest ones, quoted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping

LONGEST = 60  # characters of a quotation; a role can be a whole sentence
ONLY_THERE = ("not claimed", "what it does")  # a name nobody claims, a task in the place of a role
REPLIES = (", yes", ", no", ", that is me")  # to a question that brought the name
# Left out of a quotation, so that "I am Ann", "My name is Ann" and "Ann" count as one; a negation behind it keeps it.
_FRAME = re.compile(
    r"^(?:(?:hello|hi)[,!. ]+)?"
    r"(?:my name is|i am called|i am|i'm|as|called|我的名字(?:是|叫做?|为)|我叫做?|也?叫做|我是|作为)"
    r"(?!\s*(?:not?\b|没|不))\s*",
    re.IGNORECASE,
)


def find_self_name(row: Mapping) -> str | None:
    """The name an answer claims; where it claims none, what it says it has or is instead; None if it says nothing of itself.

    row: with `evidence`, as the suggestions give it. What a person tagged or labelled is no quotation and is not used.
    """
    claims = [(str(span["what"]), str(span["text"])) for span in row.get("evidence") or () if "(denied)" not in str(span["what"])]
    for aspect in ("name: ", "role: "):
        for what, text in claims:
            if what.startswith(aspect) and not (any(mark in what for mark in ONLY_THERE) or what.endswith(REPLIES)):
                return _short(text)
    return None


def commonest_names(rows: Iterable[Mapping], most: int = 3) -> list[tuple[str, int]]:
    """Self-names with how often each was said, commonest first; case and closing punctuation do not tell two apart."""
    said: Counter[str] = Counter()
    written: dict[str, Counter[str]] = {}
    for row in rows:
        name = find_self_name(row)
        if name:
            key = name.casefold()
            said[key] += 1
            written.setdefault(key, Counter())[name] += 1
    return [(written[key].most_common(1)[0][0], count) for key, count in said.most_common(most)]


def _short(text: str) -> str:
    text = " ".join(text.split()).strip(" .,;:!?。，；：！？\"'")
    text = _FRAME.sub("", text) or text
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"
