"""Adapters written into their base: `python -m tuning.merge --adapter A --output_dir D`.

`--adapter A=0.8 --adapter B=0.5` makes a blend. The folder is a whole model as transformers loads it, with the chat template of
the format the adapter was trained in, so that it is asked as it was taught.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig

from common import coming_from, ending, leftovers
from common.files import write_json, write_once
from engine import bases, formats
from engine.adapter_shapes import CARD
from engine.adapters import AdapterInfo, LowRank, Unfit, find_misfit, read_adapter, recorded_base
from engine.bank import check, linears_of
from engine.bases import Base
from engine.formats import Format
from engine.prompts import end_ids
from engine.types import MAX_STRENGTH, EngineError
from tuning import legacy, merge_by_peft, model_folder
from tuning.portable import portable_template

Say = Callable[[str], None]
DTYPES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Merged:
    """A base with adapters in it, in memory. format: the one it is asked in. adapters: what went in, for its card."""

    base: Base
    format: Format
    adapters: Sequence[dict]


def merge(
    adapters: Mapping[str, float],
    output: str | Path,
    *,
    base: str | None = None,
    format: str | None = None,
    dtype: str | None = None,
    max_shard_size: str = "2GB",
    bin: bool = False,
    accept_other_base: bool = False,
    lora_alpha: float | None = None,
    say: Say = print,
) -> Path:
    """Write base + sum of strength x adapter as a model folder and return it. Raises EngineError; `output` is then not made.

    adapters: folder -> strength. base: None takes the one the adapters' records name.
    format: None takes the adapters' recorded one, else the base's own. dtype: fp32, fp16, bf16; None keeps the base's.
    bin: weights as programs of 2023 read them, pytorch_model*.bin.
    """
    target = Path(output)
    refuse_what_is_there(target)
    made = merged(
        adapters, base=base, format=format, dtype=dtype, accept_other_base=accept_other_base, lora_alpha=lora_alpha, say=say
    )
    say(f"writing {target}")
    return write_once(target, lambda folder: fill(made, folder, target.name, max_shard_size=max_shard_size, bin=bin, say=say))


def refuse_what_is_there(target: Path) -> None:
    if target.exists():
        raise EngineError(f"{target} is already there; name another folder for the merged model.")


def merged(
    adapters: Mapping[str, float],
    *,
    base: str | None = None,
    format: str | None = None,
    dtype: str | None = None,
    accept_other_base: bool = False,
    lora_alpha: float | None = None,
    say: Say = print,
) -> Merged:
    """The same in memory. Raises EngineError."""
    if not adapters:
        raise EngineError("There is no adapter to merge; name one with --adapter FOLDER.")
    for folder, strength in adapters.items():
        if not 0 < strength <= MAX_STRENGTH:
            raise EngineError(f"Adapter {folder} has strength {strength}, it lies above 0 and at most at {MAX_STRENGTH}.")
    with leftovers.scratch_folder() as room:
        folders = {as_peft(Path(folder), room, lora_alpha): strength for folder, strength in adapters.items()}
        try:
            read = [(*read_adapter(folder), strength) for folder, strength in folders.items()]
        except Unfit as why:
            if len(folders) > 1:
                raise EngineError(f"{why} In a blend it has no place; merge it alone.") from why
            [(place, strength)] = folders.items()
            return merge_whole(place, strength, base, format, dtype, accept_other_base, why, say)
        loaded = load(base or recorded_base([info for info, _, _ in read]), dtype, say)
        # no bank: what it packs of the weights would go on speaking as they were before
        linears = linears_of(loaded.model)
        read = [(info, check(linears, info.name, weights), strength) for info, weights, strength in read]
        for info, _, _ in read:
            refuse_other_base(info, loaded, accept_other_base)
        chosen = format_of(loaded, [info for info, _, _ in read], format)
        for info, weights, strength in read:
            say(f"adding {info.name} at strength {strength:g}")
            add(loaded, weights, strength)
        return Merged(loaded, chosen, [recorded(info, strength) for info, _, strength in read])


def as_peft(folder: Path, room: Path, alpha: float | None) -> Path:
    """The folder itself, or what alpaca-lora left there in PEFT's form."""
    return legacy.convert(folder, room / folder.resolve().name, alpha) if legacy.is_checkpoint(folder) else folder


def merge_whole(
    folder: Path,
    strength: float,
    base: str | None,
    format: str | None,
    dtype: str | None,
    accept_other_base: bool,
    why: Unfit,
    say: Say,
) -> Merged:
    """DoRA, biases, whole modules: more than a low-rank sum, so it is PEFT that folds them in."""
    if strength != 1:
        raise EngineError(f"{why} Merged it can only be at strength 1.")
    info, config, tensors = merge_by_peft.read(folder)
    loaded = load(base or recorded_base([info]), dtype, say)
    refuse_other_base(info, loaded, accept_other_base)
    chosen = format_of(loaded, [info], format)
    say(f"adding {info.name} by PEFT")
    return Merged(merge_by_peft.add(loaded, folder, config, tensors, say), chosen, [recorded(info, 1.0)])


def recorded(info: AdapterInfo, strength: float) -> dict:
    return {"name": info.name, "hash": info.hash, "strength": strength, "card": info.card}


def refuse_other_base(info: AdapterInfo, base: Base, accept: bool) -> None:
    """Raise EngineError if the adapter was trained on another base, unless that is accepted."""
    misfit = find_misfit(info, base.name, base.hash, base.names)
    if misfit and not accept:
        raise EngineError(f"Adapter {info.name!r} belongs to another base: {misfit}; --accept_other_base merges all the same.")


def load(spec: str, dtype: str | None, say: Say) -> Base:
    """The base in memory beside the GPU, in the number format it is stored in."""
    try:
        source, _ = bases.find(spec, say)
    except EngineError as error:
        raise EngineError(f"{error} Where it is can be said with --base.") from error
    try:
        stored = AutoConfig.from_pretrained(source).dtype
    except (OSError, ValueError):  # load_base says it better
        stored = None
    return bases.load_base(spec, device="cpu", dtype=dtype or DTYPES.get(stored, "fp32"), say=say)


def format_of(base: Base, infos: Sequence[AdapterInfo], asked: str | None) -> Format:
    names = {asked} if asked else {info.format for info in infos if info.format}
    if len(names) > 1:
        listed = ", ".join(sorted(names))
        raise EngineError(f"The adapters were trained in different formats ({listed}); choose one with --format.")
    name = names.pop() if names else None
    own = next((info.own_format for info in infos if info.own_format and info.format == name), None)
    if own and not asked and name not in (*formats.names(), base.format.name):
        return own
    if name in (None, base.format.name):
        return base.format
    return formats.find(name) if asked else formats.get(name)  # what an adapter's card says is a name and opens no file


@torch.no_grad()
def add(base: Base, weights: Mapping[str, LowRank], strength: float) -> None:
    """W + strength B A, summed in fp32 and rounded once."""
    modules = dict(base.model.named_modules())
    for name, pair in weights.items():
        linear: nn.Linear = modules[name]
        untie(base, linear)
        update = (pair.b @ pair.a).mul_(strength)
        linear.weight.copy_(linear.weight.float().add_(update))


def untie(base: Base, linear: nn.Linear) -> None:
    """An adapted head must not change the embeddings that share its weights."""
    model = base.model
    if linear is model.get_output_embeddings() and linear.weight is model.get_input_embeddings().weight:
        linear.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def fill(
    made: Merged,
    folder: Path,
    name: str,
    *,
    max_shard_size: str = "2GB",
    bin: bool = False,
    identity: str | None = None,
    say: Say = print,
) -> None:
    """Writes the model into an empty folder, with its card, where it is called `name`. identity: see `portable_template`."""
    base, chosen = made.base, made.format
    template = portable_template(chosen, base.tokenizer, identity)
    set_ends(base, chosen)
    model_folder.write_model(base.model, folder, max_shard_size, bin)
    model_folder.write_tokenizer(base.tokenizer, template, folder, say)
    about = {
        "name": name,
        "base": base.record,
        "base_hash": base.hash,
        "hash": bases.weights_hash(base.model),
        "merged": list(made.adapters),
    }
    # with an identity in its template it is asked by that template, and not by the format of this name
    about |= {"system": identity} if identity else {"format": chosen.name, "format_hash": chosen.hash}
    write_json(folder / CARD, about)
    for path in folder.iterdir():
        path.chmod(0o644)


def set_ends(base: Base, chosen: Format) -> None:
    """What ends an answer of this format goes along with the model."""
    ends = sorted(end_ids(base, chosen))
    if ends:
        base.model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]


def read_adapters(words: Sequence[str], strength: float) -> dict[str, float]:
    """`FOLDER` or `FOLDER=0.8` -> folder and strength."""
    found = {}
    for word in words:
        folder, equals, number = word.rpartition("=")
        if not equals or Path(word).is_dir():
            found[word] = strength
            continue
        try:
            found[folder] = float(number)
        except ValueError:
            raise EngineError(f"--adapter {word}: {number!r} is no strength; write FOLDER=0.8.") from None
    return found


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tuning.merge", description="Write adapters into their base.")
    parser.add_argument("--adapter", action="append", required=True, metavar="FOLDER[=STRENGTH]", help="several make a blend")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--strength", type=float, default=1.0, help="of adapters named without one [1]")
    parser.add_argument("--base", help="the base, where the adapter does not say it or it has moved")
    parser.add_argument("--format", help="chat template of the merged model; default: the adapter's")
    parser.add_argument("--dtype", choices=sorted(DTYPES.values()), help="default: the base's")
    parser.add_argument("--max_shard_size", default="2GB", help="of the weights' files [2GB]")
    parser.add_argument("--bin", action="store_true", help="pytorch_model*.bin, for programs of 2023, in place of safetensors")
    parser.add_argument("--lora_alpha", type=float, help="for a checkpoint without configuration")
    parser.add_argument("--accept_other_base", action="store_true", help="merge although the record names another base")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = coming_from.parsed(parser(), arguments, coming_from.MERGE)
    try:
        merge(
            read_adapters(given.adapter, given.strength),
            given.output_dir,
            base=given.base,
            format=given.format,
            dtype=given.dtype,
            max_shard_size=given.max_shard_size,
            bin=given.bin,
            accept_other_base=given.accept_other_base,
            lora_alpha=given.lora_alpha,
        )
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    ending.run(main)
