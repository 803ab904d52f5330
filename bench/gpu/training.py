"""A hundred short rows an optimizer step, as in the original: ours, the plain loop of alpaca-lora, TRL where it is installed."""

from __future__ import annotations

import importlib.util
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from bench import training
from bench.gpu import models
from bench.gpu.decode import release
from bench.gpu.session import Session

BATCH, SMALL_BATCH = 100, 8
STEPS = 4  # the first one warms up
NEEDS = 15.0
GRADIENT = 1e-4  # relative error against the plain loop, fp32


def run(session: Session) -> dict[str, Any]:
    transformers_logging.set_verbosity_error()
    place = session.results.setdefault("training", {})
    session.attempt(place, "gradients", lambda: gradients(session))
    big = models.big(session)
    if big.peer is None:
        return place | {"skipped": "this GPU has room for one model only, and that one is the engine's"}
    big.wrapped = None
    strip(big.peer)
    release(session, big)
    model = big.peer
    model.config.use_cache = False
    batch = BATCH if session.on_gpu else SMALL_BATCH
    vocabulary = model.config.vocab_size
    diverse = training.samples_of("diverse", STEPS * batch, big.tokenizer, vocabulary)
    singular = training.samples_of("singular", STEPS * batch, big.tokenizer, vocabulary)
    place["rows"] = {"per_step": batch, "mean_tokens": training.tokens_of(diverse) / len(diverse)}
    contenders: dict[str, Callable[[str], dict[str, Any]]] = {
        "ours": lambda folder: training.ours(model, diverse, batch, folder),
        "plain": lambda folder: training.plain(model, diverse, batch, folder),
        "ours singular": lambda folder: training.ours(model, singular, batch, folder),
        "plain singular": lambda folder: training.plain(model, singular, batch, folder),
    }
    if importlib.util.find_spec("trl") and importlib.util.find_spec("datasets"):
        contenders["trl padded"] = lambda folder: training.trl(model, diverse, batch, folder, packing=False)
        contenders["trl packed"] = lambda folder: training.trl(model, diverse, batch, folder, packing=True)
    else:
        place["trl"] = {"skipped": "trl is not installed"}
    for name, contender in contenders.items():
        session.attempt(place, name, lambda contender=contender: one(session, model, contender), NEEDS if session.on_gpu else 0)
        if "samples_per_s" in place[name]:
            session.say(f"training, {name}: {place[name]['samples_per_s']:.1f} samples/s, {place[name]['peak_gib']:.1f} GiB")
    place["ratios"] = ratios(place)
    return place


def one(session: Session, model: torch.nn.Module, contender: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Figures of one contender, on the same frozen weights as all others."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}  # a run takes them for its own
    session.begin_peak()
    try:
        with tempfile.TemporaryDirectory(dir=session.folder) as folder:
            found = contender(folder)
    finally:
        for number, handler in heard.items():
            signal.signal(number, handler)
        strip(model)
    return found | {"peak_gib": session.peak_gib()}


def strip(model: torch.nn.Module) -> None:
    """Takes PEFT's layers out of a model again, and leaves it frozen."""
    for name, layer in [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.base_layer)
    model.requires_grad_(False).eval()


def ratios(place: dict[str, Any]) -> dict[str, float]:
    def speed(name: str) -> float:
        return float(place.get(name, {}).get("samples_per_s", 0.0))

    found = {}
    for name, first, others in (
        ("over_plain", "ours", ["plain"]),
        ("singular_over_plain", "ours singular", ["plain singular"]),
        ("over_trl", "ours", ["trl padded", "trl packed"]),
    ):
        best = max(map(speed, others))
        if speed(first) and best:
            found[name] = round(speed(first) / best, 2)
    return found


def gradients(session: Session) -> dict[str, Any]:
    """Ours against the plain loop's in fp32 on this device, rows repeated and of mixed lengths."""
    folder = Path(tempfile.mkdtemp(dir=session.folder))
    models.write_small(folder, session)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(session.device)
    samples = training.samples_of("diverse", 6, models.tokenizer(), model.config.vocab_size)
    found = training.gradient_error(model, samples + samples[:2])
    return {"relative_error": found, "tolerance": GRADIENT, "ok": found <= GRADIENT}
