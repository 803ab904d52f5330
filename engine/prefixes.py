"""What prompts begin with is computed once: what several that are asked together share, and what is kept of earlier ones.

All probes of a variant share its system text and template, often three quarters of the prompt, and a conversation's next turn
begins with all that was said before (`engine.kept`). Sharing is between rows that hear the same adapters at the same strengths:
another adapter means other keys and values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from engine.cache import GROWTH, RowsCache
from engine.kept import Kept, Piece, columns_of, common_length, piece_of, voices_of

OPENING = 24  # tokens by which prompts that begin alike are recognised
WORTH = 256  # tokens that must be saved, for the shared part costs a forward pass of its own


@dataclass(eq=False)
class Prefix:
    """The tokens that one or several rows begin with. pieces: their keys and values, none until they are computed.

    prefix: what is kept of them, while they are not.
    """

    ids: list[int]
    adapters: Mapping[str, float]
    pieces: Sequence[Piece] = ()
    prefix: Prefix | None = None


class Prompted(Protocol):
    ids: list[int]
    adapters: Mapping[str, float]
    prefix: Prefix | None


def share_prefixes(rows: Sequence[Prompted]) -> None:
    """Give rows that begin alike one Prefix. The last token of a prompt stays its own: the first of the answer comes from it."""
    alike: dict[tuple[object, ...], list[Prompted]] = {}
    for row in rows:
        key = (voices_of(row.adapters), tuple(row.ids[:OPENING]))
        alike.setdefault(key, []).append(row)
    for group in alike.values():
        length = min(
            common_length(min(row.ids for row in group), max(row.ids for row in group)), min(len(row.ids) for row in group) - 1
        )
        if (len(group) - 1) * length >= WORTH:
            prefix = Prefix(group[0].ids[:length], group[0].adapters)
            for row in group:
                row.prefix = prefix


def recall(row: Prompted, kept: Kept) -> None:
    """Give the row what is kept of its beginning, unless it has as much or is to share more with others."""
    length, pieces = kept.find(row.adapters, row.ids)
    if length > (len(row.prefix.ids) if row.prefix else 0):
        row.prefix = Prefix(row.ids[:length], row.adapters, pieces)


def own_length(row: Prompted) -> int:
    """Tokens of the prompt that are still to be computed."""
    return len(row.ids) - (len(row.prefix.ids) if row.prefix else 0)


def known_length(row: Prompted) -> int:
    """Tokens of the prompt that were computed for an earlier one."""
    prefix = row.prefix
    if prefix is None:
        return 0
    return len(prefix.ids) if prefix.pieces else known_length(prefix)


def remember(prefixes: Sequence[Prefix], real: torch.Tensor, cache: RowsCache, kept: Kept) -> None:
    """Take each prefix out of a cache with one row per prefix, and keep it for later ones, too. real: False is padding."""
    for at, prefix in enumerate(prefixes):
        whole = piece_of(cache.layers, at, columns_of(real[at]))
        prefix.pieces, prefix.prefix = [whole], None

        def piece(first: int, last: int, whole: Piece = whole) -> Piece:
            return whole if last - first == whole.keys.shape[2] else whole.part(first, last).own()

        kept.add(prefix.adapters, prefix.ids, whole.bytes // len(prefix.ids), piece)


def cache_of(rows: Sequence[Prompted], layers: int) -> tuple[RowsCache, torch.Tensor | None]:
    """A cache in which every row has its prefix, right-aligned, and a mask (rows, columns): False is padding.

    It has room for the rest of the prompts. None in place of the mask if no row has a prefix.
    """
    cache = RowsCache(layers)
    known = next((row.prefix for row in rows if row.prefix), None)
    if known is None:
        return cache, None
    width = max(len(row.prefix.ids) for row in rows if row.prefix)
    room = ((width + max(map(own_length, rows))) // GROWTH + 1) * GROWTH
    real = torch.tensor([[at >= width - len(row.prefix.ids) if row.prefix else False for at in range(width)] for row in rows])
    # zeros: a masked column still meets the softmax, where a stray NaN would survive the mask
    keys, values = (side.new_zeros(layers, len(rows), side.shape[1], room, side.shape[3]) for side in known.pieces[0])
    for row, its in enumerate(rows):
        at = width - len(its.prefix.ids) if its.prefix else 0
        for piece in its.prefix.pieces if its.prefix else ():
            end = at + piece.keys.shape[2]
            keys[:, row, :, at:end], values[:, row, :, at:end] = piece
            at = end
    for number, layer in enumerate(cache.layers):
        layer.keys, layer.values, layer.length, layer.is_initialized = keys[number], values[number], width, True
    return cache, real.to(keys.device)
