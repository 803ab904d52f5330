"""The adapter bank: every resident adapter in one wide low-rank pair per layer, a mask per batch row.

For a linear layer y = x W^T, all adapters' A are stacked (total rank, in) and all B (total rank, out):

    y + ((x A^T) * mask) B        mask (rows, 1, total rank)

The mask says which block each row hears and how loudly: 1 is the adapter, 0.5 is half of it, two blocks are
a blend, all zero is the base. Switching is a new mask. PEFT's mixed batches loop over the adapters in every
layer instead; punica and S-LoRA gather per row in CUDA kernels for Ampere and up.

Layers that read the same input (q, k, v; gate, up) share one A product.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import nn

from engine.adapters import LowRank
from engine.types import EngineError

Block = tuple[str, int]  # adapter, rank


class Group:
    """Linear layers fed by one and the same tensor. Their A blocks lie below each other, member by member."""

    def __init__(self, members: list[str]) -> None:
        self.members = members
        self.a: torch.Tensor | None = None  # (total rank of all members, in)
        self.layout: tuple[tuple[Block, ...], ...] = ()  # per member, its blocks in order
        self.mask: torch.Tensor | None = None  # (rows, 1, total rank), None: no row hears anything here
        self.input: torch.Tensor | None = None
        self.hidden: torch.Tensor | None = None
        self.left = 0  # members that still have to read `hidden`
        self.active = 0  # members with at least one adapter

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """(x A^T) * mask, (rows, tokens, total rank), computed by the first member that asks and read by all."""
        if self.input is not x:
            self.input, self.hidden, self.left = x, F.linear(x, self.a).mul_(self.mask), self.active
        hidden = self.hidden
        self.left -= 1
        if self.left == 0:  # a long prefill's activations must not stay until the next step
            self.input = self.hidden = None
        return hidden

    def silence(self) -> None:
        self.mask = self.input = self.hidden = None


class Bank:
    """Adapters over one model. Not thread-safe: the engine's lock guards every call."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        self.adapters: dict[str, dict[str, LowRank]] = {}  # on the base's device, in its dtype
        self.groups: list[Group] | None = None  # found by watching one forward pass, when first needed

    def add(self, name: str, weights: Mapping[str, LowRank]) -> None:
        """Make an adapter resident. Nothing changes if it does not fit. Raises EngineError."""
        self.check(name, weights)
        if name in self.adapters:
            raise EngineError(f"An adapter named {name!r} is already loaded; remove it first or give another name.")
        placed = {}
        for module, pair in weights.items():
            like = self.linears[module]
            device, dtype = like.weight.device, self.model.dtype
            placed[module] = LowRank(pair.a.to(device, dtype), pair.b.to(device, dtype))
        if self.groups is None:
            self.groups = watch_groups(self.model, self.linears)
        self.rebuild(self.adapters | {name: placed})

    def check(self, name: str, weights: Mapping[str, LowRank]) -> None:
        """Raise EngineError if the update does not fit this model's linear layers."""
        for module, pair in weights.items():
            linear = self.linears.get(module)
            if linear is None:
                raise EngineError(f"Adapter {name!r} belongs to another base: it changes {module}, which is not in this model.")
            ours, theirs = (linear.out_features, linear.in_features), (pair.b.shape[0], pair.a.shape[1])
            if ours != theirs:
                raise EngineError(f"Adapter {name!r} belongs to another base: {module} is {ours} here and {theirs} there.")

    def remove(self, name: str) -> None:
        if name not in self.adapters:
            raise EngineError(f"No adapter named {name!r} is loaded; there is {', '.join(self.adapters) or 'none'}.")
        self.rebuild({other: weights for other, weights in self.adapters.items() if other != name})

    def rebuild(self, adapters: dict[str, dict[str, LowRank]]) -> None:
        """Lay all blocks out anew. Wide tensors are made before any layer is touched: out of memory changes nothing."""
        plan = []
        for group in self.groups or []:
            layout, a_blocks, wide_b = [], [], {}
            for member in group.members:
                blocks = [(name, weights[member]) for name, weights in adapters.items() if member in weights]
                layout.append(tuple((name, pair.a.shape[0]) for name, pair in blocks))
                a_blocks += [pair.a for _, pair in blocks]
                if blocks:
                    wide_b[member] = torch.cat([pair.b for _, pair in blocks], dim=1).t().contiguous()
            plan.append((group, tuple(layout), torch.cat(a_blocks) if a_blocks else None, wide_b))
        for group, layout, a, wide_b in plan:
            group.layout, group.a, group.active = layout, a, len(wide_b)
            start = 0
            for member, blocks in zip(group.members, layout, strict=True):
                width = sum(rank for _, rank in blocks)
                self.linears[member].__dict__.pop("forward", None)
                if width:
                    widen(self.linears[member], group, wide_b[member], start, start + width)
                start += width
        self.adapters = adapters

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
        masks: dict[tuple, torch.Tensor | None] = {}  # layers with the same layout share one
        for group in self.groups or []:
            group.silence()
            if group.a is not None:
                if group.layout not in masks:
                    masks[group.layout] = row_mask(rows, group.layout, group.a)
                group.mask = masks[group.layout]

    def silence(self) -> None:
        """Back to the bare base."""
        for group in self.groups or []:
            group.silence()


def row_mask(
    rows: Sequence[Mapping[str, float]], layout: tuple[tuple[Block, ...], ...], like: torch.Tensor
) -> torch.Tensor | None:
    """(rows, 1, total rank) strengths in the order of the blocks, or None when nobody hears any of them."""
    blocks = [block for member in layout for block in member]
    strengths = torch.tensor([[float(row.get(name, 0.0)) for name, _ in blocks] for row in rows])
    if not strengths.any():
        return None
    widths = torch.tensor([rank for _, rank in blocks])
    return strengths.repeat_interleave(widths, dim=1).unsqueeze(1).to(like.device, like.dtype)


def widen(linear: nn.Linear, group: Group, wide_b: torch.Tensor, start: int, end: int) -> None:
    """Give one layer a forward of its own; `del linear.forward` (here: popping it) restores the class's."""
    plain = type(linear).forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = plain(linear, x)
        if group.mask is None:
            return y
        hidden = group.project(x)[..., start:end]
        # in place: y is fresh from the matmul, and nobody trains through the bank
        y.view(-1, y.shape[-1]).addmm_(hidden.reshape(-1, end - start), wide_b)
        return y

    linear.forward = forward


def watch_groups(model: nn.Module, linears: Mapping[str, nn.Linear]) -> list[Group]:
    """Which layers read the same tensor, learnt by running one token and comparing the inputs' identities."""
    seen: dict[int, list[str]] = {}
    alive = []  # an id is only unique while its tensor lives

    def watch(name: str):
        def hook(_module: nn.Module, args: tuple) -> None:
            alive.append(args[0])
            seen.setdefault(id(args[0]), []).append(name)

        return hook

    hooks = [linear.register_forward_pre_hook(watch(name)) for name, linear in linears.items()]
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    grouped = [list(dict.fromkeys(names)) for names in seen.values()]
    watched = {name for names in grouped for name in names}
    return [Group(names) for names in grouped] + [Group([name]) for name in linears if name not in watched]
