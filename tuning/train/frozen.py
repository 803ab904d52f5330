"""A frozen weight's two products: forwards, and backwards to what came in. On a CPU where oneDNN's order wins, packed for both.

Backwards is another product with the transposed weight, so packing for training holds two more copies; only small bases get them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import nn

from engine import onednn, room, widened

SPARED = 2  # the copies may take one part in so many of the free memory: activations come on top


class Frozen:
    """The products with a weight (out, in) that does not learn."""

    def __init__(self, weight: torch.Tensor, packed: bool) -> None:
        self.weight, packed = weight, packed and onednn.takes(weight)
        self.forth = onednn.Packed(weight) if packed else None
        self.back = onednn.Packed(weight.t()) if packed else None

    def product(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """(rows, in) -> (rows, out), in the dtype of x."""
        return onednn.product(x, self.forth, bias) if self.forth else widened.product(x, self.weight, bias)

    def gradient_product(self, gradient: torch.Tensor) -> torch.Tensor:
        """(rows, out) -> (rows, in), in the dtype of the gradient."""
        if self.back:
            return onednn.product(gradient.contiguous(), self.back)
        return widened.gradient_product(gradient, self.weight)


class FrozenLinear(torch.autograd.Function):
    """F.linear with a frozen weight, by its own two products."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, frozen: Frozen, bias: torch.Tensor | None) -> torch.Tensor:
        """x (..., in) -> (..., out)"""
        ctx.frozen = frozen
        return frozen.product(x, bias)

    @staticmethod
    def backward(ctx, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        return ctx.frozen.gradient_product(upstream), None, None


def gains(model: nn.Module) -> bool:
    """Whether this base's products are worth packing here, and the copies have room."""
    weight = next(model.parameters())
    extra = extra_bytes(model, weight.device, weight.dtype)
    return 0 < extra <= room.free_bytes("cpu") // SPARED


def extra_bytes(model: nn.Module, device: torch.device, dtype: torch.dtype) -> int:
    """What packing for training takes, 0 where it gains nothing. The model may be on the meta device, or not in `dtype` yet."""
    if device.type != "cpu" or dtype != torch.float32:
        return 0
    weights = {id(one.weight): one.out_features * one.in_features for one in model.modules() if isinstance(one, nn.Linear)}
    size = dtype.itemsize * sum(weights.values())
    return 2 * size if size <= onednn.LIMIT and onednn.wins_in_fp32() else 0


def take_over(model: nn.Module, but: Collection[nn.Module]) -> None:
    """From now on the frozen linear layers, `but` those, compute with packed weights, until `release`."""
    for module in model.modules():
        if type(module) is nn.Linear and not module.weight.requires_grad and all(module is not one for one in but):
            module.forward = through(module, Frozen(module.weight, True))


def release(model: nn.Module) -> None:
    """The layers compute as they came."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__dict__.pop("forward", None)


def through(linear: nn.Linear, frozen: Frozen) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward for a frozen layer that no adapter is on."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        if x.dtype != linear.weight.dtype:
            return F.linear(x, linear.weight, linear.bias)
        found: torch.Tensor = FrozenLinear.apply(x, frozen, linear.bias)
        return found

    return forward
