"""Decoding and prefill of the model of 7B's shape: the base, the bank and PEFT's mixed batches, with and without CUDA graphs.

How near a decode step is to what the memory allows: each step reads every weight but the embeddings, the pairs of the adapters
that are heard, and the keys and values of all rows. Those bytes over the step's time, over the bytes per second that a copy on
the device moves (read and written, `facts`), is the share of the roofline. The time is that of whole steps of the engine's loop,
with choosing the token and bringing it to the CPU: what a person waits for.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.gpu import models
from bench.gpu.driving import drive, graph_state, random_rows, times_of
from bench.gpu.models import Big
from bench.gpu.session import Session
from bench.side_by_side import NoBank, NoText, PeftMixed, timed
from engine.adapters import read_adapter
from engine.bases import Base
from engine.engine import Engine
from engine.sharing import layers

ROWS, FEW_ROWS = (1, 3, 8, 16), (1, 3)
TOKENS, FEW_TOKENS = 33, 6  # per row: 32 steps
PROMPT = 64
LONG_PROMPT = 1024  # once, at 8 rows, where keys and values weigh more
PREFILLS, SMALL_PREFILLS = ((4, 128), (8, 512)), ((2, 16),)
REPEATS = 2
SWITCH = "MIRROR_CUDA_GRAPH"
NEEDS_DECODE, NEEDS_PREFILL = 75.0, 55.0  # seconds that are left to the parts behind


class Silent(NoBank):
    """PEFT's part of the loop has no bank, and so nothing that is laid out."""

    layout = 0
    groups = ()


@contextmanager
def graphs(on: bool) -> Iterator[None]:
    before = os.environ.get(SWITCH)
    os.environ[SWITCH] = "1" if on else "0"
    try:
        yield
    finally:
        os.environ.pop(SWITCH, None)
        if before is not None:
            os.environ[SWITCH] = before


def offers_graphs() -> bool:
    """Whether this engine has CUDA graphs to be switched off."""
    folder = Path(__file__).parents[2] / "engine"
    return any(SWITCH in file.read_text(encoding="utf-8") for file in folder.glob("*.py"))


def new_engine(base: Base) -> Engine:
    """An engine of its own over the same model. What an earlier one left there would keep its weights alive."""
    for layer in layers(base.model):
        layer._forward_pre_hooks.clear()
    gc.collect()
    engine = Engine(base)
    engine.answering.loop.tokenizer = NoText()
    return engine


def adapters_for(engine: Engine, big: Big, count: int) -> list[str]:
    """Names of as many adapters, all of them resident and no other."""
    names = [path.name for path in big.adapters[:count]]
    for name in set(engine.bank.adapters) - set(names):
        engine.bank.remove(name)
    for path in big.adapters[:count]:
        if path.name not in engine.bank.adapters:
            info, weights = read_adapter(path)
            engine.bank.add(info.name, weights)
    return names


# --- decode


def run(session: Session) -> dict[str, Any]:
    big = models.big(session)
    place = session.results.setdefault("decode", {})
    place |= {"prompt_tokens": PROMPT, "new_tokens": TOKENS if session.on_gpu else FEW_TOKENS, "rows": {}, "graphs": {}}
    passes = [("without graphs", False)]
    if offers_graphs():
        passes.append(("with graphs", True))
    else:
        place["graphs"]["with graphs"] = {"skipped": f"this engine has no {SWITCH} to switch"}
    for label, on in passes:
        with graphs(on):
            one_pass(session, big, place, label)
    with graphs(False):
        peft_pass(session, big, place)
    return place


def cells(place: dict[str, Any], count: object) -> dict[str, Any]:
    return place["rows"].setdefault(str(count), {})


def one_pass(session: Session, big: Big, place: dict[str, Any], label: str) -> None:
    """Base and bank at every number of rows."""
    session.tidy()
    engine = new_engine(big.base)
    needs = NEEDS_DECODE if session.on_gpu else 0
    for count in ROWS if session.on_gpu else FEW_ROWS:
        contenders: dict[str, Sequence[str | None]] = {"base": [None] * count}
        if names := adapters_for(engine, big, count):
            contenders["bank"] = names
        for who, heard in contenders.items():
            there, name = cells(place, count), f"{who} {label}"
            session.attempt(there, name, partial(decode_cell, session, big, engine, heard, PROMPT), needs)
            tell(session, f"decode {count} rows, {name}", there[name])
    if session.on_gpu and big.adapters:
        there, name = cells(place, f"8 after {LONG_PROMPT} tokens:"), f"bank {label}"
        names = adapters_for(engine, big, 8)
        session.attempt(there, name, partial(decode_cell, session, big, engine, names, LONG_PROMPT), needs)
        tell(session, f"decode 8 rows after {LONG_PROMPT} tokens, {name}", there[name])
    place["graphs"][label] = graph_state(engine)


def decode_cell(session: Session, big: Big, engine: Engine, heard: Sequence[str | None], prompt: int) -> dict[str, Any]:
    new = TOKENS if session.on_gpu else FEW_TOKENS
    lengths = [prompt - at % 4 for at in range(len(heard))]
    vocabulary = big.config.vocab_size
    runs = [drive(engine, random_rows(lengths, heard, vocabulary, new), session) for _ in range(REPEATS + 1)][1:]
    size = bytes_per_step(engine, heard, sum(lengths) + len(lengths) * new // 2)
    return rates(session, times_of(runs), len(heard), size)


def rates(session: Session, times: dict[str, float], rows: int, size: int) -> dict[str, Any]:
    seconds = times["step_ms"] / 1e3
    measured = session.results.get("facts", {}).get("bandwidth") or {}
    found = times | {"tokens_per_s": rows / seconds, "bytes_per_step": size, "gb_per_s": size / seconds / 1e9}
    for name in ("copy", "read"):
        if measured.get(name):
            found[f"share_of_{name}"] = size / seconds / 1e9 / measured[name]
    return found


def bytes_per_step(engine: Engine, heard: Sequence[str | None], columns: int) -> int:
    """What a step cannot but read. columns: tokens of all rows together."""
    model = engine.base.model
    config, embeddings = model.config, model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is embeddings
    weights = sum(tensor.nbytes for tensor in model.parameters()) - (0 if tied else embeddings.nbytes)
    pairs = sum(models.bytes_of(engine.bank.adapters[name]) for name in set(heard) if name)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_column = 2 * config.num_hidden_layers * config.num_key_value_heads * size * engine.base.dtype.itemsize
    return weights + pairs + columns * per_column


def peft_pass(session: Session, big: Big, place: dict[str, Any]) -> None:
    """PEFT's mixed batches, in the same loop: a peer that has another adapter per row, too."""
    if big.wrapped is None:
        place["peft"] = {"skipped": "this GPU has no room for a second model"}
        return
    for count in ROWS if session.on_gpu else FEW_ROWS:
        needs = NEEDS_DECODE if session.on_gpu else 0
        session.attempt(cells(place, count), "peft mixed", partial(peft_cell, session, big, count), needs)
        tell(session, f"decode {count} rows, PEFT mixed", cells(place, count)["peft mixed"])


def peft_cell(session: Session, big: Big, count: int) -> dict[str, Any]:
    new = (TOKENS // 2 if count > 3 else TOKENS) if session.on_gpu else FEW_TOKENS
    names = [path.name for path in big.adapters[:count]]
    lengths = [PROMPT - at % 4 for at in range(count)]
    runs = []
    for _ in range(2):  # the first one warms up
        rows = random_rows(lengths, [None] * count, big.config.vocab_size, new)
        runs.append(timed(PeftMixed(big.wrapped, names), Silent(), rows))
    return {"prefill_ms": runs[1]["prefill_ms"], "step_ms": runs[1]["step_ms"], "tokens_per_s": count / runs[1]["step_ms"] * 1e3}


def tell(session: Session, what: str, cell: dict[str, Any]) -> None:
    if "step_ms" in cell:
        share = f", {cell['share_of_copy']:.0%} of the copy's bandwidth" if "share_of_copy" in cell else ""
        session.say(f"{what}: {cell['step_ms']:.2f} ms a step{share}")


# --- prefill


def run_prefill(session: Session) -> dict[str, Any]:
    big = models.big(session)
    place = session.results.setdefault("prefill", {})
    session.tidy()
    needs = NEEDS_PREFILL if session.on_gpu else 0
    with graphs(False):
        engine = new_engine(big.base)
        for count, length in PREFILLS if session.on_gpu else SMALL_PREFILLS:
            names = adapters_for(engine, big, count)
            there = place.setdefault(f"{count} x {length}", {})
            work = {"base": partial(prefill_cell, session, big, engine, [None] * count, length)}
            if names:
                work["bank"] = partial(prefill_cell, session, big, engine, names, length)
                work["peft mixed"] = partial(peft_prefill_cell, session, big, names, length)
            for who, measured in work.items():
                session.attempt(there, who, measured, needs)
                if "ms" in there[who]:
                    session.say(f"prefill {count} x {length}, {who}: {there[who]['ms']:.1f} ms")
    return place


def prefill_cell(session: Session, big: Big, engine: Engine, heard: Sequence[str | None], length: int) -> dict[str, Any]:
    lengths = [length] * len(heard)
    runs = [drive(engine, random_rows(lengths, heard, big.config.vocab_size, 1), session) for _ in range(4)][1:]
    return prefill_rates(session, big, times_of(runs)["prefill_ms"], sum(lengths))


def peft_prefill_cell(session: Session, big: Big, names: Sequence[str], length: int) -> dict[str, Any]:
    lengths, none = [length] * len(names), [None] * len(names)
    mixed = PeftMixed(big.wrapped, list(names))
    runs = [timed(mixed, Silent(), random_rows(lengths, none, big.config.vocab_size, 3)) for _ in range(4)][1:]
    return prefill_rates(session, big, median(run["prefill_ms"] for run in runs), sum(lengths))


def prefill_rates(session: Session, big: Big, milliseconds: float, tokens: int) -> dict[str, Any]:
    """TFLOP/s of the products with the weights; attention and the head, which sees one token a row, are left out."""
    body = sum(p.numel() for p in big.base.model.model.layers.parameters())
    rate = 2 * body * tokens / milliseconds / 1e9
    found = {"ms": milliseconds, "tokens_per_s": tokens / milliseconds * 1e3, "tflops": rate}
    most = (session.results.get("facts", {}).get("matmul") or {}).get("tflops")
    return found | ({"share_of_matmul": rate / most} if most else {})


def release(session: Session, big: Big) -> None:
    """The engine's copy goes, for the training to have its room. Not before all else is measured."""
    if big.base is not None and big.peer is not None:
        for layer in layers(big.base.model):
            layer._forward_pre_hooks.clear()
        big.base = None
    session.tidy()
