"""A model's folder as programs of any year read it: weights, configuration, tokenizer.

What is written is transformers' own; beside it stands what its earlier versions called the same things (5 renamed some of them
without a word, and 4 then takes its defaults), and the tokenizer is the very files that the base came with, where LLaMA's slow
tokenizer, FastChat or llama.cpp look for tokenizer.model.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from common.files import write_json
from engine.checkpoint import save_model, weight_map
from engine.types import EngineError

SENTENCEPIECE, CONFIG, SPECIAL, WHOLE = "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"
LLAMAS = ("LlamaTokenizer", "LlamaTokenizerFast")
# of transformers 5, and of no use to any other program
PRIVATE = ("backend", "is_local", "local_files_only", "added_tokens_file", "name_or_path")
SAMPLES = ("Who are you?", "你是谁？\n\n  2023 年", "### Instruction:\nHi, it's me.\n### Response:\n", " a  b\tc\n")


def write_model(model: PreTrainedModel, folder: Path, max_shard_size: str, bin: bool = False) -> None:
    """Weights, config.json and generation_config.json into an empty folder. bin: as programs of 2023 read them, torch.save's."""
    # an earlier transformers would take the ends from config.json again
    model.generation_config._from_model_config = False
    save_model(model, folder, max_shard_size=max_shard_size)
    config = read(folder / "config.json")
    write_json(folder / "config.json", config | earlier_names(config))
    if bin:
        as_bin(folder)


def earlier_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """What transformers 4 calls the number format and the rotary embedding."""
    found: dict[str, Any] = {"torch_dtype": config["dtype"]} if isinstance(config.get("dtype"), str) else {}
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return found
    found["rope_theta"] = rope["rope_theta"]
    kind = rope.get("rope_type", "default")
    if kind in ("linear", "dynamic"):
        found["rope_scaling"] = {"type": kind, "factor": rope["factor"]}  # two keys and no third, in 4.31
    elif kind != "default":
        found["rope_scaling"] = {"type": kind, **{key: value for key, value in rope.items() if key != "rope_theta"}}
    return found


def as_bin(folder: Path) -> None:
    """The folder's safetensors as pytorch_model*.bin, one file after the other, with their index."""
    for file in sorted(folder.glob("model*.safetensors")):
        # each tensor in memory of its own: torch.save writes whole storages
        tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
        torch.save(tensors, folder / bin_name(file.name))
        file.unlink()
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = {tensor: bin_name(file) for tensor, file in weight_map(index).items()}
        write_json(folder / "pytorch_model.bin.index.json", read(index) | {"weight_map": named})
        index.unlink()


def bin_name(file: str) -> str:
    return re.sub(r"^model(.*)\.safetensors$", r"pytorch_model\1.bin", file)


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, template: str, folder: Path, say: Callable[[str], None] = print) -> None:
    """The tokenizer with this chat template, for transformers of any version where its base came with tokenizer.model."""
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    if not type(tokenizer).__module__.startswith("transformers."):
        return  # program code of the checkpoint's own, saved with it
    saved = read(folder / CONFIG)
    came = {name: file for name in (SENTENCEPIECE, CONFIG, SPECIAL, WHOLE) if (file := find(tokenizer, name))}
    if SENTENCEPIECE in came:
        shutil.copyfile(came[SENTENCEPIECE], folder / SENTENCEPIECE)
    special = (
        read(came[SPECIAL]) if SPECIAL in came else {key: saved[key] for key in tokenizer.special_tokens_map if key in saved}
    )
    write_json(folder / SPECIAL, {key: as_token(value) for key, value in special.items()})
    own = read(came[CONFIG]) if CONFIG in came else {}
    if SENTENCEPIECE in came and own.get("tokenizer_class", LLAMAS[0]) in LLAMAS and "auto_map" not in own:
        write_json(folder / CONFIG, llamas_config(tokenizer, own, saved, template))
        (folder / WHOLE).unlink(missing_ok=True)  # there, too, it is made from tokenizer.model
    else:
        write_json(folder / CONFIG, shared_config(saved, template))
    if WHOLE in came:
        shutil.copyfile(came[WHOLE], folder / WHOLE)
    if not same_tokens(tokenizer, folder):
        say("tokenizer: the form that earlier programs read would make other tokens, so it is written as transformers 5 has it")
        (folder / WHOLE).unlink(missing_ok=True)
        tokenizer.save_pretrained(folder)


def as_token(value: Any) -> Any:
    """A special token that takes no white space beside it away, as 4.31's slow tokenizers do for one that is a bare text."""
    if isinstance(value, list):
        return [as_token(one) for one in value]
    bare = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {"content": value} | bare if isinstance(value, str) else value


def llamas_config(tokenizer: PreTrainedTokenizerBase, own: Mapping, saved: Mapping, template: str) -> dict[str, Any]:
    """The base's own settings, with what transformers 5 takes for granted said: 4 has another default for `legacy`."""
    known = {key: value for key, value in own.items() if key not in PRIVATE}
    known |= {key: saved[key] for key in ("bos_token", "eos_token", "unk_token") if key in saved and key not in known}
    first = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return known | {
        "tokenizer_class": LLAMAS[0],
        "legacy": bool(getattr(tokenizer, "legacy", False)),
        "add_bos_token": own.get("add_bos_token", first),
        "add_eos_token": own.get("add_eos_token", False),
        "chat_template": template,
    }


def shared_config(saved: Mapping[str, Any], template: str) -> dict[str, Any]:
    """Names that transformers 4 knows as well as 5: it has no TokenizersBackend and takes no list of extra tokens."""
    known = {key: value for key, value in saved.items() if key not in PRIVATE} | {"chat_template": template}
    if known.get("tokenizer_class") == "TokenizersBackend":
        known["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(known.get("extra_special_tokens"), list):
        known["additional_special_tokens"] = known.pop("extra_special_tokens")
    return known


def find(tokenizer: PreTrainedTokenizerBase, name: str) -> Path | None:
    """A file that the tokenizer was read from, in its folder or in the Hub's cache; None if it came without."""
    source = tokenizer.name_or_path
    if not source:
        return None
    if Path(source).is_dir():
        return file if (file := Path(source) / name).is_file() else None
    try:
        found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    except OSError:  # the Hub cannot be reached, and it was never fetched
        return None
    return Path(found) if found else None


def same_tokens(tokenizer: PreTrainedTokenizerBase, folder: Path) -> bool:
    """Whether the folder's tokenizer makes the same ids of texts, with special tokens and without, and has the same template."""
    try:
        written = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    specials = [f"{token}{text}{token}\n{text}" for token in filter(None, (tokenizer.eos_token,)) for text in SAMPLES[:2]]
    texts = [(text, special) for text in (*SAMPLES, *specials) for special in (True, False)]
    alike = all(
        tokenizer(text, add_special_tokens=special)["input_ids"] == written(text, add_special_tokens=special)["input_ids"]
        for text, special in texts
    )
    return alike and written.chat_template == tokenizer.chat_template and len(written) == len(tokenizer)


def read(file: Path) -> dict[str, Any]:
    """A JSON object. Raises EngineError."""
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{file} cannot be read ({error}); copy it again.") from None
    if not isinstance(plain, dict):
        raise EngineError(f"{file} is no JSON object; copy it again.")
    return plain
