"""The base to train on: as the engine loads it, or in NF4."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from engine import bases, formats, quantized, room
from engine.bases import Base
from engine.checkpoint import BARE
from engine.device import choose_device
from engine.types import EngineError
from tuning.train.settings import Settings

NF4_BYTES = quantized.BYTES["nf4"]
LEAST_CUDA = quantized.LEAST_CUDA["nf4"]


def load_base(settings: Settings, say: Callable[[str], None] = print) -> Base:
    """The base in `settings`; one GPU per process. Raises EngineError."""
    form = settings.prompt_template_name or None
    named: dict[str, Any] = dict(format=form, trust_remote_code=settings.trust_remote_code, say=say)
    if settings.load_in_4bit:
        return load_4bit(settings, named)
    base = bases.load_base(settings.base_model, device=device_of(settings), dtype=settings.dtype or None, **named)
    base.model.config.use_cache = False
    return base


def device_of(settings: Settings) -> str | None:
    """--device, or under torchrun the process's own GPU."""
    local = os.environ.get("LOCAL_RANK")
    if not settings.device and local and torch.cuda.is_available():
        return f"cuda:{local}"
    return settings.device or None


def load_4bit(settings: Settings, named: dict[str, Any]) -> Base:
    """The base in NF4, with the hash of its whole weights. Raises EngineError."""
    refuse_4bit(settings)
    # first whole, in memory beside the GPU: the base's hash is one of its true weights, not of their 4-bit form
    whole = bases.load_base(settings.base_model, device="cpu", dtype="fp16", **named)
    place, _ = choose_device(device_of(settings))
    compute = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=compute
    )
    source, _ = bases.find(settings.base_model)
    del whole.model.model
    kinds = dict(quantization_config=config, dtype=compute, device_map={"": place}, trust_remote_code=settings.trust_remote_code)
    model = AutoModelForCausalLM.from_pretrained(source, **kinds, **BARE)
    model.requires_grad_(False)
    return replace(whole, model=model.eval(), device=place, dtype=compute)


def own_format(base: Base) -> str:
    """Name of the format the base would be asked in if none were named."""
    if base.recorded_format:
        return base.recorded_format.name
    try:
        return formats.recognise(base.tokenizer, base.model.config)[0].name
    except EngineError:
        return base.format.name


def refuse_4bit(settings: Settings) -> None:
    """Raise EngineError if even the NF4 weights do not fit; before the whole ones are read."""
    place, (source, _) = choose_device(device_of(settings))[0], bases.find(settings.base_model)
    weights, there = room.weights_of(source), room.free_bytes(place)
    if weights and (need := int(weights.numbers * NF4_BYTES * room.BESIDE)) > there:
        raise EngineError(
            f"{settings.base_model} does not fit into memory: in 4 bits it needs about {room.gib(need)}, and "
            f"{room.gib(there)} are free on {place}; free some memory, or take a smaller base."
        )


def problems(settings: Settings) -> list[str]:
    """What keeps this machine from loading the base as asked; nothing is loaded to find out."""
    found = []
    try:
        place, _ = choose_device(device_of(settings))
    except EngineError as error:
        return [str(error)]
    if settings.dtype == "fp16" and place.type == "cpu":
        found.append("--dtype fp16 cannot be trained on the CPU; use bf16 or fp32, or leave it out.")
    if settings.dtype == "bf16" and place.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        found.append("--dtype bf16 is only emulated by this GPU; use fp16, or leave it out.")
    if settings.load_in_4bit:
        found += four_bit_problems(place)
    try:
        bases.find(settings.base_model, say=lambda _: None)
    except EngineError as error:
        found.append(f"--base_model: {error}")
    return found


def four_bit_problems(place: torch.device) -> list[str]:
    """What keeps a device from NF4."""
    if place.type != "cuda":
        return [f"--load_in_4bit needs a CUDA GPU and the device is {place}; leave it out."]
    found = []
    if torch.cuda.get_device_capability(place) < LEAST_CUDA:
        found.append(f"--load_in_4bit needs a GPU of compute capability {LEAST_CUDA[0]}.{LEAST_CUDA[1]} or more; leave it out.")
    if not importlib.util.find_spec("bitsandbytes"):
        found.append("--load_in_4bit needs the package bitsandbytes: install it with pip install bitsandbytes, or leave it out.")
    return found
