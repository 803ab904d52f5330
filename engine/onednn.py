"""Weights in oneDNN's own order: for bf16 on a CPU, products of a few rows take about half the time.

A plain product has oneDNN put the weight in order anew at every call; a packed one did so once. This is what
torch's own compiler does when it freezes a model. The price is a second copy of the weights, so only models
up to LIMIT are packed. Inference only: the packed product has no gradient.
"""

from __future__ import annotations

import torch
from torch import nn

from engine.device import cpu_computes

LIMIT = 1 << 30  # bytes of weights; a 7B model's second copy would not fit beside it


def is_worthwhile(model: nn.Module) -> bool:
    """Whether this model's layers gain from packing, and may."""
    weights = [tensor for tensor in model.parameters() if tensor.dim() == 2]
    return (
        hasattr(torch.ops.mkldnn, "_linear_pointwise")  # neither public nor in every build
        and torch.backends.mkldnn.is_available()
        and cpu_computes(torch.bfloat16)  # packing raises a RuntimeError where oneDNN has no bf16
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.bfloat16 for tensor in weights)
        and sum(tensor.nbytes for tensor in weights) <= LIMIT
    )


def pack(weight: torch.Tensor) -> torch.Tensor:
    """weight (out, in) in oneDNN's order; opaque, for `product` alone."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)


def product(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What F.linear(x, weight, bias) gives."""
    return torch.ops.mkldnn._linear_pointwise.default(x, packed, bias, "none", [], "")
