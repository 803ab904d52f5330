"""The base in NF4 and in int8 by bitsandbytes, where that is installed; the adapters stay in 16 bits beside it."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from bench import training
from bench.gpu import models
from bench.gpu.decode import adapters_for, decode_cell, graphs, new_engine
from bench.gpu.models import Big
from bench.gpu.session import Session
from bench.gpu.training import BATCH, STEPS, one
from engine.checkpoint import BARE

ROWS = (1, 8)
LEAST_INT8 = (7, 5)  # of compute capability: LLM.int8's kernels
NEEDS = 20.0


def run(session: Session) -> dict[str, Any]:
    place = session.results.setdefault("quantised", {})
    if not session.on_gpu:
        return place | {"skipped": "no GPU"}
    if not importlib.util.find_spec("bitsandbytes"):
        return place | {"skipped": "bitsandbytes is not installed"}
    big = models.big(session)
    if big.folder is None:
        return place | {"skipped": "the folder of the 7B shape was not written"}
    session.attempt(place, "nf4", lambda: of_kind(session, big, "nf4"), NEEDS)
    if torch.cuda.get_device_capability(session.device) >= LEAST_INT8:
        session.attempt(place, "int8", lambda: of_kind(session, big, "int8"), NEEDS)
    else:
        place["int8"] = {"skipped": "LLM.int8 needs compute capability 7.5"}
    return place


def of_kind(session: Session, big: Big, kind: str) -> dict[str, Any]:
    """Memory after loading, decoding of the base and the bank; of NF4 training, too."""
    how = BitsAndBytesConfig(load_in_8bit=True)
    if kind == "nf4":
        how = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=session.dtype,
        )
    session.begin_peak()
    held = session.allocated()
    model = AutoModelForCausalLM.from_pretrained(
        big.folder, quantization_config=how, dtype=session.dtype, device_map={"": session.device}, weights_only=True, **BARE
    )
    model.requires_grad_(False).eval()
    found: dict[str, Any] = {"device_after_gib": (session.allocated() - held) / 2**30, "rows": {}}
    base = models.in_memory(model, big.tokenizer, session)
    with graphs(False):
        engine = new_engine(base)
        for count in ROWS:
            names = adapters_for(engine, big, count)
            for who, heard in (("base", [None] * count), ("bank", names)):
                cell = decode_cell(session, big, engine, heard, 64)
                found["rows"].setdefault(str(count), {})[who] = cell
                session.say(f"{kind}, {count} rows, {who}: {cell['step_ms']:.2f} ms a step")
    if kind == "nf4":
        samples = training.samples_of("diverse", STEPS * BATCH, big.tokenizer, big.config.vocab_size)
        found["training"] = one(session, model, lambda folder: training.ours(model, samples, BATCH, folder))
    return found
