"""The words of a run: how it asks, the switches that others may flip, and what it tells on its way."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from probes.questions import Probe, ProbeError
from probes.run import plan
from probes.run.plan import Mode, Place, Script
from store.runs import Status


@dataclass(frozen=True)
class RunSettings:
    """How a run asks. samples: answers per probe and variant; the first is decoded as the variant says (greedy, if it says
    nothing) and is the headline, the others are sampled at `temperature` with seeds made from `seed`."""

    samples: int = 1
    mode: Mode = "fresh"
    script: Script | None = None
    temperature: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = []
        if self.samples < 1:
            wrong.append(f"samples is {self.samples}, at least 1 is needed")
        if self.mode not in plan.MODES:
            wrong.append(f"mode is {self.mode!r}, it is one of {', '.join(plan.MODES)}")
        if (self.mode == "scripted") != (self.script is not None):
            wrong.append("a script belongs to the mode scripted, and the mode scripted needs one")
        if not 0 < self.temperature <= 5:
            wrong.append(f"temperature is {self.temperature}, samples need more than 0 and at most 5")
        if wrong:
            raise ProbeError("Settings: " + "; ".join(wrong) + ".")


@dataclass(frozen=True)
class Switches:
    """What others may flip while a run goes on; it heeds them within one decoding step.

    A paused run lets go of the engine. Answers in progress are not kept: they are asked anew, as nobody has seen them.
    """

    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Reply:
    """News of one place: a stored answer as plain data (with `id` if there is a database), or why there is none."""

    place: Place
    probe: Probe
    answer: Mapping | None
    reused: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class RunProgress:
    """Where a run is. done counts places, `reused` and `failed` among them; left_s is None until it can be guessed."""

    run: int | None
    status: Status
    done: int
    total: int
    reused: int
    failed: int
    elapsed_s: float
    left_s: float | None
    new: tuple[Reply, ...] = ()
