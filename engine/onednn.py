"""Weights in oneDNN's own order: on a CPU, products of a few rows take about half the time.

A plain product has the weight put in order anew at every call; a packed one did so once. This is what torch's own compiler does
when it freezes a model. bf16 gains on every CPU that computes it. Of fp32 the library of plain products (MKL on x86, which
treats AMD badly) decides it, so that is timed, once in a process. Inference only: the packed product has no gradient.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from engine import room
from engine.device import cpu_computes

LIMIT = 1 << 30  # bytes of bf16 weights: with adapters there are three copies of them
SPARED = 4  # of fp32 there are two, and the second takes at most one part in so many of the free memory
TIMED = 1024  # rows and columns of the weight that is timed, 4 MiB
ROWS = (3, 8, 128)  # decoding and prefill; at one row the two are about alike
REPEATS = 8  # in all some 0.2 s
GAIN = 1.2  # less is no reason to hold a copy, and noise must not decide


class Packed:
    """A weight (out, in) in oneDNN's order; opaque, for `product` alone."""

    def __init__(self, weight: torch.Tensor) -> None:
        self.tensor: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)

    def __deepcopy__(self, _known: dict[int, Any]) -> Packed:
        return self  # nothing writes into it, and torch cannot copy it


def product(x: torch.Tensor, packed: Packed, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What F.linear(x, weight, bias) gives; without gradient."""
    return torch.ops.mkldnn._linear_pointwise.default(x, packed.tensor, bias, "none", [], "")


def is_worthwhile(model: nn.Module) -> bool:
    """Whether this model's layers gain from packing, and the copy has room."""
    weights = [tensor for tensor in model.parameters() if tensor.dim() == 2]
    kinds, size = {(tensor.device.type, tensor.dtype) for tensor in weights}, sum(tensor.nbytes for tensor in weights)
    if kinds == {("cpu", torch.float32)}:
        return size <= room.free_bytes("cpu") // SPARED and wins_in_fp32()
    # where oneDNN has no bf16, packing raises a RuntimeError
    return kinds == {("cpu", torch.bfloat16)} and is_there() and cpu_computes(torch.bfloat16) and size <= LIMIT


def takes(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)


def is_there() -> bool:
    """Whether this build of torch has the operator, which is not public, and may use it."""
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()


def wins_in_fp32() -> bool:
    """Whether packed products of fp32 are faster here than plain ones, at as many threads as there are now."""
    return is_there() and gain_in_fp32(torch.get_num_threads()) >= GAIN


@functools.cache
def gain_in_fp32(_threads: int) -> float:
    """How many times as fast as plain products the packed ones are: the geometric mean over `ROWS` of the shortest times."""
    weight = torch.ones(TIMED, TIMED)
    packed = Packed(weight)
    with torch.inference_mode():
        each = []
        for rows in ROWS:
            x = torch.ones(rows, TIMED)
            # in turn, and the shortest of each: what other programs do meets both, and only ever makes one longer
            turns = [(seconds(F.linear, x, weight), seconds(product, x, packed)) for _ in range(REPEATS + 1)][1:]
            plain, ours = (min(side) for side in zip(*turns, strict=True))
            each.append(math.log(plain / ours))
    return math.exp(sum(each) / len(each))


def seconds(work: Callable[[torch.Tensor, Any], torch.Tensor], x: torch.Tensor, weight: Any) -> float:
    began = time.perf_counter()
    work(x, weight)
    return time.perf_counter() - began
