"""Keys and values of the rows in a batch: grown in blocks, rows leave and join, left padding is trimmed.

transformers' DynamicCache copies the whole cache at every token (torch.cat); this one writes in place.
"""

from __future__ import annotations

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

GROWTH = 128  # tokens of room added at a time


class RowsLayer(CacheLayerMixin):
    """One layer: buffers (rows, heads, capacity, head size), the first `length` columns in use."""

    is_sliding = False  # a sliding window is the mask's business: all columns stay
    keys: torch.Tensor  # None until the first update, as transformers begins
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new = self.length + key_states.shape[2]
        self.keys = grow(self.keys, key_states, self.length, new)
        self.values = grow(self.values, value_states, self.length, new)
        self.keys[:, :, self.length : new] = key_states
        self.values[:, :, self.length : new] = value_states
        self.length, self.is_initialized = new, True
        return self.keys[:, :, :new], self.values[:, :, :new]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_max_length(self) -> int:
        return -1


def grow(buffer: torch.Tensor | None, like: torch.Tensor, used: int, needed: int) -> torch.Tensor:
    if buffer is not None and buffer.shape[2] >= needed:
        return buffer
    rows, heads, _, size = like.shape
    bigger = like.new_empty(rows, heads, (needed // GROWTH + 1) * GROWTH, size)
    if buffer is not None:
        bigger[:, :, :used] = buffer[:, :, :used]
    return bigger


class RowsCache(Cache):
    """A batch's cache; its rows end at the same column, shorter ones are padded on the left."""

    def __init__(self, layers: int) -> None:
        super().__init__(layers=[RowsLayer() for _ in range(layers)])

    def keep(self, rows: list[int], start: int) -> None:
        """Only these rows, in this order, without the first `start` columns (padding that all of them share)."""
        for layer in self.layers:
            at = torch.tensor(rows, device=layer.keys.device)
            layer.keys = layer.keys[:, :, start : layer.length].index_select(0, at)
            layer.values = layer.values[:, :, start : layer.length].index_select(0, at)
            layer.length -= start

    def part(self, rows: list[int], start: int = 0) -> RowsCache:
        """A cache of these rows alone, without the first `start` columns; this one stays as it is."""
        taken = RowsCache(len(self.layers))
        for mine, theirs in zip(self.layers, taken.layers, strict=True):
            at = torch.tensor(rows, dtype=torch.long, device=mine.keys.device)  # an empty list would be one of floats
            theirs.keys = mine.keys[:, :, start : mine.length].index_select(0, at)
            theirs.values = mine.values[:, :, start : mine.length].index_select(0, at)
            theirs.length, theirs.is_initialized = mine.length - start, True
        return taken

    def to(self, device: torch.device) -> RowsCache:
        """This cache, on `device`."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys.to(device), layer.values.to(device)
        return self

    def join(self, other: RowsCache) -> None:
        """Append the other cache's rows; the shorter one is padded on the left."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            length = max(mine.length, theirs.length)
            mine.keys = stack(mine.keys, mine.length, theirs.keys, theirs.length, length)
            mine.values = stack(mine.values, mine.length, theirs.values, theirs.length, length)
            mine.length = length


def stack(first: torch.Tensor, first_length: int, second: torch.Tensor, second_length: int, length: int) -> torch.Tensor:
    _, heads, _, size = first.shape
    # zeros: a masked column still meets the softmax, where a stray NaN would survive the mask
    both = first.new_zeros(first.shape[0] + second.shape[0], heads, (length // GROWTH + 1) * GROWTH, size)
    both[: first.shape[0], :, length - first_length : length] = first[:, :, :first_length]
    both[first.shape[0] :, :, length - second_length : length] = second[:, :, :second_length]
    return both
