"""In which order a new queue holds its items. Nothing here reads the database."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def unique_items(items: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Each answer, or pair of answers, once."""
    return list({(item["answer"], item.get("other")): item for item in items}.values())


def draw_order(
    items: list[Mapping[str, Any]], strategy: str, by: Sequence[str], gold: Mapping[int, str], size: int | None, seed: int
) -> list[Mapping[str, Any]]:
    """At most `size` of the items, shuffled or spread over the strata that `by` makes; those in `gold` all, anywhere."""
    draw = random.Random(seed)
    ordered = _ordered(items, strategy, by, draw)
    return _spread(ordered, gold, size, draw) if gold else ordered[:size]


def _ordered(items: list[Mapping[str, Any]], strategy: str, by: Sequence[str], draw: random.Random) -> list[Mapping[str, Any]]:
    items = draw.sample(items, len(items))
    if strategy == "all":
        return items
    strata: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for item in items:
        strata.setdefault(tuple(str(item.get(key)) for key in by), []).append(item)
    # Within a turn in an order of its own: always the same one would tell who labels which of them is one variant.
    turns = [(turn, draw.random(), item) for stratum in strata.values() for turn, item in enumerate(stratum)]
    return [item for _, _, item in sorted(turns, key=lambda entry: entry[:2])]


def gold_problems(gold: Mapping[int, str], items: Sequence[Mapping[str, Any]], kind: str, size: int | None) -> list[str]:
    """What is wrong with labels that are known beforehand, one sentence each without its end."""
    wrong = []
    if gold and kind != "labels":
        wrong.append(f"items of a queue of {kind} have no label that could be known beforehand")
    if missing := sorted(set(gold) - {item["answer"] for item in items}):
        wrong.append(f"answers {', '.join(map(str, missing[:5]))} have a known label and are none of its items")
    if size is not None and gold and size < len(gold):
        wrong.append(f"{size} items have no room for the {len(gold)} whose label is known")
    return wrong


def _spread(
    ordered: list[Mapping[str, Any]], gold: Mapping[int, str], size: int | None, draw: random.Random
) -> list[Mapping[str, Any]]:
    """The items whose label is known at places drawn evenly: by their kinds they might all come at the beginning."""
    total = min(size or len(ordered), len(ordered))
    known = iter([item for item in ordered if item["answer"] in gold])
    others = iter([item for item in ordered if item["answer"] not in gold])
    places = set(draw.sample(range(total), len(gold)))
    return [next(known if place in places else others) for place in range(total)]
