"""What stands in a file's table of contents, looked at before anything of it is unpacked or held in memory.

A table of contents is written by whoever made the file: it may promise more than there is, name one place many times, or be
itself larger than all the rest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from engine.adapter_keys import KEY, strip_wrappers
from engine.types import EngineError

ENTRIES = 100_000  # tensors; an adapter of every expert of the largest mixtures has 75,000
RANK = 4096  # full rank for most models that people train
LAYERS = 1000  # after layer_replication


def shapes_of(file: Path) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape, from the header of a .safetensors file that is whole (common.seeming has looked). Raises EngineError."""
    with open(file, "rb") as raw:
        header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
    shapes = {name: about.get("shape") for name, about in header.items() if name != "__metadata__"}
    for name, shape in shapes.items():
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise EngineError(f"{file} is damaged ({name} has the shape {str(shape)[:60]}); download or copy it again.")
    return {name: tuple(shape) for name, shape in shapes.items()}


def refuse_large(file: Path, shapes: Mapping[str, Sequence[int]]) -> None:
    """Raises EngineError for an adapter's tensors that are too many, of too high a rank, or more than memory holds."""
    if len(shapes) > ENTRIES:
        raise EngineError(f"{file} holds {len(shapes):,} tensors, at most {ENTRIES:,} are read; it is no adapter of one model.")
    rank, key = max(((shape[0 if match["side"] == "A" else 1], key) for key, shape, match in low_rank(shapes)), default=(0, ""))
    if rank > RANK:
        raise EngineError(f"{file}: {key} has rank {rank:,}, at most {RANK:,} is taken; get the adapter again.")
    from engine import room  # brings torch, which nobody needs to look at a table of data

    need, there = 4 * sum(map(prod, shapes.values())), room.free_bytes("cpu")
    if need > there:
        raise EngineError(f"{file} needs about {room.gib(need)} of memory, and {room.gib(there)} are free; free some memory.")


def low_rank(shapes: Mapping[str, Sequence[int]]) -> list[tuple[str, Sequence[int], re.Match[str]]]:
    found = ((key, shape, KEY.fullmatch(strip_wrappers(key))) for key, shape in shapes.items())
    return [(key, shape, match) for key, shape, match in found if match and len(shape) == 2]


def refuse_layers(file: Path, config: Mapping[str, Any]) -> None:
    """Raises EngineError for a configuration by which PEFT would make more layers than any model has."""
    ranges = config.get("layer_replication")
    pairs = [one for one in ranges if isinstance(one, list) and len(one) == 2] if isinstance(ranges, list) else []
    layers = sum(max(1, end - start) for start, end in pairs if type(start) is type(end) is int)
    if layers > LAYERS:
        raise EngineError(f"{file} makes {layers:,} layers of its base's (layer_replication), at most {LAYERS:,} are taken.")


def refuse_other_rank(file: Path, config_ranks: Iterable[int], shapes: Mapping[str, Sequence[int]]) -> None:
    """PEFT makes room for the ranks that the configuration names, and only then looks at the weights. Raises EngineError."""
    held = [shape[0] for _, shape, match in low_rank(shapes) if match["side"] == "A"]
    if held and (named := max(config_ranks, default=0)) > max(held):
        raise EngineError(f"{file} holds weights of rank {max(held)}, its configuration names {named}; get the adapter again.")
