"""What every part shares: the device, the time that is left, the results and where they are kept."""

from __future__ import annotations

import gc
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from common.files import write_json

if TYPE_CHECKING:
    from bench.gpu.models import Big


@dataclass
class Session:
    """One run. folder: for what it writes, removed at its end. until: of time.monotonic(). big: once a part has needed it."""

    device: torch.device
    dtype: torch.dtype
    dtype_name: str
    folder: Path
    until: float
    file: Path | None = None
    results: dict[str, Any] = field(default_factory=dict)
    big: Big | None = None
    folders: list[Path] = field(default_factory=list)  # further ones, to be removed, too

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def say(self, text: str) -> None:
        print(f"[{self.left():5.0f} s left] {text}", flush=True)

    def save(self) -> None:
        """The results so far: a run that is cut keeps what it has measured."""
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.file, self.results)

    def attempt(self, place: dict[str, Any], name: str, work: Callable[[], Any], needs: float = 0.0) -> None:
        """place[name] = work(), or why there is none: a fault ends nothing but itself, and what stood there stays beside it.

        needs: seconds that must be left.
        """
        if self.left() < needs:
            place[name] = {"skipped": f"{self.left():.0f} s were left, and {needs:.0f} are to be kept for it and what follows"}
            self.say(f"{name}: skipped, {place[name]['skipped']}")
        else:
            began = time.monotonic()
            try:
                place[name] = work()
            except Exception as error:
                there = place.get(name)
                told = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
                place[name] = (there if isinstance(there, dict) else {}) | told
                print(place[name]["traceback"], file=sys.stderr, flush=True)
            if isinstance(place[name], dict):
                place[name].setdefault("took_s", round(time.monotonic() - began, 2))
        self.save()

    # --- clocks and memory

    def sync(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def seconds_of(self, work: Callable[[], object], calls: int = 10, repeats: int = 5) -> float:
        """Of one call: the median of `repeats` measurements of so many calls each; the first ones warm up."""
        for _ in range(2):
            work()
        taken = []
        for _ in range(repeats):
            self.sync()
            began = time.perf_counter()
            for _ in range(calls):
                work()
            self.sync()
            taken.append((time.perf_counter() - began) / calls)
        return statistics.median(taken)

    def tidy(self) -> None:
        """What nobody holds any more goes back to the device."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()

    def allocated(self) -> int:
        """Bytes of tensors on the GPU; 0 without one."""
        return torch.cuda.memory_allocated(self.device) if self.on_gpu else 0

    def begin_peak(self) -> None:
        self.tidy()
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak_gib(self) -> float:
        """Most that was allocated on the device since `begin_peak`; without a GPU of the process since its beginning."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated(self.device) / 2**30
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux says KiB
