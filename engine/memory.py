"""The device's memory while answers are made: how many rows it holds, and what is said when it is not enough."""

from __future__ import annotations

import torch

from engine.bases import Base
from engine.decode import Batch


def rows_that_fit(base: Base, longest: int, most: int, limit: int | None, batch: Batch) -> int:
    """How many rows of up to `longest` tokens to decode at once: `most`, or fewer where the GPU's memory holds fewer.

    limit: bytes that this process may hold on the GPU in all; None: what there is. batch: of the rows that are decoded now.
    """
    if base.device.type != "cuda":
        return most
    config = base.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * size * base.dtype.itemsize
    free, _ = torch.cuda.mem_get_info(base.device)
    reserved = torch.cuda.memory_reserved(base.device)
    if limit is not None:
        free = max(0, min(free, limit - reserved))
    free += reserved - torch.cuda.memory_allocated(base.device)
    free += batch.cache_bytes()  # it holds the rows of which we speak
    # twice: when rows join or leave, the old and the new cache stand side by side
    return max(1, min(most, int(free * 0.9 / (2 * per_token * longest))))


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has an error type for it, but not for its libraries; the CPU allocator says it in a RuntimeError."""
    said = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in said)
