"""The device's memory while answers are made: how many rows it holds, and what is said when it is not enough."""

from __future__ import annotations

import ctypes
import os

import torch

from engine import room
from engine.bases import Base

KEPT_SHARE = 1 / 4  # of what is free: the rest is for the rows that are decoded, for adapters, for a training beside
MOST_KEPT = 4 * 2**30  # bytes: 90,000 tokens of the small model in fp32, 8,000 of a 7B model in fp16


def rows_that_fit(base: Base, longest: int, most: int, limit: int | None, held: int) -> int:
    """How many rows of up to `longest` tokens to decode at once: `most`, or fewer where the GPU's memory holds fewer.

    limit: bytes that this process may hold on the GPU in all; None: what there is. held: bytes of the rows that are decoded now.
    """
    if base.device.type != "cuda":
        return most
    config = base.model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_token = 2 * config.num_hidden_layers * heads * size * base.dtype.itemsize
    free = free_on_gpu(base.device, limit) + held
    # twice: when rows join or leave, the old and the new cache stand side by side
    return max(1, min(most, int(free * 0.9 / (2 * per_token * longest))))


def free_on_gpu(device: torch.device, limit: int | None) -> int:
    """Bytes that this process may yet use there; limit: that it may hold in all."""
    free, _ = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    if limit is not None:
        free = max(0, min(free, limit - reserved))
    return int(free + reserved - torch.cuda.memory_allocated(device))


def bytes_to_keep(device: torch.device, limit: int | None, held: int) -> int:
    """How much of what was computed may be kept for later turns, where `held` bytes are so now. limit: as above."""
    free = free_on_gpu(device, limit) if device.type == "cuda" else room.free_bytes("cpu")
    return min(MOST_KEPT, int((free + held) * KEPT_SHARE))


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has an error type for it, but not for its libraries; the CPU allocator says it in a RuntimeError."""
    said = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in said)


def give_back(device: torch.device) -> None:
    """Has freed memory leave this process: allocators hold on to it for themselves."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif trim := getattr(ctypes.CDLL(None) if os.name == "posix" else None, "malloc_trim", None):  # glibc's
        trim(0)
