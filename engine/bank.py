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

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from engine import onednn, quantized, widened
from engine.adapter_keys import fold
from engine.adapters import LowRank
from engine.types import EngineError

# An input above this has failed by itself: RMSNorm squares what it reads, and the square is infinite in fp32 and bf16.
REACH = 1e19
Block = tuple[str, int]  # adapter, rank
Product = Callable[[torch.Tensor], torch.Tensor]


class Group:
    """Linear layers fed by one and the same tensor, computed together.

    weight is (out + total rank, in): the members' own weights, which become views of it, then all their A blocks,
    member by member. b is (total rank, out), zero where a block is not a member's. A layer that is no plain
    nn.Linear (quantised on a GPU) or is tied to the embeddings is alone in its group and keeps its own weight; for it
    weight is A only. So it is for members whose weights are packed in fp32 or int8, all of a group in one copy, made once.
    """

    def __init__(self, names: list[str], linears: list[nn.Linear], *, own_weight: bool, plain: bool, packed: bool) -> None:
        self.names, self.linears, self.own_weight, self.plain, self.packed = names, linears, own_weight, plain, packed
        self.apart = own_weight  # the base's product and A's are two
        self.out = sum(linear.out_features for linear in linears)
        self.blocks: tuple[Block, ...] = ()  # in the order of the rows of A
        self.base: Product | None = None  # the members' outputs, None: the layer's own forward
        self.wide: Any = None  # Product, where there is an A: the same and A's, or A's alone where the layer keeps its own weight
        self.up: Any = None  # Product, where there is a B: hidden -> outputs
        self.mask: torch.Tensor | None = None  # (rows, 1, total rank), None: no row hears anything here
        self.heard: torch.Tensor | None = None  # where the mask is not 0; only where `overflows`
        self.overflows = False  # x A^T may be infinite for an ordinary x
        self.input: torch.Tensor | None = None
        self.result: Any = None  # a tensor, while members still have to read it
        self.left = 0  # how many
        self.laid_out = False  # until then each layer computes for itself
        start = 0
        for linear in linears:
            linear.__class__ = grouped_class(linear.__class__)
            linear.group, linear.section = self, slice(start, start + linear.out_features)
            start += linear.out_features

    def lay_out(self, adapters: Mapping[str, Mapping[str, LowRank]]) -> None:
        """Weights, A and B for these adapters; costs one copy of the group's weights."""
        first = self.linears[0]
        a, b, blocks = [], [], []
        for name, linear in zip(self.names, self.linears, strict=True):
            for adapter, weights in adapters.items():
                if name in weights:
                    pair = weights[name]
                    up = pair.b.new_zeros(self.out, pair.b.shape[1])
                    up[linear.section] = pair.b
                    a.append(pair.a)
                    b.append(up)
                    blocks.append((adapter, pair.a.shape[0]))
        base = wide = None
        packed = self.packed and onednn.takes(first.weight)
        apart = self.own_weight or (packed and first.weight.dtype == torch.float32)
        if apart:
            if isinstance(first, quantized.Int8Linear):
                base = self.base or quantized.join(self.linears)
            elif packed or (self.plain and widened.is_needed(first.weight)):
                base = self.base or product(self.weights(), self.biases(self.out), packed)
            wide = product(torch.cat(a), None, packed) if a else None
        else:
            weight = torch.cat([*(linear.weight.data for linear in self.linears), *a])
            bias = self.biases(weight.shape[0])
            base = product(weight[: self.out], None if bias is None else bias[: self.out], packed)
            wide = product(weight, bias, packed) if a else None
        up = product(torch.cat(b, dim=1), None, packed) if b else None
        overflows = any(may_overflow(one) for one in a)
        # everything is allocated: from here on nothing can fail
        self.base, self.wide, self.up, self.blocks, self.mask = base, wide, up, tuple(blocks), None
        self.heard, self.overflows, self.apart, self.laid_out = None, overflows, apart, True
        if not apart:
            for linear in self.linears:
                linear.weight.data = weight[linear.section]

    def move(self, device: torch.device, adapters: Mapping[str, Mapping[str, LowRank]]) -> None:
        """The layers onto `device`, and laid out anew there; `adapters` are there already."""
        self.base = self.wide = self.up = None  # they hold the old weights
        for linear in self.linears:
            linear.to(device)
        self.lay_out(adapters)

    def weights(self) -> torch.Tensor:
        """The members' own weights, (out, in); a single one as it lies there."""
        each = [linear.weight.data for linear in self.linears]
        return each[0] if len(each) == 1 else torch.cat(each)

    def biases(self, rows: int) -> torch.Tensor | None:
        """The members' biases and zeros for the rows of A, (rows,), or None if no member has one."""
        if all(linear.bias is None for linear in self.linears):
            return None
        bias = self.linears[0].weight.new_zeros(rows)
        for linear in self.linears:
            if linear.bias is not None:
                bias[linear.section] = linear.bias.data
        return bias

    def output(self, x: torch.Tensor, linear: nn.Linear) -> torch.Tensor:
        """This member's part of the group's result, which the member that asks first computes for all."""
        if not self.laid_out:
            return linear.plain(x)
        if self.input is not x:
            self.input, self.result, self.left = x, self.compute(x, linear), len(self.linears)
        mine = self.result[..., linear.section]
        self.left -= 1
        if self.left == 0:  # a long prefill's activations must not stay until the next step
            self.input = self.result = None
        return mine

    def compute(self, x: torch.Tensor, linear: nn.Linear) -> torch.Tensor:
        if self.mask is None:
            return self.base(x) if self.base else linear.plain(x)
        if self.apart:
            y, hidden = self.base(x) if self.base else linear.plain(x), self.wide(x)
        else:
            wide = self.wide(x)
            y, hidden = wide[..., : self.out], wide[..., self.out :]
        rows = self.mask.shape[0]
        heard = hidden.view(rows, -1, hidden.shape[-1]) * self.mask  # some models flatten rows and tokens
        if self.heard is not None:
            heard = heard.where(self.heard, 0.0)
        return self.up(heard.view(hidden.shape)).add_(y)

    def silence(self) -> None:
        self.mask = self.heard = self.input = self.result = None


def may_overflow(a: torch.Tensor) -> bool:
    """Whether an input that is no failure by itself can make x A^T infinite. a: (rank, in)."""
    return a.dtype == torch.float16 or bool(a.float().abs().sum(1).max() > torch.finfo(a.dtype).max / REACH)


def product(weight: torch.Tensor, bias: torch.Tensor | None, packed: bool) -> Product:
    """x -> x weight^T + bias."""
    if packed:
        return functools.partial(onednn.product, packed=onednn.Packed(weight), bias=bias)
    return functools.partial(widened.product if widened.is_needed(weight) else F.linear, weight=weight, bias=bias)


@functools.cache
def grouped_class(kind: type[nn.Linear]) -> type[nn.Linear]:
    """The class of a layer in a group: the same layer, asking its group for the result."""
    if hasattr(kind, "section"):  # a second bank over the same model
        return kind

    class Grouped(kind):
        group: Group
        section: slice = slice(0)

        def plain(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.group.output(x, self)

    Grouped.__name__ = Grouped.__qualname__ = f"Grouped{kind.__name__}"
    return Grouped


FUSABLE = tuple(kind for one in (nn.Linear, quantized.Int8Linear) for kind in (one, grouped_class(one)))


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


def make_group(model: nn.Module, linears: Mapping[str, nn.Linear], names: list[str], packed: bool) -> Group:
    first = linears[names[0]]
    plain = type(first) in (nn.Linear, grouped_class(nn.Linear))
    own_weight = isinstance(first, quantized.Int8Linear) or (len(names) == 1 and not is_fusable(model, first))
    return Group(names, [linears[name] for name in names], own_weight=own_weight, plain=plain, packed=packed and plain)


def is_fusable(model: nn.Module, linear: nn.Linear) -> bool:
    """Whether the layer's weight may become a view of a wider tensor: not if bitsandbytes', nor if tied to the embeddings."""
    embeddings = model.get_input_embeddings().weight if hasattr(model, "get_input_embeddings") else None
    return type(linear) in FUSABLE and linear.weight is not embeddings


def zeros(linear: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """In place of the layer's output, (..., out)."""
    return x.new_zeros(*x.shape[:-1], linear.out_features)


def names_by_input(model: nn.Module, linears: Mapping[str, nn.Linear]) -> list[list[str]]:
    """Which layers read the same tensor, learnt by running one token and comparing the inputs' identities.

    No layer computes meanwhile, for what one of them reads is asked and not what is in it: on a CPU all products of the first
    token, with weights that are only just being read, take a second and more.
    """
    seen: dict[tuple[object, ...], list[str]] = {}
    alive = []  # an id is only unique while its tensor lives

    def watch(name: str, linear: nn.Linear) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
            x = args[0] if args else next(iter(named.values()))
            alive.append(x)
            # layers that cannot be fused stay alone
            kind = (linear.weight.dtype, linear.weight.device) if is_fusable(model, linear) else name
            names = seen.setdefault((id(x), kind), [])
            if name not in names:
                names.append(name)

        return hook

    hooks = [one.register_forward_pre_hook(watch(name, one), with_kwargs=True) for name, one in linears.items()]
    own = {name: vars(one).get("forward") for name, one in linears.items()}  # an accelerate hook's, where a model is spread
    try:
        for one in linears.values():
            one.forward = functools.partial(zeros, one)
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
        for name, one in linears.items():
            vars(one).pop("forward", None)
            if own[name]:
                one.forward = own[name]
    inputs = Counter(name for names in seen.values() for name in names)
    # a layer used on several inputs belongs to none of them
    groups = [kept for names in seen.values() if (kept := [name for name in names if inputs[name] == 1])]
    watched = {name for names in groups for name in names}
    return groups + [[name] for name in linears if name not in watched]
