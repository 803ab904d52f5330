"""Decode steps of llama.cpp beside ours, the same weights and threads: a part of bench.quantized."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import engine
from bench.side_by_side import PROMPT_TOKENS, TOKENS, rows, timed
from engine import Engine
from engine.bases import Base
from engine.prompts import end_ids
from tuning.export import gguf_file
from tuning.portable import portable_template

KINDS = ("f16", "q8_0")


def measure(base: str, counts: Sequence[int], repeats: int) -> dict[str, Any]:
    """Milliseconds a step by rows: ours in fp32 and int8, llama.cpp's of both kinds."""
    if importlib.util.find_spec("llama_cpp") is None:
        print("\nllama.cpp: llama-cpp-python is not installed here (requirements-bench.txt); nothing is measured.")
        return {"skipped": "llama-cpp-python is not installed"}
    whole = engine.load(base, device="cpu", dtype="fp32", say=lambda _line: None)
    found: dict[str, Any] = {"version": importlib.metadata.version("llama-cpp-python"), "rows": {}}
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: write(whole.base, Path(folder) / f"{kind}.gguf", kind) for kind in KINDS}
        small = engine.load(base, device="cpu", dtype="fp32", quantize="int8", say=lambda _line: None)
        for count in counts:
            taken: dict[str, list[float]] = {}
            for _ in range(repeats + 1):
                for name, one in (("fp32", whole), ("int8", small)):
                    taken.setdefault(name, []).append(ours(one, count))
                for kind, file in files.items():
                    taken.setdefault(f"llama.cpp {kind}", []).append(llama_step(file, count))
            ms = {name: statistics.median(those[1:]) for name, those in taken.items()}
            found["rows"][str(count)] = ms
            print(f"\nsteps of {count} rows, {torch.get_num_threads()} threads")
            for name, one in ms.items():
                print(f"  {name:<16}{one:>9.1f} ms   {one / ms['int8']:>6.2f} x int8", flush=True)
    return found


def write(base: Base, file: Path, kind: str) -> Path:
    template = portable_template(base.format, base.tokenizer)
    gguf_file.write_gguf(
        base.model, base.tokenizer, file, kind=kind, name=base.name, template=template, ends=end_ids(base, base.format),
        say=lambda _line: None,
    )  # fmt: skip
    return file


def ours(one: Engine, count: int) -> float:
    asked = rows(count, [None] * count, one.base.model.config.vocab_size)
    return float(timed(one.base.model, one.bank, asked)["step_ms"])


def llama_step(file: Path, count: int) -> float:
    """The median step in ms: `count` sequences, greedy, one token each."""
    import llama_cpp as ll

    ll.llama_backend_init()
    model = ll.llama_model_load_from_file(str(file).encode(), ll.llama_model_default_params())
    settings = ll.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_seq_max = count * 256, 512, count  # 256 for each sequence
    settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
    context = ll.llama_init_from_model(model, settings)
    batch = ll.llama_batch_init(512, 0, 1)
    vocabulary = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(model))

    def put(at: int, token: int, position: int, sequence: int, wanted: bool) -> None:
        batch.token[at], batch.pos[at], batch.n_seq_id[at] = token, position, 1
        batch.seq_id[at][0], batch.logits[at] = sequence, wanted

    def decode() -> None:
        if code := ll.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode returned {code}")

    def best(at: int) -> int:
        return int(np.ctypeslib.as_array(ll.llama_get_logits_ith(context, at), (vocabulary,)).argmax())

    try:
        last, taken = [], []
        lengths = []
        for sequence, row in enumerate(rows(count, [None] * count, vocabulary)):
            for at, token in enumerate(row.ids):
                put(at, token, at, sequence, at == len(row.ids) - 1)
            batch.n_tokens = len(row.ids)
            decode()
            last.append(best(len(row.ids) - 1))
            lengths.append(len(row.ids))
        assert max(lengths) <= PROMPT_TOKENS
        for step in range(TOKENS - 1):
            before = time.perf_counter()
            for sequence, token in enumerate(last):
                put(sequence, token, lengths[sequence] + step, sequence, True)
            batch.n_tokens = count
            decode()
            last = [best(sequence) for sequence in range(count)]
            taken.append((time.perf_counter() - before) * 1e3)
    finally:
        ll.llama_batch_free(batch)
        ll.llama_free(context)
        ll.llama_model_free(model)
    return statistics.median(taken)
