"""A plan in parts that can be made apart, on other machines say: a trained cell with what is asked of its adapter, or one that
is only asked. Each has a folder and a database of its own; `collect` brings them together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.cells import Cell
from experiments.places import Places, key_of
from tuning.jobs.launch import shell_lines


@dataclass(frozen=True)
class Unit:
    """cells: in the order in which they are made. name: of its folder."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def labels(self) -> list[str]:
        return [cell.label for cell in self.cells]


def units_of(cells: Sequence[Cell]) -> list[Unit]:
    """All cells, each in one unit: those that need the same adapter together."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.of or cell).label, []).append(cell)
    return [Unit(unit_name(label), tuple(members)) for label, members in groups.items()]


def unit_name(label: str) -> str:
    """A folder's name from a label: readable, and unlike all others."""
    return f"{re.sub(r'[^a-zA-Z0-9_.]+', '-', label).strip('-.')[:60]}-{key_of(label)[:6]}"


def unit_places(places: Places, unit: Unit) -> Places:
    """Where a unit is made: everything of its own below the experiment's folder, but the adapters."""
    folder = places.out / "cells" / unit.name
    return replace(places, out=folder, db=folder / "mirror.db")


def arguments_of(plan: Path, places: Places, unit: Unit) -> list[str]:
    """`python ARGUMENTS` that makes a unit."""
    words = ["-m", "experiments.run", str(plan), *places.as_arguments()]
    return [*words, *(word for label in unit.labels for word in ("--cell", label))]


def command_lines(plan: Path, places: Places, units: Sequence[Unit]) -> str:
    """One shell line per unit, for a batch scheduler, and last the one that brings their results together."""
    collect = ["-m", "experiments.collect", str(plan), *places.as_arguments()]
    lines = [shell_lines(arguments_of(plan, places, unit)) for unit in units]
    return "\n".join(line.replace("\n", " && ") for line in [*lines, shell_lines(collect)])
