"""How names stand in a list: as people sort them, `model 7` before `model 10`."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(\d+)")


def natural_key(name: object) -> tuple[list[str | int], str]:
    """The sort key of a name: numbers in it by their value, letters whatever their case; names alike in that by their text.

    Strings and numbers alternate, beginning with a string (perhaps an empty one), so any two keys can be compared.
    """
    text = str(name)
    parts = _NUMBER.split(text.casefold())
    return [int(part) if at % 2 else part for at, part in enumerate(parts)], text
