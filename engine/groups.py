"""Layers that read one input, computed together: what the bank is made of. See `engine.bank`."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from engine import onednn, quantized, widened
from engine.adapters import LowRank

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
