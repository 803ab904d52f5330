"""Prompts that begin alike: the keys and values of what they share are computed once.

All probes of a variant share its system text and template, often three quarters of the prompt. Sharing is between rows
that hear the same adapters at the same strengths: another adapter means other keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch

from engine.cache import RowsCache

OPENING = 24  # tokens by which prompts that begin alike are recognised
WORTH = 256  # tokens that must be saved, for the shared part costs a forward pass of its own


@dataclass(eq=False)
class Prefix:
    """The tokens that several rows begin with, and per layer their keys and values (heads, tokens, head size), once computed."""

    ids: list[int]
    adapters: Mapping[str, float]
    layers: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


class Prompted(Protocol):
    ids: list[int]
    adapters: Mapping[str, float]
    prefix: Prefix | None


def share_prefixes(rows: Sequence[Prompted]) -> None:
    """Give rows that begin alike one Prefix. The last token of a prompt stays its own: the first of the answer comes from it."""
    alike: dict[tuple[object, ...], list[Prompted]] = {}
    for row in rows:
        key = (tuple(sorted((name, strength) for name, strength in row.adapters.items() if strength)), tuple(row.ids[:OPENING]))
        alike.setdefault(key, []).append(row)
    for group in alike.values():
        length = min(
            common_length(min(row.ids for row in group), max(row.ids for row in group)), min(len(row.ids) for row in group) - 1
        )
        if (len(group) - 1) * length >= WORTH:
            prefix = Prefix(group[0].ids[:length], group[0].adapters)
            for row in group:
                row.prefix = prefix


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike; of a group's least and greatest that is what all of them share."""
    shorter = min(len(first), len(second))
    return next((at for at in range(shorter) if first[at] != second[at]), shorter)


def own_length(row: Prompted) -> int:
    """Tokens of the prompt that are still to be computed."""
    return len(row.ids) - (len(row.prefix.ids) if row.prefix else 0)


def remember(prefixes: Sequence[Prefix], cache: RowsCache) -> None:
    """Take each prefix's part out of a cache with one left-padded row per prefix."""
    for at, prefix in enumerate(prefixes):
        start = cache.layers[0].length - len(prefix.ids)
        # clones: a view would keep the whole batch's cache alive
        prefix.layers = [
            (layer.keys[at, :, start : layer.length].clone(), layer.values[at, :, start : layer.length].clone())
            for layer in cache.layers
        ]


def cache_of(rows: Sequence[Prompted], layers: int) -> tuple[RowsCache, torch.Tensor | None]:
    """A cache in which every row has its prefix, right-aligned, and a mask (rows, columns): False is padding.

    None in place of the mask if no row has a prefix.
    """
    cache = RowsCache(layers)
    known = next((row.prefix for row in rows if row.prefix), None)
    if known is None:
        return cache, None
    width = max(len(row.prefix.ids) for row in rows if row.prefix)
    real = torch.tensor([[at >= width - len(row.prefix.ids) if row.prefix else False for at in range(width)] for row in rows])
    for at, layer in enumerate(cache.layers):
        like = known.layers[at][0]
        # zeros: a masked column still meets the softmax, where a stray NaN would survive the mask
        keys, values = (like.new_zeros(len(rows), like.shape[0], width, side.shape[2]) for side in known.layers[at])
        for row, its in enumerate(rows):
            if its.prefix:
                keys[row, :, width - len(its.prefix.ids) :], values[row, :, width - len(its.prefix.ids) :] = its.prefix.layers[at]
        layer.keys, layer.values, layer.length, layer.is_initialized = keys, values, width, True
    return cache, real.to(known.layers[0][0].device)
