"""YAML that people write, with the line of every value: so that what is wrong can be said with the place where it stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from common import outside


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong in a line of a text, a sentence."""

    line: int
    text: str


def read(text: str, where: str, error: type[Exception]) -> tuple[Any, dict[str, int], list[Problem]]:
    """Plain data, the line of every value by its path (`arms.0.steps`), and keys that stand twice. Raises `error` for no YAML."""
    lines: dict[str, int] = {"": 1}
    twice: list[Problem] = []

    def look(node: yaml.Node) -> None:
        for path, line, repeated in _walk(node, ""):
            lines.setdefault(path, line)
            if repeated:
                twice.append(Problem(line, f"{path} stands twice; keep one of the two."))

    return outside.from_yaml(text, where, error, look=look), lines, twice


def line_of(lines: Mapping[str, int], path: str) -> int:
    """The line of a value; of one that is missing, that of the nearest thing around it."""
    while path and path not in lines:
        path = path.rpartition(".")[0]
    return lines.get(path, 1)


def _walk(node: yaml.Node, path: str) -> Iterator[tuple[str, int, bool]]:
    prefix = f"{path}." if path else ""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            yield f"{prefix}{name}", key.start_mark.line + 1, name in seen
            seen.add(name)
            yield from _walk(value, f"{prefix}{name}")
    elif isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            yield f"{prefix}{at}", item.start_mark.line + 1, False
            yield from _walk(item, f"{prefix}{at}")
