"""The model: rows in a batch, adapters that are resident, and the length of a conversation."""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import engine
from bench.chat import nothing_kept
from bench.growth.series import REPEATS, Board, Done, peak, resident
from bench.probes import random_adapter
from bench.side_by_side import machine, timed
from engine import Decoding, Engine, Request, decode

PROMPT_TOKENS = 16
TOKENS = 8
RESIDENT = 3  # adapters, where what grows is the number of rows
MIXED = 8  # rows, where what grows is the number of adapters
SAID = "Tell me again, please, and at more length, what the river has to do with the bridge and who built it. "
TURN_TOKENS = 32  # that the next turn of a conversation brings


def load(args: argparse.Namespace, max_rows: int) -> Engine:
    return engine.load(
        args.base, device=args.device, dtype=args.dtype, threads=args.threads, max_rows=max_rows, say=lambda _line: None
    )


def about(loaded: Engine) -> dict[str, Any]:
    return machine(loaded.base.model)


def row(at: int, ids: list[int], adapters: Mapping[str, float], tokens: int) -> decode.Row:
    """Without end ids, so that it decodes all its tokens."""
    return decode.Row(at, ids, adapters, Decoding(max_new_tokens=tokens), tokens, frozenset())


def drawn(count: int, vocabulary: int, seed: int = 0) -> list[int]:
    return torch.randint(10, vocabulary, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def batch(loaded: Engine, count: int, names: Sequence[str]) -> list[decode.Row]:
    """Rows of one length, every one with a prompt of its own; names: the adapters that they hear in turn."""
    vocabulary = loaded.base.model.config.vocab_size
    return [
        row(at, drawn(PROMPT_TOKENS, vocabulary, at), {names[at % len(names)]: 1.0} if names else {}, TOKENS)
        for at in range(count)
    ]


def median_of(loaded: Engine, count: int, names: Sequence[str], repeats: int) -> dict[str, float]:
    taken = [timed(loaded.base.model, loaded.bank, batch(loaded, count, names)) for _ in range(repeats)]
    return {key: statistics.median(one[key] for one in taken) for key in ("step_ms", "prefill_ms")}


def rows(args: argparse.Namespace, sizes: Sequence[int], done: Done) -> Board:
    found, loaded = Board("rows", "rows in the batch"), load(args, max(sizes))
    median_of(loaded, sizes[0], (), 1)  # warms up
    with tempfile.TemporaryDirectory() as folder:
        path = random_adapter(loaded, Path(folder))
        names = [loaded.add_adapter(path, f"a{at}") for at in range(RESIDENT)]
    for size in sizes:
        plain, mixed = (median_of(loaded, size, heard, args.repeats) for heard in ((), names))
        found.add("a step, base alone", size, plain["step_ms"])
        found.add(f"a step, {RESIDENT} adapters mixed", size, mixed["step_ms"])
        found.add(f"prefill of {PROMPT_TOKENS} tokens each", size, mixed["prefill_ms"])
        with peak() as held:
            timed(loaded.base.model, loaded.bank, batch(loaded, size, names))
        found.add("memory while they are answered", size, held.mib, "MiB")
        done(found, size)
    return found


def changing(loaded: Engine, change: Callable[[], object]) -> float:
    """Seconds until it is done and laid out."""
    start = time.perf_counter()
    change()
    loaded.settle()
    return time.perf_counter() - start


def adapters(args: argparse.Namespace, sizes: Sequence[int], done: Done) -> Board:
    found, loaded = Board("adapters", "adapters resident"), load(args, MIXED)
    with tempfile.TemporaryDirectory() as folder:
        path = random_adapter(loaded, Path(folder))
        median_of(loaded, MIXED, (), 1)  # what the first steps of all bring with them is no adapter's
        before = resident() or 0.0
        for size in sizes:
            while len(loaded.adapters) < size - 1:
                loaded.add_adapter(path, f"a{len(loaded.adapters)}")
            last = f"a{size - 1}"
            taken: dict[str, list[float]] = {"loading one more": [], "removing one": [], "loading them all at once": []}
            for turn in range(REPEATS + 1):
                taken["loading one more"].append(changing(loaded, lambda last=last: loaded.add_adapter(path, last)))
                if turn < REPEATS and size > 1:  # the last one of all leaves nothing to lay out anew
                    taken["removing one"].append(changing(loaded, lambda last=last: loaded.remove_adapter(last)))
                elif turn < REPEATS:
                    loaded.remove_adapter(last)
            names = list(loaded.adapters)
            for name in names:
                loaded.remove_adapter(name)
            loaded.settle()
            taken["loading them all at once"].append(
                changing(loaded, lambda names=names: [loaded.add_adapter(path, name) for name in names])
            )
            for name, those in taken.items():
                if those:
                    found.add(name, size, statistics.median(those) * 1e3)
            figures = median_of(loaded, MIXED, list(loaded.adapters), args.repeats)
            found.add(f"a step of {MIXED} rows, as many of them as there are", size, figures["step_ms"])
            found.add(f"prefill of {MIXED} x {PROMPT_TOKENS}", size, figures["prefill_ms"])
            loaded.forget()
            if (now := resident()) is not None:
                found.add("memory of them all", size, now - before, "MiB")
            done(found, size)
    return found


def conversation(args: argparse.Namespace, sizes: Sequence[int], done: Done) -> Board:
    """sizes: tokens of its prompt; those that the context has no room for are left out, and that is said."""
    found, loaded = Board("conversation", "tokens of the conversation"), load(args, 1)
    room = loaded.base.context - TURN_TOKENS - 2 * TOKENS
    vocabulary = loaded.base.model.config.vocab_size
    answered(loaded, row(0, drawn(PROMPT_TOKENS, vocabulary), {}, TOKENS))  # warms up
    for size in sizes:
        if size > loaded.base.context:
            print(f"conversation: {size:,} tokens are more than the context of {loaded.base.context:,}", flush=True)
            continue
        length = min(size, room)
        loaded.forget()
        first = row(0, drawn(length, vocabulary), {}, TOKENS)
        with peak() as held:
            marks = answered(loaded, first)
        found.add("prefill", size, (marks[1] - marks[0]) * 1e3)
        steps = [after - before for before, after in itertools.pairwise(marks[1:])]
        found.add("one step", size, statistics.median(steps) * 1e3)
        found.add("memory at its peak, with what is kept", size, held.mib, "MiB")
        following = [*first.ids, *first.new_ids, *drawn(TURN_TOKENS, vocabulary, 1)]
        kept = [first_token(loaded, following, goes_on=False) for _ in range(args.repeats)]
        found.add("next turn, with what is kept", size, statistics.median(kept) * 1e3)
        found.add("what is kept of it", size, loaded.kept.bytes / 2**20, "MiB")
        with nothing_kept(loaded):
            found.add("next turn, without", size, first_token(loaded, following, goes_on=False) * 1e3)
        written(found, loaded, size)
        done(found, size)
    return found


def answered(loaded: Engine, one: decode.Row) -> list[float]:
    """The moments: asked, and every token."""
    marks = [time.perf_counter()]
    news: Any
    for news in loaded.run([one], {}, threading.Event(), None, lambda those: those):  # type: ignore[arg-type, return-value]
        if any(isinstance(item, decode.Row) for item in news):
            marks.append(time.perf_counter())
    return marks


def first_token(loaded: Engine, ids: list[int], goes_on: bool) -> float:
    one = row(0, ids, {}, 1)
    one.goes_on = goes_on
    marks = answered(loaded, one)
    return marks[1] - marks[0]


def written(found: Board, loaded: Engine, size: int) -> None:
    """Its prompt, from turns of people and model alike."""
    said = SAID * 2
    each = len(loaded.base.tokenizer(said)["input_ids"])
    turns = [{"role": ("user", "assistant")[at % 2], "content": said} for at in range(max(1, size // each) | 1)]
    variant = engine.Variant(decoding=Decoding(max_new_tokens=TOKENS))
    found.took("its prompt written", size, lambda: loaded.prompt(Request(turns, variant)), REPEATS)
