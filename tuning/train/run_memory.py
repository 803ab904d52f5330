"""How much memory a run takes on this machine, and how many tokens a pack may therefore hold."""

from __future__ import annotations

from typing import Protocol

import torch
from transformers import PreTrainedModel

from tuning.train.loading import NF4_BYTES
from tuning.train.packing import Share
from tuning.train.settings import Settings

CPU_PACK = 2048  # tokens: a pass of 1,024 is an eighth slower on a CPU, one of 4,096 no faster
GPU_PACK = 8192
OTHER_BYTES = 64 * 2**20  # buffers beside what is counted: an allowance, not a measurement


class Shapes(Protocol):
    """As much of a base as its memory depends on; the model may be on the meta device."""

    @property
    def model(self) -> PreTrainedModel: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...


def choose_packing(settings: Settings, base: Shapes) -> tuple[Share, int]:
    """What the samples of a pack share, and how many tokens it holds; 0 packs every sample alone."""
    share: Share = "tree" if settings.shares_rows else "prefix" if settings.packing else "nothing"
    return share, (settings.pack_tokens or pack_budget(base)) if settings.packing else 0


def pack_budget(base: Shapes) -> int:
    """Tokens per pass: on a GPU as many as half of its free memory holds."""
    if base.device.type != "cuda":
        return CPU_PACK
    config = base.model.config.get_text_config()
    free, _ = torch.cuda.mem_get_info(base.device)
    per_layer = config.hidden_size * 12 + getattr(config, "intermediate_size", 0) * 4
    per_token = config.num_hidden_layers * per_layer * base.dtype.itemsize
    return max(512, min(GPU_PACK, free // 2 // per_token))


def adapter_parameters(base: Shapes, settings: Settings) -> int:
    """How many numbers the adapter of a run has."""
    wanted = settings.lora_target_modules
    pairs = sum(
        m.weight.shape[0] + m.weight.shape[1]
        for name, m in base.model.named_modules()
        if isinstance(m, torch.nn.Linear) and (wanted == ("all-linear",) or name.rpartition(".")[2] in wanted)
    )
    return pairs * settings.lora_r


def memory_bytes(base: Shapes, settings: Settings, tokens: int) -> int:
    """Bytes of a run with packs of so many tokens, about."""
    config = base.model.config.get_text_config()
    parameters = sum(p.numel() for p in base.model.parameters())
    return estimate_memory(
        parameters,
        adapter_parameters(base, settings),
        base_bytes=NF4_BYTES if settings.load_in_4bit else base.dtype.itemsize,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        tokens_per_pack=tokens,
        vocabulary=0,  # logits are never kept: tuning.train.loss
        activation_bytes=base.dtype.itemsize,
    )


def estimate_memory(
    parameters: int,
    adapter_parameters: int,
    *,
    base_bytes: float,
    layers: int,
    hidden: int,
    tokens_per_pack: int,
    vocabulary: int,
    label_share: float = 0.5,
    activation_bytes: int = 2,
) -> int:
    """Bytes needed to train an adapter, roughly (a margin of a third is wise).

    parameters, adapter_parameters: counts; base_bytes: bytes per base parameter (4, 2, 0.55 for NF4);
    tokens_per_pack: tokens in one forward pass; label_share: tokens with a loss among them (logits exist only there);
    activation_bytes: bytes per kept number. Adapters are fp32: weight, gradient, two Adam moments. Per layer 17 numbers
    per token and hidden unit are kept for the backward pass, attention scores apart, which SDPA does not keep (Korthikanti
    et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4).
    """
    weights = parameters * base_bytes + adapter_parameters * 16
    activations = layers * tokens_per_pack * hidden * 17 * activation_bytes
    logits = tokens_per_pack * label_share * vocabulary * 8  # fp32 logits and their gradient
    return int(weights + activations + logits + OTHER_BYTES)
