"""The names of an adapter's tensors: what wrappers put before them is taken off, and the rest is found in the base.

PEFT writes base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight. Data parallelism, FSDP, torch.compile, a save from
inside a trainer or a base that was part of a larger model put more before it, or leave PEFT's own beginning out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# after `strip_wrappers`; with or without an adapter's name before .weight
KEY = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.[^.]+)?\.weight")
LEADING = ("base_model.model.", "module.", "_forward_module.")
INNER = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# what one program calls the language model inside a larger one, and another leaves out
WRAPPERS = {"base_model", "model", "module", "language_model", "text_model"}
MLX_KEY = re.compile(r".+\.(?:lora_[ab]|lora\.lora_[ab])")

OTHER_FORMS = (  # files in place of PEFT's, and whose they are
    ("adapters.npz", "mlx-lm"),
    ("adapters.safetensors", "mlx-lm"),
    ("adapter_0.pt", "torchtune"),
    ("adapter_model.pt", "torchtune"),
    ("lit_model.pth.lora", "LitGPT"),
    ("ggml-adapter-model.bin", "llama.cpp"),
    ("ggml-adapter-model.gguf", "llama.cpp"),
    ("pytorch_lora_weights.safetensors", "diffusers"),
)
ADVICE = {
    "mlx-lm": "make a whole model of it with mlx_lm.fuse (--dequantize) and give that as the base, or convert it to PEFT's form",
    "torchtune": "save it again in PEFT's form (adapter_config.json and adapter_model.safetensors)",
    "LitGPT": "make a whole model of it with litgpt merge_lora and litgpt convert from_litgpt, and give that as the base",
    "llama.cpp": "get the adapter that it was converted from",
    "diffusers": "it changes an image model and fits no language model",
}


def strip_wrappers(key: str) -> str:
    """The name without what PEFT and other wrappers put before the model's own."""
    key = INNER.sub("", key)
    while start := next((start for start in LEADING if key.startswith(start)), None):
        key = key.removeprefix(start)
    return key


def fold(names: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
    """Name -> the same module's or tensor's name in the base, for all that are found there in exactly one place."""
    known = list(ours)
    same = set(known)
    bare: dict[str, list[str]] = {}
    for name in known:
        bare.setdefault(core(name), []).append(name)
    places = {name: [name] if name in same else bare.get(core(name), []) for name in names}
    return {name: found[0] for name, found in places.items() if len(found) == 1}


def core(name: str) -> str:
    parts = name.split(".")
    start = next((at for at, part in enumerate(parts) if part not in WRAPPERS), len(parts) - 1)
    return ".".join(parts[start:])


def other_form(folder: Path, config: dict[str, Any], keys: Iterable[str] = ()) -> str | None:
    """A sentence if the folder holds an adapter in another program's form, by its files, configuration or tensors' names."""
    whose = next((whose for file, whose in OTHER_FORMS if (folder / file).is_file()), None)
    if {"fine_tune_type", "lora_parameters", "lora_layers"} & set(config) or any(MLX_KEY.fullmatch(key) for key in keys):
        whose = "mlx-lm"
    return f"{folder} is an adapter in {whose}'s form, which is not PEFT's: {ADVICE[whose]}." if whose else None
