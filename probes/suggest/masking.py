"""Identity names made unreadable, for whoever labels blind: a name gives the variant away."""

from __future__ import annotations

import re
from functools import lru_cache

from probes.identity_pair import PLACEHOLDERS, FactPair

MASK = "▇▇▇"  # of one length for every name, which would tell them apart again


def mask_names(text: str, facts: FactPair) -> str:
    """The text with the names, makers, aliases and placeholders of both identities replaced, whatever their case, spacing or
    hyphens. Roles stay: they are what has to be judged where there is no name."""
    pattern = _pattern(facts)
    return pattern.sub(MASK, text) if pattern else text


@lru_cache(maxsize=16)
def _pattern(facts: FactPair) -> re.Pattern | None:
    words = set(PLACEHOLDERS)
    for side in (facts.old, facts.new):
        words |= {*side.name, *side.maker, *side.aliases, *(placeholder for placeholder, _ in side.placeholders)}
    # The longest first, so that "Text Titan Ltd" does not leave its "Ltd" behind.
    parts = [_loosely(word) for word in sorted(filter(str.strip, words), key=len, reverse=True)]
    return re.compile("|".join(parts), re.IGNORECASE) if parts else None


def _loosely(word: str) -> str:
    """Spaces and hyphens may come and go; Latin letters are not found inside other words."""
    loose = r"[\s\-]*".join(re.escape(part) for part in re.split(r"[\s\-]+", word.strip()))
    start = r"(?<![A-Za-z0-9])" if re.match(r"[A-Za-z0-9]", word.strip()) else ""
    end = r"(?![A-Za-z0-9])" if re.search(r"[A-Za-z0-9]$", word.strip()) else ""
    return f"{start}{loose}{end}"
