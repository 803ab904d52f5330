"""The adapter: started on a base, saved as a plain PEFT folder, and checked once it is there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from common import leftovers
from common.errors import UserError
from common.files import copy, write_json
from common.space import room_for
from engine.adapter_shapes import CARD
from engine.adapters import CONFIG, SAFETENSORS, read_adapter
from engine.bank import Bank
from engine.bases import Base
from engine.types import EngineError
from tuning.train.settings import Settings

SILENT = "/with B zero"  # as no folder can be called


class AdapterError(UserError):
    """The adapter cannot be made, or what was made does nothing; the text says which."""


def start_adapter(model: PreTrainedModel, settings: Settings, base_name: str) -> PeftModel:
    """A fresh LoRA on `model`: fp32 pairs on whatever the base is in, B zero. Raises AdapterError."""
    wanted = settings.lora_target_modules
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=int(settings.lora_alpha) if settings.lora_alpha == int(settings.lora_alpha) else settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear" if wanted == ("all-linear",) else list(wanted),
        bias="none",
        task_type="CAUSAL_LM",
    )
    whole = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    layers = sorted({name.rpartition(".")[2] for name in whole})
    missing = [name for name in wanted if name != "all-linear" and not any(f".{one}".endswith(f".{name}") for one in whole)]
    if missing:
        raise AdapterError(
            f"--lora_target_modules {', '.join(missing)}: this base has no such linear layer; it has {', '.join(layers)}."
        )
    wrapped = get_peft_model(model, config)
    wrapped.peft_config["default"].base_model_name_or_path = base_name
    return wrapped


def save_weights(model: PeftModel, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Weights and configuration as PEFT reads them; each file is there whole or not at all.

    dtype: of the saved numbers, None keeps fp32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    beside = leftovers.new_folder(folder)
    with room_for(f"The adapter in {folder}", folder), contextlib.ExitStack() as after:
        after.callback(leftovers.remove, beside)
        model.save_pretrained(beside, save_embedding_layers=False)
        if dtype:
            tensors = {name: tensor.to(dtype) for name, tensor in load_file(beside / SAFETENSORS).items()}
            save_file(tensors, beside / SAFETENSORS, metadata={"format": "pt"})
        for name in (SAFETENSORS, CONFIG):  # the configuration last: it is what makes a folder an adapter
            (beside / name).chmod(0o644)  # safetensors makes its files private
            os.replace(beside / name, folder / name)


def save_adapter(model: PeftModel, folder: Path, card: Mapping[str, Any], dtype: str) -> None:
    """The finished adapter with its card."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CARD, card)
    save_weights(model, folder, torch.float16 if dtype == "fp16" else None)


def copy_adapter(source: Path, folder: Path, card: Mapping[str, Any]) -> None:
    """The adapter in `source` as that of `folder`, with a card of its own."""
    write_json(folder / CARD, card)
    for name in (SAFETENSORS, CONFIG):
        copy(source / name, folder / name)


def check_adapter(folder: Path, base: Base, prompt: list[int]) -> float:
    """Load the saved adapter into a bank over the bare base and return how far it moves the logits after `prompt`, at most.

    Raises AdapterError if it is empty, does not load, or changes nothing.
    """
    try:
        info, weights = read_adapter(folder)
        bank = Bank(base.model)
        bank.add(info.name, weights)
        # beside it the same with B zero: products of an adapter are other ones than those of the bare base, and round otherwise
        bank.add(SILENT, {module: replace(pair, b=torch.zeros_like(pair.b)) for module, pair in weights.items()})
    except EngineError as error:
        raise AdapterError(f"The trained adapter is not usable: {error}") from error
    ids = torch.tensor([prompt], device=base.model.device)
    logits = []
    with torch.inference_mode():
        for row in ({SILENT: 1.0}, {info.name: 1.0}):
            with bank.hearing([row]):
                logits.append(base.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits.float())
    for name in (SILENT, info.name):
        bank.remove(name)
    moved = (logits[1] - logits[0]).abs().max().item()
    if not moved > 0:  # NaN, too
        raise AdapterError(
            f"The trained adapter in {folder} changes nothing: the logits stay as they were (difference {moved}); "
            "train more steps or with a higher --learning_rate."
        )
    return moved
