"""The decode step as a CUDA graph: one launch instead of some thousand.

A step of a 7B model takes the GPU as long as its weights' bytes take to be read, a few milliseconds; launching its kernels one
by one from Python takes several times that. A graph is recorded for fixed addresses and shapes. So rows and columns are rounded
up to buckets, the batch's keys and values lie in one allocation (the arena) which all recorded graphs share, and the masks, the
positions and the column to write are tensors that every replay reads and moves on.

A graph is recorded when a step of its shape is asked for. That step is computed the usual way too, and the replay is compared
with it; where they differ, or where the recording fails, steps are computed the usual way from then on, and the log says why.
MIRROR_CUDA_GRAPH=1 switches it on. It is off by itself, as no GPU has run it yet: `python -m bench.gpu` shows both ways.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, Protocol

import torch
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from engine.bank import Bank
from engine.cache import RowsCache
from engine.groups import Block

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # above: multiples of 8
KEPT = 48  # graphs; each holds the parameters of its kernels, some MB for a 7B model

Replay = Callable[[], None]
Record = Callable[[Callable[[], torch.Tensor], Callable[[], None], Any], tuple[Replay, torch.Tensor]]
MaskKey = tuple[tuple[Block, ...], bool]  # the blocks that a mask is for, and whether it is one of a group that may overflow

log = logging.getLogger(__name__)


def rows_bucket(rows: int) -> int:
    return next((size for size in ROWS if size >= rows), -(-rows // 8) * 8)


def length_bucket(columns: int) -> int:
    """Multiples of 256 up to 1,024 columns, of 512 above: little is computed in vain, and few graphs are recorded."""
    block = 256 if columns <= 1024 else 512
    return -(-columns // block) * block


class Batch(Protocol):
    """What is needed of `engine.decode.Batch`."""

    rows: list[Any]
    cache: RowsCache | None
    real: torch.Tensor
    positions: torch.Tensor
    next_ids: list[int]
    heard: list[Any]

    def computed(self) -> torch.Tensor: ...


class FixedLayer(CacheLayerMixin):
    """One layer of the arena: keys and values (rows, heads, columns, head size); what is new goes to the column `at`, (1,)."""

    is_sliding = False

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, at: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.at, self.is_initialized = keys, values, at, True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        raise AssertionError("the arena is there before the layer is")

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys.index_copy_(2, self.at, key_states)
        self.values.index_copy_(2, self.at, value_states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return int(self.keys.shape[2])

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return int(self.keys.shape[2]), 0

    def get_max_length(self) -> int:
        return int(self.keys.shape[2])


@dataclass(eq=False)
class Recorded:
    """One graph and the tensors it reads at every replay. ids and positions: (rows, 1); mask: (rows, 1, 1, columns), added."""

    ids: torch.Tensor
    positions: torch.Tensor
    at: torch.Tensor
    mask: torch.Tensor
    bank_masks: dict[MaskKey, tuple[torch.Tensor, torch.Tensor | None]]
    replay: Replay | None = None
    logits: torch.Tensor | None = None  # (rows, vocabulary)


def record_cuda(forward: Callable[[], torch.Tensor], advance: Callable[[], None], pool: Any) -> tuple[Replay, torch.Tensor]:
    """Of what both launch, one after the other: the replay, and the tensor that it fills. pool: of the graphs' memory.

    `forward` is called twice before, as the libraries allocate what they need in their first calls.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):  # other threads may allocate meanwhile
        logits = forward()
        advance()
    return graph.replay, logits


def are_possible(model: PreTrainedModel, bank: Bank, ready_mask: bool) -> bool:
    """Whether steps of this model can be recorded: on CUDA, with one mask for all layers, and no quantised layer."""
    switched_on = os.environ.get("MIRROR_CUDA_GRAPH") == "1"
    return switched_on and model.device.type == "cuda" and ready_mask and all(group.plain for group in bank.groups)


class StepGraphs:
    """The graphs of one batch. record: as `record_cuda`."""

    def __init__(self, model: PreTrainedModel, bank: Bank, record: Record = record_cuda) -> None:
        self.model, self.bank, self.record = model, bank, record
        self.why_not = ""  # why steps are computed the usual way from now on; "" where they need not be
        self.clear()

    def clear(self) -> None:
        """Gives back the memory; what the batch's cache still shows of the arena stays until that lets go of it."""
        self.arena: torch.Tensor | None = None
        self.view = torch.empty(0)  # of the arena, in the current shape: (layers, 2, rows, heads, columns, head size)
        self.pool: Any = torch.cuda.graph_pool_handle() if self.model.device.type == "cuda" else None
        self.recorded: dict[tuple[object, ...], Recorded] = {}
        self.layout = self.bank.layout
        self.current: Recorded | None = None
        self.shape = (0, 0)
        self.placed: Sequence[object] | None = None  # for whose rows masks and positions were written
        self.refused: Sequence[object] | None = None  # for whose rows there is no room

    def logits(self, batch: Batch) -> torch.Tensor | None:
        """(rows, vocabulary) of the batch's next step, whose keys and values are written; None where it must be computed."""
        if self.why_not or batch.cache is None or self.refused is batch.heard:
            return None
        length = batch.cache.layers[0].length
        shape = rows_bucket(len(batch.rows)), length_bucket(length + 1)
        if self.bank.layout != self.layout:  # weights lie elsewhere now
            self.recorded, self.layout, self.placed = {}, self.bank.layout, None
        if self.placed is not batch.heard or self.shape != shape:
            self.current = None
            try:
                self.place(batch, shape)
            except torch.OutOfMemoryError:
                self.clear()
                self.refused = batch.heard
                return None
        current = self.current
        assert current is not None
        current.ids[: len(batch.rows), 0] = torch.tensor(batch.next_ids).to(current.ids.device, non_blocking=True)
        if current.replay is None:
            return self.recording(batch, current)
        current.replay()
        for layer in batch.cache.layers:
            layer.length += 1
        assert current.logits is not None
        return current.logits[: len(batch.rows)]

    def place(self, batch: Batch, shape: tuple[int, int]) -> None:
        """The batch's keys and values into the arena, and what a replay of this shape reads beside them."""
        assert batch.cache is not None
        rows, columns = shape
        layers: list[Any] = batch.cache.layers
        count, length = len(batch.rows), layers[0].length
        sides = [side[:, :, :length] for layer in layers for side in (layer.keys, layer.values)]
        whole = (len(layers), 2, rows, sides[0].shape[1], columns, sides[0].shape[3])
        if self.arena is None or self.arena.numel() < prod(whole):
            self.recorded = {}
            self.arena = sides[0].new_empty(prod(whole))
        elif any(storage(side) == storage(self.arena) for side in sides):
            sides = [side.clone() for side in sides]  # they would be overwritten while they are read
        view = self.arena[: prod(whole)].view(whole)
        # zeros: a masked column still meets the softmax, where a stray NaN would survive the mask
        view[:, :, count:].zero_()
        view[:, :, :count, :, length:].zero_()
        for at, layer in enumerate(layers):
            layer.keys, layer.values = view[at, 0, :count], view[at, 1, :count]
            layer.keys[:, :, :length], layer.values[:, :, :length] = sides[2 * at], sides[2 * at + 1]
        self.view, self.shape, self.placed = view, shape, batch.heard
        self.current = self.inputs(batch, shape)

    def inputs(self, batch: Batch, shape: tuple[int, int]) -> Recorded:
        rows, columns = shape
        count, length = batch.real.shape
        self.bank.hear([*batch.heard, *({} for _ in range(rows - count))])
        masks = {
            (group.blocks, group.overflows): (group.mask, group.heard) for group in self.bank.groups if group.mask is not None
        }
        key = (rows, columns, tuple(masks))
        device = batch.real.device
        if key not in self.recorded:
            if len(self.recorded) >= KEPT:
                del self.recorded[next(iter(self.recorded))]
            self.recorded[key] = Recorded(
                ids=torch.zeros(rows, 1, dtype=torch.long, device=device),
                positions=torch.zeros(rows, 1, dtype=torch.long, device=device),
                at=torch.zeros(1, dtype=torch.long, device=device),
                mask=torch.zeros(rows, 1, 1, columns, dtype=self.model.dtype, device=device),
                bank_masks={
                    one: (mask.clone(), None if heard is None else heard.clone()) for one, (mask, heard) in masks.items()
                },
            )
        found = self.recorded[key] = self.recorded.pop(key)  # the newest last
        for one, now in masks.items():
            for fixed, new in zip(found.bank_masks[one], now, strict=True):
                if fixed is not None:
                    fixed.copy_(new)
        found.ids.zero_()
        found.positions.zero_()
        found.positions[:count] = batch.positions
        found.at.fill_(length)
        # rows that are nobody's hear zeros everywhere: finite, whatever the softmax makes of it
        found.mask.zero_()
        found.mask[:count, 0, 0, :length].masked_fill_(~batch.real, float("-inf"))
        found.mask[:count, 0, 0, length + 1 :] = float("-inf")
        return found

    def recording(self, batch: Batch, current: Recorded) -> torch.Tensor:
        """The step as it is usually computed, and its graph beside it."""
        expected = batch.computed()
        try:
            self.hear_fixed(current)
            current.replay, current.logits = self.record(*self.computation(current), self.pool)
            current.replay()
            refuse_difference(current.logits[: len(batch.rows)], expected)
        except torch.OutOfMemoryError:
            self.clear()
            self.refused = batch.heard
        except Exception as error:  # whatever it is, the usual way works without it
            self.clear()
            self.why_not = f"Answers are decoded without CUDA graphs, which is slower: {type(error).__name__}: {error}"
            log.warning(self.why_not)
        finally:
            self.bank.silence()  # the masks were for the bucket's rows
        return expected

    def hear_fixed(self, current: Recorded) -> None:
        """The bank's groups read the masks that stay where they are."""
        self.bank.silence()
        for group in self.bank.groups:
            group.mask, group.heard = current.bank_masks.get((group.blocks, group.overflows), (None, None))

    def computation(self, current: Recorded) -> tuple[Callable[[], torch.Tensor], Callable[[], None]]:
        """The forward pass over the arena, and what moves its inputs on to the next step."""
        cache = Cache(layers=[FixedLayer(keys, values, current.at) for keys, values in self.view])
        last = self.view.shape[4] - 1

        def forward() -> torch.Tensor:
            logits: torch.Tensor = self.model(
                input_ids=current.ids,
                attention_mask=current.mask,
                position_ids=current.positions,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
            return logits

        def advance() -> None:
            current.at.add_(1).clamp_(max=last)  # at the end of the arena a wider shape is next
            current.mask.index_fill_(3, current.at, 0.0)
            current.positions.add_(1)

        return forward, advance


def storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage().data_ptr())


def refuse_difference(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Raises ArithmeticError where logits differ by more than two orders of one sum can: the root of the format's epsilon."""
    apart, largest = float((got - expected).abs().max()), float(expected.abs().max())
    if not apart <= sqrt(torch.finfo(expected.dtype).eps) * largest:
        raise ArithmeticError(f"its logits differ by {apart:.3g}, where the largest is {largest:.3g}")
