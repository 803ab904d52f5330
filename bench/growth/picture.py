"""The series as small multiples: time above, memory below, both axes logarithmic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.growth.series import LINEAR, Series, figure

UNITS = ("ms", "MiB")
COLOURS = ("#0b5d7a", "#c2571a", "#3f7d3a", "#7a4b9a", "#a0284f", "#8a6d00", "#2d6cc0", "#5b5b5b", "#00857c", "#b3423a",
           "#5a5fa8", "#7d5a3c", "#93a800", "#1f1f1f")  # fmt: skip
WORSE = "#d00000"


def draw(found: Sequence[Series], title: str, path: Path) -> Path:
    """One column for each part. The ending of `path` says whether it becomes PNG or SVG."""
    parts = list(dict.fromkeys(one.part for one in found))
    drawn = Figure(figsize=(5.2 * len(parts), 9.6), layout="constrained")
    axes = drawn.subplots(len(UNITS), len(parts), squeeze=False)
    for row, unit in enumerate(UNITS):
        for column, part in enumerate(parts):
            those = [one for one in found if (one.part, one.unit) == (part, unit) and len(one.sizes) > 1]
            panel(axes[row][column], those, unit)
    drawn.suptitle(title, fontsize=12, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn.savefig(path, dpi=80)
    return path


def panel(axes: Axes, those: Sequence[Series], unit: str) -> None:
    if not those:
        axes.set_axis_off()
        return
    axes.set_xscale("log")
    axes.set_yscale("log")
    for at, one in enumerate(those):
        colour = COLOURS[at % len(COLOURS)]
        values = [max(value, 1e-3) for value in one.values]
        axes.plot(one.sizes, values, "o-", color=colour, ms=3.5, lw=1.4, label=one.name)
        worse = [(size, value) for size, value in zip(one.sizes, values, strict=True) if size in one.worse()]
        axes.plot([size for size, _ in worse], [value for _, value in worse], "o", mfc="none", mec=WORSE, ms=9, mew=1.6)
    guide(axes, those)
    axes.set_xlabel(those[0].against)
    axes.set_ylabel(unit)
    axes.xaxis.set_major_locator(LogLocator(base=10 if max(those[0].sizes) > 1000 else 2, numticks=9))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _at: figure(value)))
    axes.grid(True, color="#e4e4e4", lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2)


def guide(axes: Axes, those: Sequence[Series]) -> None:
    """A dashed line that is linear; a circle is where something is worse than that (an exponent above LINEAR)."""
    sizes = sorted({size for one in those for size in one.sizes})
    low = min(value for one in those for value in one.values if value > 0)
    bottom, top = axes.get_ylim()
    axes.plot([sizes[0], sizes[-1]], [low, low * sizes[-1] / sizes[0]], "--", color="#9a9a9a", lw=1, label="linear")
    axes.plot([], [], "o", mfc="none", mec=WORSE, ms=9, mew=1.6, label=f"worse (exponent > {LINEAR})")
    axes.set_ylim(bottom, top)
