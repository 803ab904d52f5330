"""Adapters that are more than low-rank updates of linear layers, folded into their base by PEFT itself.

DoRA, biases, embeddings that were trained or saved along, new tokens: what the bank cannot hold. Tensors are found under any
of the names that wrappers give them (engine.adapter_keys), and each has to find its place: nothing is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel

from engine.adapter_keys import fold, strip_wrappers
from engine.adapters import AdapterInfo, describe, read_config, read_tensors
from engine.bases import Base
from engine.entries import refuse_other_rank
from engine.types import EngineError

# module, and what belongs to it
PLACE = re.compile(
    r"(?P<module>.+?)\.(?P<rest>(?:lora_|modules_to_save|original_module|base_layer|token_adapter|trainable_tokens).*|weight|bias)"
)
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def read(folder: Path) -> tuple[AdapterInfo, LoraConfig, dict[str, torch.Tensor]]:
    """Description, configuration and tensors of an adapter. Raises EngineError."""
    config = read_config(folder)
    file, tensors = read_tensors(folder)
    if not tensors:
        raise EngineError(f"{file} is empty: it holds no weights at all and would answer exactly like the base.")
    if bad := next((key for key, tensor in tensors.items() if not torch.isfinite(tensor.float()).all()), None):
        raise EngineError(f"{file}: {bad} holds NaN or infinite values; its training went wrong.")
    ranks = [config.r, *config.rank_pattern.values()]
    refuse_other_rank(file, ranks, {key: tuple(tensor.shape) for key, tensor in tensors.items()})
    return describe(folder, config, file, {}), config, dict(tensors)


def add(base: Base, folder: Path, config: LoraConfig, tensors: Mapping[str, torch.Tensor], say=print) -> Base:
    """The base with the adapter merged in; its tokenizer is the adapter's own where tokens were added. Raises EngineError."""
    model = base.model
    placed = place_tensors(model, folder, tensors)
    tokenizer = grow_vocabulary(base, folder, placed, say)
    untie(model, placed)
    refuse_biases(model, folder, placed)
    touched = {place["module"] for key in placed if (place := PLACE.fullmatch(key))}
    before = fingerprint(model, touched)
    model.requires_grad_(False)
    try:
        wrapped = get_peft_model(model, config)
        result = set_peft_model_state_dict(wrapped, {f"base_model.model.{key}": tensor for key, tensor in placed.items()})
    except (ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:240]
        raise EngineError(f"Adapter {folder.name!r} does not fit this base: {reason}") from error
    if lost := sorted(result.unexpected_keys):
        raise EngineError(
            f"Adapter {folder.name!r} belongs to another base or another PEFT: {len(lost)} of its tensors have no place here "
            f"({lost[0].removeprefix('base_model.model.')}, ...)."
        )
    merged = wrapped.merge_and_unload()
    if fingerprint(merged, touched) == before:
        raise EngineError(f"Adapter {folder.name!r} changes nothing in this base: all it adds is zero; nothing is merged.")
    return replace(base, model=merged, tokenizer=tokenizer or base.tokenizer)


def place_tensors(model: PreTrainedModel, folder: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under the base's own module names, without what PEFT saves of the base itself. Raises EngineError."""
    named = {}
    for key, tensor in tensors.items():
        match = PLACE.fullmatch(strip_wrappers(key))
        if match is None:
            raise EngineError(f"{folder} holds {key!r}, which is no part of a LoRA adapter that PEFT saves.")
        if not match["rest"].startswith(("base_layer", "original_module")):
            named[key] = (match["module"], match["rest"], tensor)
    places = fold({module for module, _, _ in named.values()}, [name for name, _ in model.named_modules() if name])
    found: dict[str, torch.Tensor] = {}
    for key, (module, rest, tensor) in named.items():
        if module not in places:
            raise EngineError(
                f"Adapter {folder.name!r} belongs to another base: it changes {module}, which is not in this model."
            )
        own = f"{places[module]}.{re.sub(r'^modules_to_save[.](?:[^.]+[.])?', '', rest)}"
        # PEFT writes embeddings that grew twice, as a module that was saved and as an embedding
        if own in found and not torch.equal(found[own], tensor):
            raise EngineError(f"Adapter {folder.name!r} holds {own} twice ({key}); save it again, each layer once.")
        found[own] = tensor
    return found


def grow_vocabulary(base: Base, folder: Path, placed: Mapping[str, torch.Tensor], say) -> object | None:
    """Gives the base the vocabulary that the adapter was saved with; the adapter's tokenizer, if it brings one."""
    model = base.model
    rows = {
        len(placed[f"{name}.weight"])
        for name, module in model.named_modules()
        if module in (model.get_input_embeddings(), model.get_output_embeddings()) and f"{name}.weight" in placed
    }
    tokenizer = None
    if any((folder / name).is_file() for name in TOKENIZER[:2]):
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise EngineError(f"{folder}: its tokenizer cannot be read ({error}); copy the folder again.") from error
    own = model.get_input_embeddings().weight.shape[0]
    if len(rows) > 1:
        raise EngineError(f"{folder} was saved with two vocabularies ({', '.join(map(str, sorted(rows)))} rows); save it again.")
    if rows and (count := rows.pop()) != own:
        model.resize_token_embeddings(count, mean_resizing=False)
        whose = "its own tokenizer" if tokenizer else "the base's tokenizer, as it brings none: it cannot write the new tokens"
        say(f"vocabulary: {own:,} rows of the base become {count:,}, with {whose}")
    elif tokenizer is not None and len(tokenizer) > own:
        raise EngineError(
            f"{folder} brings a tokenizer of {len(tokenizer):,} tokens and no embeddings for them; the base has {own:,}. "
            "Save the adapter with its embeddings (save_embedding_layers=True)."
        )
    return tokenizer


def untie(model: PreTrainedModel, placed: Mapping[str, torch.Tensor]) -> None:
    """Head and embeddings that were saved apart must not share one tensor."""
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return
    names = {module: name for name, module in model.named_modules() if module in (head, embeddings)}
    saved = [placed.get(f"{names[module]}.weight") for module in (head, embeddings)]
    one_alone = (saved[0] is None) != (saved[1] is None)
    adapted = any(key.startswith(f"{names[head]}.lora_") for key in placed)
    if adapted or (not one_alone and saved[0] is not None and not torch.equal(saved[0], saved[1])):
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def refuse_biases(model: PreTrainedModel, folder: Path, placed: Mapping[str, torch.Tensor]) -> None:
    """PEFT cannot merge a bias into a layer that has none, and the base's configuration has no place for it."""
    trained = sorted(key.partition(".lora_B")[0] for key in placed if re.search(r"\.lora_B(\.[^.]+)?\.bias$", key))
    without = [name for name in trained if getattr(model.get_submodule(name), "bias", None) is None]
    if without:
        raise EngineError(
            f"{folder} was trained with lora_bias, and {len(without)} of its layers have no bias in this base "
            f"({without[0]}, ...): a merged model would have no place for it. Load it with PEFT, or train again without it."
        )


def fingerprint(model: nn.Module, modules: Collection[str]) -> dict[str, tuple[float, float]]:
    """Numbers that change when any weight of these modules does, for all practical purposes."""
    found = {}
    for name, tensor in model.named_parameters():
        if name.rpartition(".")[0] in modules:
            wide = tensor.detach().double()  # one at a time: an embedding of 7B is a gigabyte so
            found[name] = (wide.sum().item(), wide.square().sum().item())
    return found
