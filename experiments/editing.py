"""A plan's text changed by a button, with all its comments: a dose more, a cell less."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from experiments.checking import UnreadableError

NOTHING = "tag:yaml.org,2002:null"


def add_dose(text: str, dose: int) -> str:
    """The text with one more dose, in order; as it was if the dose is there. Raises PlanError for what is no YAML."""
    return _insert(text, "doses", str(dose), lambda there: sum(int(one) < dose for one in there if one.isdecimal()))


def drop_cell(text: str, label: str) -> str:
    """The text with the cell among those that are left out."""
    return _insert(text, "leave_out", json.dumps(label, ensure_ascii=False), len)


def restore_cell(text: str, label: str) -> str:
    """The text without the cell among those that are left out."""
    key, found = _list(text, "leave_out")
    gone = [one for one in found.value if one.value == label] if isinstance(found, yaml.SequenceNode) else []
    if not gone:
        return text
    if found.flow_style:
        kept = [json.dumps(one.value, ensure_ascii=False) for one in found.value if one.value != label]
        return text[: found.start_mark.index] + f"[{', '.join(kept)}]" + text[found.end_mark.index :]
    for item in reversed(gone):  # its own lines, and nothing of what stands around them
        start, end = text.rindex("\n", 0, item.start_mark.index) + 1, text.find("\n", item.end_mark.index - 1)
        text = text[:start] + (text[end + 1 :] if end >= 0 else "")
    return text if len(gone) < len(found.value) else _after_colon(text, key, " []")


def _insert(text: str, key: str, item: str, place: Callable[[list[str]], int]) -> str:
    """A list's text with one more item; the list is added at the end where there is none."""
    name, found = _list(text, key)
    if name is None:
        return f"{text.rstrip()}\n{key}: [{item}]\n"
    if isinstance(found, yaml.SequenceNode) and not found.value:
        return f"{text[: found.start_mark.index]}[{item}]{text[found.end_mark.index :]}"
    if not isinstance(found, yaml.SequenceNode):
        return _after_colon(text[: found.start_mark.index] + text[found.end_mark.index :], name, f" [{item}]")
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
    first: int = text.rindex("-", 0, found.value[0].start_mark.index)
    dash = " " * (first - text.rindex("\n", 0, first) - 1) + f"- {item}\n"
    if before is not None:
        start = text.rindex("\n", 0, before.start_mark.index) + 1
        return text[:start] + dash + text[start:]
    end: int = text.find("\n", found.value[-1].end_mark.index)
    end = len(text) if end < 0 else end + 1
    return text[:end] + ("" if text[:end].endswith("\n") else "\n") + dash + text[end:]


def _after_colon(text: str, key: yaml.Node, value: str) -> str:
    at = text.index(":", key.end_mark.index) + 1
    return text[:at] + value + text[at:]


def _list(text: str, key: str) -> tuple[Any, Any]:
    """The nodes of a key and of its list, or of the nothing that stands in its place; (None, None) where there is none."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise UnreadableError(f"the plan, line {mark.line + 1 if mark else 1} is not valid YAML.") from None
    if not isinstance(node, yaml.MappingNode):
        raise UnreadableError("the plan is a mapping of keys such as name, identity and doses.")
    pairs = [(name, value) for name, value in node.value if name.value == key]
    return next((pair for pair in pairs if isinstance(pair[1], yaml.SequenceNode) or pair[1].tag == NOTHING), (None, None))
