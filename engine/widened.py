"""16-bit weights on a CPU without 16-bit arithmetic: products in fp32, a part of the weight at a time.

torch's own kernels for that case take eight times as long as fp32 going forwards and thirty times backwards. Here each part
is widened where the processor's cache still holds it, so that memory is read once, in 16 bits, and no second copy of the
weights is needed. The result is rounded to the weights' format, as arithmetic of that format does it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from engine.device import cpu_computes

PART = 1 << 20  # numbers widened at once: 4 MiB; twice or half of it is no faster (docs/decisions.md)


def is_needed(tensor: torch.Tensor) -> bool:
    """Whether products of this tensor are best computed in fp32."""
    return tensor.device.type == "cpu" and not cpu_computes(tensor.dtype)


def widen(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in the number format that products of it are computed in: itself, or in fp32."""
    return tensor.float() if is_needed(tensor) else tensor


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """F.linear(x, weight, bias), in the dtype of x, which may be wider than the weight's where `is_needed`; without gradient."""
    if not is_needed(weight):
        return F.linear(x, weight, bias)
    y = x.new_empty(*x.shape[:-1], len(weight))
    wide = x.float()
    rows = max(1, PART // weight.shape[1])
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        y[..., part] = F.linear(wide, weight[part].float(), None if bias is None else bias[part].float())
    return y


def gradient_product(gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """gradient @ weight for a gradient (rows, out) and a weight (out, in), in the dtype of the gradient."""
    if not is_needed(weight):
        return gradient @ weight
    wide = gradient.float()
    total = torch.zeros(len(gradient), weight.shape[1])
    rows = max(1, PART // weight.shape[1])
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        total.addmm_(wide[:, part], weight[part].float())
    return total.to(gradient.dtype)
