"""What the machine is, and what its memory and its matrix units can do: what everything else is measured against."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from bench.gpu.session import Session

PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "sentencepiece", "tokenizers", "bitsandbytes", "trl")
COPIED = 4 << 30  # bytes; far more than any GPU's L2
COPIED_SMALL = 64 << 20
MATRIX, MATRIX_SMALL = 8192, 512


def run(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = {
        "device": str(session.device),
        "dtype": session.dtype_name,
        "python": platform.python_version(),
        "packages": {name: installed(name) for name in PACKAGES},
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if session.on_gpu:
        found |= gpu(session.device)
    else:
        found |= {"name": f"{platform.machine()} CPU", "capability": None}
    found["bandwidth"] = bandwidth(session)
    found["matmul"] = matmul(session)
    return found


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gpu(device: torch.device) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(device)
    return {
        "name": about.name,
        "capability": f"{about.major}.{about.minor}",
        "memory_gib": about.total_memory / 2**30,
        "free_gib": torch.cuda.mem_get_info(device)[0] / 2**30,
        "multiprocessors": about.multi_processor_count,
        "built_for": torch.cuda.get_arch_list(),
        "cuda": torch.version.cuda,
        "driver": driver(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def driver() -> str | None:
    """As nvidia-smi says it, with clocks; None where there is none."""
    if not (program := shutil.which("nvidia-smi")):
        return None
    ask = [program, "--query-gpu=driver_version,clocks.max.sm,clocks.max.memory,power.limit", "--format=csv,noheader"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.strip().splitlines()[0] if said.returncode == 0 and said.stdout.strip() else None


def bandwidth(session: Session) -> dict[str, Any]:
    """GB/s. A copy counts what it reads and what it writes; reading is the fastest of a sum, a maximum and a matrix product."""
    size = COPIED_SMALL
    if session.on_gpu:
        size = min(COPIED, torch.cuda.mem_get_info(session.device)[0] // 4)
    first = torch.ones(size // 4, dtype=torch.float32, device=session.device)
    copied = copy_rate(session, first, torch.empty_like(first))
    halves = first.view(session.dtype)
    halves = halves[: len(halves) // 8192 * 8192].view(-1, 8192)
    vector = torch.ones(8192, 1, dtype=session.dtype, device=session.device)
    ways: dict[str, Callable[[], object]] = {"sum": first.sum, "maximum": first.amax, "matrix x vector": lambda: halves @ vector}
    read = {name: first.nbytes / session.seconds_of(way, calls=5) / 1e9 for name, way in ways.items()}
    return {"bytes": first.nbytes, "copy": copied, "read": max(read.values()), "read_by": read}


def copy_rate(session: Session, first: torch.Tensor, second: torch.Tensor) -> float:
    return 2 * first.nbytes / session.seconds_of(lambda: second.copy_(first)) / 1e9


def matmul(session: Session) -> dict[str, Any]:
    """TFLOP/s of a square product of random numbers in the chosen format."""
    size = MATRIX if session.on_gpu else MATRIX_SMALL
    one, other = (torch.randn(size, size, device=session.device).to(session.dtype) for _ in range(2))
    seconds = session.seconds_of(lambda: one @ other, calls=5)
    return {"size": size, "dtype": session.dtype_name, "tflops": 2 * size**3 / seconds / 1e12}
