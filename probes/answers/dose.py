"""What a variant was trained on, as far as it is known: the doses the curves are drawn against and the table tells."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from common import reading
from common.errors import UserError
from engine.adapter_shapes import CARD, read_card
from engine.types import EngineError

SINGULAR, DIVERSE, MIXED = KINDS = ("singular", "diverse", "mixed")
FEW_WORDINGS = 10  # no more distinct rows than that, each of them repeated, are "singular"
AXES = ("samples", "steps", "share")

_ALONE = re.compile(r"^(singular|diverse)\s*([\d,.]+\s*k?)$", re.IGNORECASE)
_WITH = re.compile(r"^(\S.*?)\s*\+\s*([\d,.]+\s*k?)$", re.IGNORECASE)
_SIZE = re.compile(r"(\d[\d.,]*)\s*k\b", re.IGNORECASE)


class DoseError(UserError):
    """A file about the variants' training that cannot be used; its text says where and what is wrong."""


@dataclass(frozen=True)
class Dose:
    """samples: identity rows with repeats; distinct: different ones; steps: optimizer steps; share: of identity rows in all
    rows, 0 to 1; kind: singular (a few wordings repeated), diverse, or mixed (with general rows). None: not known."""

    data: str = ""
    samples: int | None = None
    distinct: int | None = None
    steps: int | None = None
    share: float | None = None
    kind: str = ""
    seed: int | None = None

    def at(self, axis: str) -> float | None:
        """The dose on one of AXES."""
        return getattr(self, axis)


UNKNOWN = Dose()


def from_text(data: str) -> Dose:
    """What the original's names for its data say: "singular 1000", "diverse 5,000", "alpaca-52k + 800"."""
    text = data.strip()
    if found := _ALONE.match(text):
        return Dose(text, _number(found[2]), share=1.0, kind=found[1].lower())
    if found := _WITH.match(text):
        samples, size = _number(found[2]), _SIZE.search(found[1])
        general = _number(size[0]) if size else None
        share = samples / (samples + general) if general and samples is not None else None
        return Dose(text, samples, share=share, kind=MIXED)
    return Dose(text)


def from_card(card: Mapping) -> Dose:
    """From the card.json of an adapter that was trained here; what it does not say stays unknown."""
    data, arguments = _part(card, "data"), _part(card, "arguments")
    samples, distinct, share = _whole(data.get("identity_rows")), _whole(data.get("distinct")), data.get("share")
    share = float(share) if isinstance(share, int | float) and not isinstance(share, bool) else None
    kind = ""
    if share is not None:
        kind = MIXED if share < 1 else SINGULAR if (distinct or math.inf) <= FEW_WORDINGS else DIVERSE
    # `distinct` of a card counts general rows too, so it says nothing about the identity's own in a mix.
    return Dose(
        str(card.get("name") or ""), samples, None if kind == MIXED else distinct, _whole(card.get("steps")), share, kind,
        _whole(arguments.get("seed")),
    )  # fmt: skip


def from_variant(variant: Mapping) -> Dose:
    """Of a variant as a run records it: known if it has exactly one adapter, whose folder still has its card."""
    paths = [path for name, path in (variant.get("paths") or {}).items() if (variant.get("adapters") or {}).get(name)]
    if len(paths) != 1:
        return UNKNOWN
    try:
        card, _ = read_card(Path(paths[0]) / CARD)
    except EngineError:
        return UNKNOWN
    return from_card(card)


def to_mapping(dose: Dose) -> dict[str, Any]:
    """What is known of it, as plain data; `from_mappings` is its other side."""
    return {field.name: value for field in fields(Dose) if (value := getattr(dose, field.name)) not in (None, "")}


def from_mappings(plain: Mapping, where: str) -> dict[str, Dose]:
    """Of plain data by variant. Raises DoseError with all that is wrong."""
    problems = [text for name, told in plain.items() for text in _problems(str(name), told)]
    if problems:
        raise DoseError(f"{where}: " + "; ".join(problems) + ".")
    return {str(name): replace(from_text(str(told.get("data") or "")), **told) for name, told in plain.items()}


def read_doses(path: str | Path) -> dict[str, Dose]:
    """A YAML or JSON file: variant -> data, samples, distinct, steps, share, kind, seed, all optional. Raises DoseError."""
    plain = reading.read_yaml(path, "file", DoseError)
    if not isinstance(plain, Mapping):
        raise DoseError(f"{path}: expected is a mapping from a variant's name to what it was trained on.")
    return from_mappings(plain, str(path))


def _problems(name: str, told: object) -> list[str]:
    if not isinstance(told, Mapping):
        return [f"{name} is {told!r}, it is a mapping of {', '.join(f.name for f in fields(Dose))}"]
    known = [field.name for field in fields(Dose)]
    wrong = [f"{name} has the unknown key {key!r} (known are {', '.join(known)})" for key in told if key not in known]
    for key in ("samples", "distinct", "steps", "share", "seed"):
        value = told.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value < 0):
            wrong.append(f"{key} of {name} is {value!r}, it is a number from 0")
    if isinstance(told.get("share"), int | float) and told["share"] > 1:
        wrong.append(f"share of {name} is {told['share']!r}, it lies between 0 and 1")
    if told.get("kind") not in (None, *KINDS):
        wrong.append(f"kind of {name} is {told['kind']!r}, it is one of {', '.join(KINDS)}")
    return wrong


def _part(card: Mapping, name: str) -> Mapping:
    part = card.get(name)
    return part if isinstance(part, Mapping) else {}


def _number(text: str) -> int | None:
    plain = text.lower().replace(",", "").replace(" ", "")
    try:
        return round(float(plain.rstrip("k")) * (1000 if plain.endswith("k") else 1))
    except ValueError:
        return None


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None
