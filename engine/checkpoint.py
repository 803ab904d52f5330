"""A checkpoint's folder on its way in and out: what is wrong with its files, an adapter left inside, settings that save."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel

from common import paths
from common.files import write_json
from common.seeming import not_what_it_seems
from engine.types import EngineError

# for from_pretrained, which would load an adapter that it finds beside the weights, in a folder or on the Hub, or even the base
# which that adapter names, without a word: it is sent to look where there is none
BARE = {"adapter_kwargs": {"subfolder": "no-adapter"}}
LEFT_INSIDE = re.compile(r"adapter_(config\.json|model.*\.(safetensors|bin))")
INDEX = re.compile(r"(model|pytorch_model)\.(safetensors|bin)\.index\.json")
WEIGHTS = re.compile(r"(model|pytorch_model).*\.(safetensors|bin)")
READ = re.compile(rf"{WEIGHTS.pattern}|.*\.index\.json|(generation_)?config\.json|.*token.*\.json|.*\.model")
# one of them is enough: the vocabularies of transformers' tokenizers
VOCABULARIES = re.compile(
    r"tokenizer\.json|.*\.model|vocab\.(json|txt)|.*vocab.*\.(json|txt|bpe)|.*\.tiktoken|tekken\.json|merges\.txt|.*tokenizer.*\.py"
)


def refuse_seeming(paths: Iterable[Path], advice: str = "") -> None:
    """Raises EngineError, one sentence, for the first of the files that is not what it seems."""
    for path in paths:
        if what := not_what_it_seems(path):
            raise EngineError(f"{path} {what}{advice}.")


def refuse_damaged(folder: Path) -> None:
    """Raises EngineError, one sentence, for a file that is not what it seems, a shard or a tokenizer that is missing."""
    files = refuse_seeming_files(folder)
    for index in (path for path in files if INDEX.fullmatch(path.name)):
        named = set(weight_map(index).values())
        missing = sorted(name for name in named if not (folder / name).is_file())
        # a folder may hold the index of the other format, whose shards were left behind; then its own weights are there
        others = [path for path in files if WEIGHTS.fullmatch(path.name) and path.name not in named]
        if missing and not others:
            listed = ", ".join(missing[:4])
            raise EngineError(f"{folder} is not a whole model: {index.name} names {listed}, not there; copy it again.")
    if not any(VOCABULARIES.fullmatch(path.name) for path in folder.iterdir()):
        raise EngineError(
            f"{folder} holds no tokenizer: tokenizer.json, or tokenizer.model with tokenizer_config.json, is missing; "
            "copy it from where the weights come from."
        )


def refuse_seeming_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that are read. Raises EngineError for one that is not what it seems."""
    there = sorted(folder.iterdir())
    for path, odd in paths.irregular_files(there):  # loaders open more than what is looked into here, and would wait at a pipe
        raise EngineError(f"{path} {odd}.")
    files = [path for path in there if READ.fullmatch(path.name)]
    refuse_seeming(files)
    return files


def weight_map(index: Path) -> dict[str, str]:
    """Tensor -> file, as an index of weights names them. Raises EngineError."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not all(isinstance(file, str) and Path(file).name == file for file in named.values()):
            raise ValueError("it names other things than files beside it")
        return dict(named)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(f"{index} is no index of weights ({type(error).__name__}: {error}); copy it again.") from None


def adapter_left_inside(folder: Path) -> str:
    """A line for people if an adapter was left beside the weights, else "". `BARE` is how it is passed over."""
    left = sorted(path.name for path in folder.iterdir() if LEFT_INSIDE.fullmatch(path.name))
    return f"adapter: {', '.join(left)} in {folder} is not used; the bare model is loaded." if left else ""


def save_model(model: PreTrainedModel, folder: Path, **how: object) -> None:
    """`save_pretrained` with the generation settings kept as they are, whatever their names.

    It refuses settings that it finds at odds, such as a temperature without sampling, though it has loaded them.
    """
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        model.save_pretrained(folder, **how)
    finally:
        model.generation_config = own
    write_json(folder / "generation_config.json", own.to_diff_dict())


def context_of(config: object) -> int:
    """Tokens that a model was made for: its positions, or as many more as its rotary scaling says.

    max_sequence_length is what FastChat's scaled checkpoints write (longchat, vicuna-16k); YaRN keeps the unscaled number.
    llama3 and longrope scale, too, and their positions say so already: Llama 3.2 has 131,072 and not 32 times 8,192.
    """
    positions = getattr(config, "max_position_embeddings", None) or 2048
    written = getattr(config, "max_sequence_length", None)
    scaling = getattr(config, "rope_scaling", None) or getattr(config, "rope_parameters", None) or {}
    if isinstance(written, int) and written > positions:
        return written
    scaling = scaling if isinstance(scaling, dict) else {}
    kind = scaling.get("rope_type") or scaling.get("type")
    original, factor = scaling.get("original_max_position_embeddings"), scaling.get("factor")
    if kind in ("yarn", "linear", "dynamic") and isinstance(original, int) and isinstance(factor, (int, float)):
        return max(positions, int(original * factor))
    return positions
