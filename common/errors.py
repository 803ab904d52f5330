"""The one base of all errors that are meant for people."""

from __future__ import annotations


class UserError(Exception):
    """Something a person gave or asked for cannot be: `str()` of it is what they are told, what is wrong, where, what to do.

    Programs print it and end with 2, the page shows it. Whatever else is raised was not foreseen: a traceback in the log and
    one sentence on the page (`ui.context.sentence`).
    """
