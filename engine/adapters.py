"""Reading LoRA adapters from PEFT folders, and refusing the ones that would silently do nothing or something else."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

from common import paths
from engine.adapter_keys import KEY, other_form, strip_wrappers
from engine.adapter_shapes import CARD, check_config, read_card, read_json
from engine.checkpoint import refuse_seeming
from engine.entries import refuse_large, refuse_layers, shapes_of
from engine.formats import Format, check_template
from engine.types import EngineError, short_hash

CONFIG = "adapter_config.json"
SAFETENSORS = "adapter_model.safetensors"
LEGACY = "adapter_model.bin"
MORE = re.compile(r".+\.(lora_embedding_[AB]|lora_magnitude_vector|lora_B|token_adapter|trainable_tokens_delta)(\..+)?")
# how the names of quantised copies end; their adapters are used on the plain model, too
QUANTISED = re.compile(
    r"(?P<plain>.+?)(?:[-_.](?:unsloth|bnb|mlx|dynamic|quantized|nf4|fp4|fp8|[348]-?bits?|int-?[348]|gptq|awq|hqq|w4a16|w8a8))+",
    re.IGNORECASE,
)


class Unfit(EngineError):
    """More than low-rank updates of linear layers: it cannot be resident beside others; merging takes it."""


@dataclass(frozen=True)
class LowRank:
    """One module's update, fp32 on the CPU: a (rank, in), b (out, rank) with the scaling folded in."""

    a: torch.Tensor
    b: torch.Tensor


@dataclass(frozen=True)
class AdapterInfo:
    """What is known of an adapter. format: the one it was trained in, when its card says so."""

    name: str
    path: str
    hash: str
    rank: int
    targets: tuple[str, ...]
    parameters: int
    base: str | None = None
    base_hash: str | None = None
    format: str | None = None
    own_format: Format | None = None  # that format itself, where it is none of ours and travels in the card
    card: dict[str, Any] = field(default_factory=dict)  # as engine.adapter_shapes has it: what is otherwise is left out


def read_adapter(folder: str | Path, name: str | None = None) -> tuple[AdapterInfo, dict[str, LowRank]]:
    """Read a PEFT folder: its description and, per module name of the base, the low-rank update.

    Raises Unfit for everything that does not fit a low-rank pair: DoRA, modules_to_save, biases, embeddings;
    and EngineError for files that are empty, all zero, truncated, not what they seem or hold program code.
    """
    folder = Path(folder).expanduser()
    config = read_config(folder)
    own_format(folder / CARD, read_card(folder / CARD)[0])  # of one that is only merged, too
    refuse_unfit(folder, config)
    file, tensors = read_tensors(folder)
    weights = pair_up(file, tensors, config)
    return describe(folder, config, file, weights, name), weights


def describe(
    folder: Path, config: LoraConfig, file: Path, weights: Mapping[str, LowRank], name: str | None = None
) -> AdapterInfo:
    """What its files say of an adapter; `weights` may be empty where it is none of plain pairs."""
    card, _ = read_card(folder / CARD)
    return AdapterInfo(
        name=name or folder.resolve().name,
        path=str(folder),
        hash=short_hash(file.read_bytes() + scaling_facts(config).encode()),
        rank=max((pair.a.shape[0] for pair in weights.values()), default=config.r),
        targets=tuple(sorted({module.rpartition(".")[2] for module in weights})),
        parameters=sum(pair.a.numel() + pair.b.numel() for pair in weights.values()),
        base=text_or_none(card.get("base")) or config.base_model_name_or_path or None,
        base_hash=text_or_none(card.get("base_hash")),
        format=text_or_none(card.get("format")),
        own_format=own_format(folder / CARD, card),
        card=card,
    )


def recorded_base(infos: Sequence[AdapterInfo]) -> str:
    """As the adapters' records call it; where the trainer's own record has the whole path and it is still there, that."""
    named = {info.base for info in infos if info.base}
    if len(named) > 1:
        raise EngineError(f"The adapters belong to different bases ({', '.join(sorted(named))}); they cannot be blended.")
    if not named:
        raise EngineError(f"Adapter {infos[0].name!r} does not say which base it belongs to; name it with --base.")
    recorded = [(info.card.get("arguments") or {}).get("base_model") for info in infos]
    there = [path for path in recorded if isinstance(path, str) and os.path.isabs(path) and os.path.exists(path)]
    return there[0] if there else named.pop()


def own_format(file: Path, card: Mapping[str, Any]) -> Format | None:
    """The format that the card brings whole: its template, stop strings and whether the tokenizer adds its special tokens."""
    name, template = text_or_none(card.get("format")), card.get("format_template")
    if template is None or name is None:
        return None
    stop, special = card.get("format_stop") or (), card.get("format_adds_special_tokens") is not False
    return check_template(Format(name, template, tuple(stop), special, source=f"the card of {file.parent.name}"))


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def scaling_facts(config: LoraConfig) -> str:
    kept = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
    return json.dumps({key: getattr(config, key) for key in kept}, sort_keys=True, default=str)


def read_config(folder: Path) -> LoraConfig:
    if not folder.is_dir():
        raise EngineError(f"Adapter {folder} {paths.why_no_file(folder) or 'is not a folder'}.")
    for path, odd in paths.irregular_files(sorted(folder.iterdir())):
        raise EngineError(f"{path} {odd}.")
    if not (folder / CONFIG).is_file():
        raise EngineError(other_form(folder, {}) or no_config_sentence(folder))
    plain = read_json(folder / CONFIG)
    if "peft_type" not in plain and (other := other_form(folder, plain)):
        raise EngineError(other)
    check_config(folder / CONFIG, plain)
    refuse_layers(folder / CONFIG, plain)
    kind = plain.get("peft_type")
    if kind != "LORA":
        raise EngineError(f"{folder}: its peft_type is {kind!r}, only LORA adapters can be loaded.")
    try:
        return LoraConfig.from_pretrained(str(folder))  # knows the configs of every year, 2023's too
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:  # PEFT checks nothing
        raise EngineError(f"{folder / CONFIG} is not a LoRA configuration: {error}.") from error


def no_config_sentence(folder: Path) -> str:
    inside = sorted(config.parent.name for config in folder.glob(f"*/{CONFIG}"))
    if inside:  # PEFT puts a named adapter, and a trainer its checkpoints, one folder deeper
        return f"{folder} is not an adapter itself, it holds {', '.join(inside[:8])}; name the one that is meant."
    there = ", ".join(sorted(entry.name for entry in folder.iterdir())[:12]) or "nothing"
    return f"{folder} is not a PEFT adapter: {CONFIG} is missing; there is {there}."


def refuse_unfit(folder: Path, config: LoraConfig) -> None:
    """Settings that are more than a low-rank update of linear layers."""
    start = config.init_lora_weights
    relative = isinstance(start, str) and start.lower().startswith(("pissa", "corda", "olora", "loftq", "lora_ga"))
    unfit = [
        (relative, f"it is relative to a changed base (init_lora_weights: {start!r})"),
        (config.alora_invocation_tokens, "it acts only after its invocation tokens (aLoRA)"),
        (config.arrow_config, "it routes between adapters (arrow_config)"),
        (config.use_dora, "it is a DoRA adapter (use_dora)"),
        (config.modules_to_save, f"it replaces whole modules (modules_to_save: {join_names(config.modules_to_save)})"),
        (config.bias not in (None, "none"), f"it trains biases (bias: {config.bias!r})"),
        (config.lora_bias, "its low-rank pairs have biases (lora_bias)"),
        (config.trainable_token_indices, "it trains token embeddings (trainable_token_indices)"),
        (config.layer_replication, "it replicates layers (layer_replication)"),
        (config.target_parameters, "it targets bare parameters (target_parameters)"),
    ]
    for found, what in unfit:
        if found:
            raise Unfit(unfit_sentence(folder, what))


def unfit_sentence(folder: Path, what: str) -> str:
    return (
        f"{folder} cannot share the base with other adapters: {what}; merge it into a model of its own, "
        "or train a plain LoRA on linear layers."
    )


def join_names(value: str | Iterable[object] | None) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value or ()))


def read_tensors(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    refuse_seeming([folder / SAFETENSORS if os.path.lexists(folder / SAFETENSORS) else folder / LEGACY])
    if (folder / SAFETENSORS).is_file():
        file = folder / SAFETENSORS
        refuse_large(file, shapes_of(file))
        try:
            return file, load_file(file)
        except Exception as error:  # the Rust reader has an exception type of its own
            raise EngineError(f"{file} is truncated or damaged ({error}); copy the adapter again.") from error
    file = folder / LEGACY
    if not file.is_file():
        parts = ", ".join(sorted(path.name for path in folder.glob("adapter_model*"))[:4])
        more = f" (there is {parts}; join the parts into one file)" if parts else ""
        raise EngineError(
            other_form(folder, {}) or f"{folder} holds no weights: neither {SAFETENSORS} nor {LEGACY} is there{more}."
        )
    try:
        tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EngineError(
            f"{file} is truncated, damaged or holds program code, and was refused; get it again, best as {SAFETENSORS}."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise EngineError(f"{file} is not a table of weights; get the adapter again, best as {SAFETENSORS}.")
    refuse_large(file, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    return file, tensors


def pair_up(file: Path, tensors: Mapping[str, torch.Tensor], config: LoraConfig) -> dict[str, LowRank]:
    sides: dict[str, dict[str, torch.Tensor]] = {}
    refuse_foreign(file, tensors)
    for key, tensor in tensors.items():
        if key.endswith(".base_layer.weight"):
            continue  # PEFT saves the base's own weight beside an adapted output layer
        match = KEY.fullmatch(strip_wrappers(key))
        if not match:
            raise Unfit(unfit_sentence(file.parent, f"it holds {key!r}, which is no LoRA weight of a linear layer"))
        if tensor.dim() != 2:
            raise EngineError(f"{file}: {key} has {tensor.dim()} dimensions, a linear layer's update has 2.")
        if not torch.isfinite(tensor).all():
            raise EngineError(f"{file}: {key} holds NaN or infinite values; its training went wrong.")
        pair = sides.setdefault(match["module"], {})
        if match["side"] in pair:
            raise EngineError(f"{file} holds lora_{match['side']} of {match['module']} twice ({key}); save one adapter alone.")
        pair[match["side"]] = tensor.float()
    if not sides:
        raise EngineError(f"{file} is empty: it holds no weights at all and would answer exactly like the base.")
    weights = {}
    for module, pair in sides.items():
        if set(pair) != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
            raise EngineError(f"{file}: {module} has no matching pair of lora_A and lora_B.")
        weights[module] = LowRank(pair["A"], pair["B"] * scaling(config, module, pair["A"].shape[0]))
        if not torch.isfinite(weights[module].b).all():
            raise EngineError(f"{file}: {module} is too large for fp32 once it is scaled by lora_alpha; its training went wrong.")
    if not any(pair.a.any() and pair.b.any() for pair in weights.values()):
        raise EngineError(f"{file} is all zero: it was never trained, or not saved, and would answer exactly like the base.")
    return weights


def refuse_foreign(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Tensors of which none is PEFT's LoRA, and tensors that hold nothing."""
    names = {key: strip_wrappers(key) for key in tensors}
    if tensors and not any(KEY.fullmatch(name) or MORE.fullmatch(name) for name in names.values()):
        raise EngineError(
            other_form(file.parent, {}, names.values())
            or f"{file} holds no LoRA weights: its {len(names)} tensors have other names ({next(iter(names))}, ...); "
            "it is a part of a model or another program's form."
        )
    hollow = [key for key, tensor in tensors.items() if not tensor.numel()]
    if hollow:  # DeepSpeed's ZeRO-3 saves shape (0,) for what another process holds
        raise EngineError(
            f"{file}: {len(hollow)} tensors are without any numbers ({hollow[0]}, ...): it was saved from a divided model "
            "(DeepSpeed ZeRO-3 or FSDP) without gathering it; save the adapter again with the weights gathered."
        )


def scaling(config: LoraConfig, module: str, rank: int) -> float:
    """alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv:2312.03732); alpha_pattern may name another alpha for the module."""
    patterns = config.alpha_pattern or {}
    alpha: float = patterns.get(get_pattern_key(patterns, module), config.lora_alpha)
    return alpha / (math.sqrt(rank) if config.use_rslora else rank)


def find_misfit(info: AdapterInfo, base_name: str, base_hash: str, base_names: tuple[str, ...]) -> str | None:
    """None if the adapter's record fits the base, else the reason it does not.

    A recorded hash decides; without one the last part of the recorded path or Hub id is compared.
    """
    if info.base_hash:
        if info.base_hash == base_hash:
            return None
        return f"it was trained on base {info.base or '?'} with weights {info.base_hash}, this one's are {base_hash}"
    if not info.base:
        return None
    # the path may have been recorded on another system
    parts = PureWindowsPath(info.base.rstrip("/\\")).parts
    cached = [part for part in parts if part.startswith("models--")]  # the Hub's cache: models--org--name/snapshots/hash
    recorded = (cached[-1].rpartition("--")[2] if cached else parts[-1] if parts else "").casefold()
    known = {name.casefold() for name in (base_name, *base_names)}
    if not recorded or recorded in known or strip_quantisation(recorded) in {strip_quantisation(name) for name in known}:
        return None
    return f"it was trained on {info.base!r}, this base is {base_name!r}"


def strip_quantisation(name: str) -> str:
    """llama-3-8b-bnb-4bit and llama-3-8b-GPTQ-Int4 are llama-3-8b with smaller numbers."""
    match = QUANTISED.fullmatch(name)
    return match["plain"] if match else name
