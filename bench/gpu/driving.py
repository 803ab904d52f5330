"""The engine's own loop, turn by turn, in this thread: the steps that a person's question takes, with a clock between them."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from math import inf
from typing import Any

import torch

from bench.gpu.session import Session
from engine.decode import Row
from engine.engine import Engine
from engine.fairness import Ask
from engine.types import Decoding


def random_rows(lengths: Sequence[int], heard: Sequence[str | None], vocabulary: int, new: int, seed: int = 2) -> list[Row]:
    """One row per length, each with a prompt of its own; no end ids, so that each comes to exactly `new` tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Row(
            at,
            [1, *torch.randint(10, vocabulary, (length - 1,), generator=generator).tolist()],
            {name: 1.0} if name else {},
            Decoding(max_new_tokens=new),
            new,
            frozenset(),
        )
        for at, (length, name) in enumerate(zip(lengths, heard, strict=True))
    ]


def drive(engine: Engine, rows: Sequence[Row], session: Session) -> list[float]:
    """Has the rows answered while nobody else asks. When the first pass began, and when each pass ended; all prompts are one."""
    loop = engine.answering.loop
    over: list[BaseException | None] = []
    before, loop.most = loop.most, inf
    try:
        with engine.lock:
            session.sync()
            marks = [time.perf_counter()]
            loop.add(Ask(rows, None, threading.Event(), ended=over.append))
            while not over:
                loop.turn()
                session.sync()
                marks.append(time.perf_counter())
            loop.batch.leave()
    finally:
        loop.most = before
    if over[0]:
        raise over[0]
    return marks


def times_of(runs: Sequence[Sequence[float]]) -> dict[str, float]:
    """prefill_ms and step_ms, each the median over all runs."""
    steps = [(after - before) * 1e3 for marks in runs for before, after in itertools.pairwise(marks[1:])]
    found = {"prefill_ms": statistics.median((marks[1] - marks[0]) * 1e3 for marks in runs)}
    return found | ({"step_ms": statistics.median(steps), "fastest_step_ms": min(steps)} if steps else {})


def graph_state(engine: Engine) -> dict[str, Any]:
    """Whether decode steps were replayed as CUDA graphs, how many were recorded, and why not."""
    batch = engine.answering.loop.batch
    graphs = next((value for value in vars(batch).values() if hasattr(value, "recorded") and hasattr(value, "why_not")), None)
    if graphs is None:
        return {"used": False, "recorded": 0, "why_not": "this engine has none here"}
    return {"used": bool(graphs.recorded) and not graphs.why_not, "recorded": len(graphs.recorded), "why_not": graphs.why_not}
