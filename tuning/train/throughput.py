"""How many rows a second this machine trains: the base's own matrix products, and what stands between them, timed for a moment.

Forwards and backwards, each in shapes that the training has.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F

from engine import widened
from engine.bases import Base
from tuning.train.batches import pack_batch
from tuning.train.packing import Share
from tuning.train.samples import Sample

# What a layer takes beside its products with frozen weights (attention, norms, activations, the adapter's pairs): for each token
# so many times an activation of its widest outputs in fp32, and for each pack, however small, so many calls of one. A share of
# the step would not do: on some CPUs products in bf16 are ten times as fast as on others, and the rest is not.
PASSES, CALLS = 9.0, 170.0  # docs/decisions.md
MOMENT = 0.03  # seconds that each shape is timed for
WORK = 1e9  # operations of one timed product at most: a form waits for the answer
FEWEST = 32  # rows; fewer are slower for each
TYPICAL = 8  # steps that stand for all


class Throughput(NamedTuple):
    """tokens_per_row: those that are computed; what rows of a pack share counts once."""

    rows_per_s: float
    tokens_per_row: float


def measure_throughput(base: Base, batches: Sequence[Sequence[Sample]], budget: int, share: Share) -> Throughput:
    """From what these batches cost here and now, in the base's dtype and shapes."""
    packs = [one for batch in batches for one in pack_batch(batch, budget, share).packs]
    head = base.model.get_output_embeddings()
    linears = [m for m in base.model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    # a quantised weight has another shape than its layer
    shapes = Counter((m.out_features, m.in_features) for m in linears)
    some = {(m.out_features, m.in_features): m.weight for m in linears}
    nodes, kept = sum(pack.nodes for pack in packs), sum(len(pack.keep) for pack in packs)
    most = max(pack.nodes for pack in packs)
    a_row = sum(times * seconds_per_row(some[shape], shape, most, base) for shape, times in shapes.items())
    of_head = seconds_per_row(head.weight, (head.out_features, head.in_features), -(-kept // len(packs)), base)
    layers, wide = base.model.config.num_hidden_layers, max(out for out, _ in shapes)
    many = max(FEWEST, int(WORK // (400 * wide)))  # more than a cache holds, as what a layer keeps for its way back is
    between = layers * PASSES * seconds_between(wide, many, base) / many
    of_pack = layers * CALLS * seconds_between(wide, 1, base)
    rows = sum(map(len, batches))
    return Throughput(rows / (nodes * (a_row + between) + kept * of_head + len(packs) * of_pack), nodes / rows)


def typical_steps(order: Sequence[Sequence[int]], lengths: Sequence[float]) -> list[Sequence[int]]:
    """Of all steps, each as the numbers of its rows, some that stand for them: from the shortest to the longest, evenly.

    lengths: of the rows, in tokens, about. One step alone may be far from the mean: batches of rows of like length differ in
    their tokens, and in how many of their rows are equal and computed once.
    """
    by_length = sorted(order, key=lambda step: sum(lengths[row] for row in step))
    count = min(TYPICAL, len(by_length))
    return [by_length[(2 * at + 1) * len(by_length) // (2 * count)] for at in range(count)]


def seconds_per_row(weight: torch.Tensor, shape: tuple[int, int], rows: int, base: Base) -> float:
    """Seconds of `x @ weight.T` and `gradient @ weight` for one of so many rows."""
    if weight.dtype != base.dtype or tuple(weight.shape) != shape:
        weight = torch.ones(shape, dtype=base.dtype, device=base.device)
    rows = max(1, min(rows, max(FEWEST, int(WORK // (4 * shape[0] * shape[1])))))
    x = torch.ones(rows, shape[1], dtype=base.dtype, device=base.device)
    gradient = torch.ones(rows, shape[0], dtype=base.dtype, device=base.device)

    def both() -> None:
        widened.product(x, weight)
        widened.gradient_product(gradient, weight)

    with torch.inference_mode():
        return usual_seconds(both, base.device) / rows


def seconds_between(wide: int, rows: int, base: Base) -> float:
    """Seconds of a gated activation in fp32, forwards and backwards, for so many rows of so many outputs."""
    gate, up = (torch.ones(rows, wide, device=base.device, requires_grad=True) for _ in range(2))
    gradient = torch.ones(rows, wide, device=base.device)

    def both() -> None:
        torch.autograd.grad(F.silu(gate) * up, (gate, up), gradient)

    with torch.enable_grad():
        return usual_seconds(both, base.device)


def usual_seconds(work: Callable[[], None], device: torch.device) -> float:
    """The median of as many calls as a moment holds: one that had to wait for other work says nothing. The first one warms up."""

    def done() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    work()
    times = [done()]
    while len(times) < 2 or times[-1] - times[0] < MOMENT:
        work()
        times.append(done())
    return statistics.median(after - before for before, after in pairwise(times))
