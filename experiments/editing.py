"""A plan's text changed by a button, with all its comments: a dose more, a cell less."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from experiments.checking import UnreadableError


def add_dose(text: str, dose: int) -> str:
    """The text with one more dose, in order; as it was if the dose is there. Raises PlanError for what is no YAML."""
    return _insert(text, "doses", str(dose), lambda there: sum(int(one) < dose for one in there if one.isdecimal()))


def drop_cell(text: str, label: str) -> str:
    """The text with the cell among those that are left out."""
    return _insert(text, "leave_out", json.dumps(label, ensure_ascii=False), len)


def restore_cell(text: str, label: str) -> str:
    """The text without the cell among those that are left out."""
    found = _list(text, "leave_out")
    items = [one.value for one in found.value] if found else []
    if found is None or label not in items:
        return text
    kept = [json.dumps(one, ensure_ascii=False) for one in items if one != label]
    start: int = found.start_mark.index
    if not found.flow_style:  # from the list's first dash
        start = text.rindex("-", 0, found.value[0].start_mark.index)
        return text[:start] + f"[{', '.join(kept)}]\n" + text[found.end_mark.index :].lstrip("\n")
    return text[:start] + f"[{', '.join(kept)}]" + text[found.end_mark.index :]


def _insert(text: str, key: str, item: str, place: Callable[[list[str]], int]) -> str:
    """A list's text with one more item; the list is added at the end where there is none."""
    found = _list(text, key)
    if found is None or not found.value:
        if found is not None:
            return f"{text[: found.start_mark.index]}[{item}]{text[found.end_mark.index :]}"
        return f"{text.rstrip()}\n{key}: [{item}]\n"
    there = [str(one.value) for one in found.value]
    if yaml.safe_load(item) in [yaml.safe_load(json.dumps(one)) for one in there] or item in there:
        return text
    at = place(there)
    before = found.value[at] if at < len(found.value) else None
    if found.flow_style:
        if before is not None:
            return f"{text[: before.start_mark.index]}{item}, {text[before.start_mark.index :]}"
        last: int = found.value[-1].end_mark.index
        return f"{text[:last]}, {item}{text[last:]}"
    dash: str = " " * found.start_mark.column + f"- {item}\n"
    if before is not None:
        start = text.rindex("\n", 0, before.start_mark.index) + 1
        return text[:start] + dash + text[start:]
    end: int = text.find("\n", found.value[-1].end_mark.index)
    end = len(text) if end < 0 else end + 1
    return text[:end] + ("" if text[:end].endswith("\n") else "\n") + dash + text[end:]


def _list(text: str, key: str) -> Any:
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise UnreadableError(f"the plan, line {mark.line + 1 if mark else 1} is not valid YAML.") from None
    if not isinstance(node, yaml.MappingNode):
        raise UnreadableError("the plan is a mapping of keys such as name, identity and doses.")
    return next((value for name, value in node.value if name.value == key and isinstance(value, yaml.SequenceNode)), None)
