"""What grows with what: measured points, the exponent between neighbours, and where it is worse than linear."""

from __future__ import annotations

import ctypes
import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# An exponent above this is marked. Not 1: two figures of a few per cent more or less, a factor of two apart, make that much.
LINEAR = 1.15
# Below these a figure is more the clock's, and that of memory which was freed and is used again, than the program's.
FLOOR = {"ms": 1.0, "MiB": 16.0}
REPEATS = 5
MOST_S = 3.0  # after which nothing is repeated


@dataclass
class Series:
    """One thing that is done, or held, at several sizes. unit: ms or MiB; against: what the sizes count."""

    part: str
    name: str
    against: str
    unit: str = "ms"
    sizes: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, size: int, value: float | None) -> None:
        if value is not None:
            self.sizes.append(size)
            self.values.append(value)

    def exponents(self) -> list[float | None]:
        """Slopes in log-log between neighbours; None where the greater of the two is below the floor."""
        points = list(zip(self.sizes, self.values, strict=True))
        found: list[float | None] = []
        for (size, value), (next_size, next_value) in itertools.pairwise(points):
            low = FLOOR[self.unit]
            told = next_value >= low and value > 0
            # what is under the floor counts as the floor: it may have been anything below it
            found.append(math.log(next_value / max(value, low)) / math.log(next_size / size) if told else None)
        return found

    def worse(self) -> list[int]:
        """The sizes up to which it grew worse than linearly from the one before."""
        slopes = zip(self.sizes[1:], self.exponents(), strict=True)
        return [size for size, slope in slopes if slope is not None and slope > LINEAR]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"exponents": self.exponents(), "worse_than_linear": self.worse()}


def read(plain: dict[str, Any]) -> Series:
    return Series(**{name: plain[name] for name in ("part", "name", "against", "unit", "sizes", "values")})


class Board:
    """Series by name, made when they are first added to."""

    def __init__(self, part: str, against: str) -> None:
        self.part, self.against = part, against
        self.found: dict[str, Series] = {}

    def add(self, name: str, size: int, value: float | None, unit: str = "ms") -> None:
        self.found.setdefault(name, Series(self.part, name, self.against, unit)).add(size, value)

    def took(self, name: str, size: int, act: Callable[[], object], repeats: int = REPEATS) -> Any:
        """Times `act` under that name; what it gave last."""
        result, taken = timed(act, repeats)
        self.add(name, size, statistics.median(taken) * 1e3)
        return result

    def held(self, name: str, size: int, act: Callable[[], object]) -> Any:
        """What `act` takes of memory at its peak, above what there was; what it gave."""
        with peak() as found:
            result = act()
        self.add(name, size, found.mib, "MiB")
        return result


Done = Callable[[Board, int], None]  # what is called when everything of a size is measured


def timed(act: Callable[[], object], repeats: int = REPEATS) -> tuple[Any, list[float]]:
    """(what it gave last, seconds of each time); it is not repeated once that has taken long enough."""
    taken: list[float] = []
    result: Any = None
    while len(taken) < repeats and sum(taken) < MOST_S:
        result = None  # the one before is not to lie beside the next
        start = time.perf_counter()
        result = act()
        taken.append(time.perf_counter() - start)
    return result, taken


@dataclass
class Peak:
    """mib: None where this system does not tell."""

    mib: float | None = None


@contextmanager
def peak() -> Iterator[Peak]:
    """Resident memory at its highest while inside, above what it was: Linux only (proc(5): clear_refs, VmHWM)."""
    found, before = Peak(), resident()
    cleared = False
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        cleared = True
    yield found
    if cleared and before is not None and (highest := status("VmHWM")) is not None:
        found.mib = max(0.0, highest - before)


def resident() -> float | None:
    """MiB, without what was freed and is only held on to: else that is used again, and nothing seems to be needed."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return status("VmRSS")


def status(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{key}:")), None)


def figure(value: float) -> str:
    """Three digits that matter."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(found: Sequence[Series]) -> str:
    """Markdown: of every series the first size and the last, and how it grows; what is worse than linear in bold."""
    lines = ["| what | against | from | to | exponents |", "|---|---|---|---|---|"]
    for one in found:
        if not one.sizes:
            continue
        first, last = (f"{figure(one.values[at])} {one.unit} at {one.sizes[at]:,}" for at in (0, -1))
        slopes = ["–" if slope is None else f"**{slope:.2f}**" if slope > LINEAR else f"{slope:.2f}" for slope in one.exponents()]
        lines.append(f"| {one.name} | {one.against} | {first} | {last} | {' '.join(slopes)} |")
    return "\n".join(lines)
