"""Names of people and of queues as they are stored: one spelling for what looks the same, short enough for a table."""

from __future__ import annotations

import unicodedata

from store.errors import StoreError

LONGEST = 80  # characters of a person's name
LONGEST_TITLE = 200  # of a queue's; it may be that of a file
# controls, what only changes how its neighbours are drawn (zero-width, right-to-left), halves of characters, line ends
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def person(name: str) -> str:
    """The name as it is stored: what looks alike is one (NFKC: full width is narrow), spaces are single. "" stays "".

    StoreError, one sentence, for what is no name.
    """
    return _plain(name, "The name", LONGEST)


def title(name: str) -> str:
    """The same of a queue's name."""
    return _plain(name, "The name of the queue", LONGEST_TITLE)


def _plain(name: str, what: str, longest: int) -> str:
    if not isinstance(name, str):
        raise StoreError(f"{what} is {type(name).__name__}, a text is needed.")
    if len(name) > 4 * longest:  # before anything is done with it
        raise StoreError(f"{what} has {len(name):,} characters; give one of at most {longest}.")
    plain = " ".join(unicodedata.normalize("NFKC", name).split())
    if odd := next((character for character in plain if unicodedata.category(character) in UNSEEN), None):
        raise StoreError(f"{what} {plain[:40]!a} holds U+{ord(odd):04X}, which nobody sees; write it without.")
    if len(plain) > longest:
        raise StoreError(f"{what} has {len(plain)} characters; give one of at most {longest}.")
    return plain
