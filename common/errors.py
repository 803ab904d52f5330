"""The one base of all errors that are meant for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something a person gave or asked for cannot be: `str()` of it is what they are told, what is wrong, where, what to do.

    Programs print it and end with 2, the page shows it. Whatever else is raised was not foreseen: a traceback in the log and
    one sentence on the page (`ui.context.sentence`).
    """


def nearest(given: object, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names that somebody may have meant who wrote `given`, best first; empty where none is near. cutoff: difflib's."""
    return difflib.get_close_matches(str(given)[:100], list(known), n=most, cutoff=cutoff)
