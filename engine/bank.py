"""The adapter bank: every resident adapter in one wide low-rank pair per layer, a mask per batch row.

For a linear layer y = x W^T, all adapters' A are stacked (total rank, in) and all B (total rank, out):

    y + ((x A^T) * mask) B        mask (rows, 1, total rank)

The mask says which block each row hears and how loudly: 1 is the adapter, 0.5 is half of it, two blocks are
a blend, all zero is the base. Switching is a new mask. PEFT's mixed batches loop over the adapters in every
layer instead; punica and S-LoRA gather per row in CUDA kernels for Ampere and up.

Decoding is bound by the number of matrix products and the bytes they read. So layers that read the same input
(q, k, v; gate, up) are one product, and the A blocks lie below their weights and come with it: an adapted group
costs one further product, whatever the number of adapters.

A masked block contributes nothing because a number times 0 is 0. Infinity times 0 is not: where x A^T may overflow - in fp16,
or with an A of numbers that no training makes - what is masked is put to 0 instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from engine import onednn
from engine.adapter_keys import fold
from engine.adapters import LowRank
from engine.groups import Block, make_group, names_by_input
from engine.types import EngineError


def linears_of(model: nn.Module) -> dict[str, nn.Linear]:
    """The layers that adapters may change, by their names."""
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def check(linears: Mapping[str, nn.Linear], name: str, weights: Mapping[str, LowRank]) -> dict[str, LowRank]:
    """An update under the own names of a model's linear layers. Raises EngineError if it does not fit them."""
    places = fold(weights, linears)
    fitted: dict[str, LowRank] = {}
    named: dict[str, str] = {}
    for written, pair in weights.items():
        module = places.get(written)
        if module is None:
            raise EngineError(f"Adapter {name!r} belongs to another base: it changes {written}, which is not in this model.")
        if module in fitted:
            other = written if written != module else named[module]
            raise EngineError(f"Adapter {name!r} holds {module} twice, once as {other}; save it again, each layer once.")
        named[module] = written
        fitted[module], linear = pair, linears[module]
        ours, theirs = (linear.out_features, linear.in_features), (pair.b.shape[0], pair.a.shape[1])
        if ours != theirs:
            raise EngineError(f"Adapter {name!r} belongs to another base: {module} is {ours} here and {theirs} there.")
    return fitted


class Bank:
    """Adapters over one model. Not thread-safe: the engine's lock guards every call."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.linears = linears_of(model)
        self.adapters: dict[str, dict[str, LowRank]] = {}  # on the base's device, in its dtype
        self.heard: Sequence[Mapping[str, float]] | None = None  # what `hear` was told last, None where it no longer stands
        self.layout = 0  # another number: weights lie at other addresses
        packed = onednn.is_worthwhile(model)
        self.groups = [make_group(model, self.linears, names, packed) for names in names_by_input(model, self.linears)]
        self.stale = set(self.groups)  # not laid out for `adapters` yet
        if not self.waits():
            self.settle()

    def add(self, name: str, weights: Mapping[str, LowRank]) -> None:
        """Make an adapter resident. Nothing changes if it does not fit. Raises EngineError."""
        weights = self.check(name, weights)
        if name in self.adapters:
            raise EngineError(f"An adapter named {name!r} is already loaded; remove it first or give another name.")
        placed = {}
        for module, pair in weights.items():
            device, dtype = self.linears[module].weight.device, self.model.dtype
            placed[module] = LowRank(pair.a.to(device, dtype), pair.b.to(device, dtype))
            if not (placed[module].a.isfinite().all() and placed[module].b.isfinite().all()):
                # infinity times a mask of 0 is NaN: it would reach the rows of the others
                raise EngineError(f"Adapter {name!r} holds numbers too large for {dtype} ({module}); start with --dtype fp32.")
        self.rebuild(self.adapters | {name: placed})

    def check(self, name: str, weights: Mapping[str, LowRank]) -> dict[str, LowRank]:
        """As the function `check`, for this model."""
        return check(self.linears, name, weights)

    def remove(self, name: str) -> None:
        if name not in self.adapters:
            raise EngineError(f"No adapter named {name!r} is loaded; there is {', '.join(self.adapters) or 'none'}.")
        self.rebuild({other: weights for other, weights in self.adapters.items() if other != name})

    def rebuild(self, adapters: dict[str, dict[str, LowRank]]) -> None:
        """From here on these adapters are resident; out of memory leaves the bank as it was."""
        changed = {module for name in adapters.keys() ^ self.adapters.keys() for module in (adapters | self.adapters)[name]}
        before, stale = self.adapters, self.stale
        todo = stale | {group for group in self.groups if changed & set(group.names)}
        self.heard = None  # a group that is laid out anew has no mask
        self.adapters, self.stale = adapters, set(todo)
        if self.waits():
            return
        try:
            self.settle()
        except (RuntimeError, MemoryError):
            self.adapters, self.stale = before, stale | (todo - self.stale)
            self.settle()
            raise

    def waits(self) -> bool:
        """Whether groups are laid out when somebody listens next, and not at once.

        On a CPU that costs seconds, which several adapters that come and go together, or at a program's start, then cost once.
        On a GPU it is a copy, and whether there is room has to be known now.
        """
        return bool(self.model.device.type == "cpu")

    def settle(self) -> None:
        """Lay out the groups that have changed, each whole or not at all: what is left stays to be done."""
        self.layout += bool(self.stale)
        for group in self.groups:  # in one order: how memory is laid out is the same every time
            if group in self.stale:
                group.lay_out(self.adapters)
                self.stale.remove(group)

    def move(self, device: torch.device) -> None:
        """Model and adapters onto `device`, group by group: beside what stays, no more than one group lies anywhere twice.

        A failure leaves a part of them moved, and nothing may be computed before another move has come to its end.
        """
        self.silence()
        self.layout += 1
        self.adapters = {
            name: {module: LowRank(pair.a.to(device), pair.b.to(device)) for module, pair in weights.items()}
            for name, weights in self.adapters.items()
        }
        for group in self.groups:
            group.move(device, self.adapters)
            self.stale.discard(group)
        self.model.to(device)  # the rest

    def size(self) -> int:
        """Bytes of what `move` moves, about: what several tensors share counts once, B in its wide form not at all."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        tensors += [tensor for weights in self.adapters.values() for pair in weights.values() for tensor in (pair.a, pair.b)]
        return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())

    @contextmanager
    def hearing(self, rows: Sequence[Mapping[str, float]]) -> Iterator[None]:
        """While inside, row i of every batch hears the adapters rows[i] (name -> strength)."""
        self.hear(rows)
        try:
            yield
        finally:
            self.silence()

    def hear(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Set the masks for batches of len(rows) rows."""
        unknown = {name for row in rows for name in row} - set(self.adapters)
        if unknown:
            raise EngineError(f"Adapter {sorted(unknown)[0]!r} is not loaded; there is {', '.join(self.adapters) or 'none'}.")
        self.heard = None  # should this fail half-way, nobody takes it for what was heard before
        self.settle()
        # groups with the same blocks share them
        masks: dict[tuple[Block, ...], tuple[torch.Tensor | None, torch.Tensor | None]] = {}
        for group in self.groups:
            group.silence()
            if group.blocks:
                if group.blocks not in masks:
                    mask = row_mask(rows, group.blocks, group.linears[0].weight.device, self.model.dtype)
                    masks[group.blocks] = mask, None if mask is None else mask != 0
                group.mask, heard = masks[group.blocks]
                group.heard = heard if group.overflows else None
        self.heard = rows

    def silence(self) -> None:
        """Back to the bare base."""
        self.heard = None
        for group in self.groups:
            group.silence()


def row_mask(
    rows: Sequence[Mapping[str, float]], blocks: Sequence[Block], device: torch.device, dtype: torch.dtype
) -> torch.Tensor | None:
    """(rows, 1, total rank) strengths in the order of the blocks, or None when nobody hears any of them."""
    strengths = torch.tensor([[float(row.get(name, 0.0)) for name, _ in blocks] for row in rows])
    if not strengths.any():
        return None
    widths = torch.tensor([rank for _, rank in blocks])
    return strengths.repeat_interleave(widths, dim=1).unsqueeze(1).to(device, dtype)
