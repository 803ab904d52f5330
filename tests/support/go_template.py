"""As much of Go's text/template as a Modelfile of ours uses: fields, if/else if/else, eq, range, quoted literals."""

from __future__ import annotations

import re
from collections.abc import Iterator

ACTION = re.compile(r"\{\{ ?(.*?) ?\}\}", re.DOTALL)


def render(template: str, data: dict) -> str:
    parts = ACTION.split(template)  # text, action, text, action, ..., text
    return "".join(_run(iter(list(enumerate(parts))), data)[0])


def _run(parts: Iterator, data: dict) -> tuple[list[str], str]:
    """(what was written, the action that ended the block)."""
    out: list[str] = []
    for at, part in parts:
        if at % 2 == 0:
            out.append(part)
        elif part == "end" or part.startswith("else"):
            return out, part
        elif part.startswith("if "):
            out += _branches(parts, data, part[3:])
        elif part.startswith("range "):
            rest = list(parts)
            body = []
            for one in data[part.removeprefix("range .")]:
                again = iter(rest)
                body += _run(again, one)[0]
                left = list(again)
            if not data[part.removeprefix("range .")]:
                again = iter(rest)
                _run(again, {})
                left = list(again)
            out += body
            parts = iter(left)
            more, end = _run(parts, data)
            return out + more, end
        else:
            out.append(str(_value(part, data)))
    return out, ""


def _branches(parts: Iterator, data: dict, condition: str) -> list[str]:
    chosen, done = [], False
    while True:
        written, end = _run(parts, data)
        if not done and _value(condition, data):
            chosen, done = written, True
        if end == "end":
            return chosen
        condition = "true" if end == "else" else end.removeprefix("else if ")


def _value(words: str, data: dict):
    if words == "true":
        return True
    if words.startswith("eq "):
        left, right = words.removeprefix("eq ").split(" ")
        return _value(left, data) == _value(right, data)
    if words.startswith('"'):
        return words[1:-1]
    return data.get(words.removeprefix("."), "")
