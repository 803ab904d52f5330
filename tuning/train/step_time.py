"""How fast a run goes: the one figure that its log, the page and the scripts foresee its end by."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

RECENT = 21  # steps of which the middle one's time stands for those to come


def seconds_per_step(known: Sequence[tuple[int, float]]) -> float | None:
    """Seconds a step, from (step, clock time) of the last ones; None before there are two."""
    steps = [(late - early, last - first) for (first, early), (last, late) in pairwise(known)]
    times = [seconds / count for seconds, count in steps if count > 0 and seconds >= 0]  # a clock may have been set back
    # the middle one, as a step with a checkpoint is no usual one; the mean of all, as there are such steps to come
    return (median(times) + sum(times) / len(times)) / 2 if times else None
