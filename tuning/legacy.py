"""What alpaca-lora left behind in 2023, as plain PEFT folders: `python -m tuning.legacy --checkpoint DIR --output_dir D`.

Its Trainer checkpoints (checkpoint-200) hold the low-rank weights under the name of a whole model, pytorch_model.bin, and no
configuration; its final adapter_model.bin was often empty (443 bytes), and the checkpoint is then all there is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from common import ending
from common.files import write_once
from engine.adapter_keys import KEY, strip_wrappers
from engine.adapters import CONFIG, SAFETENSORS, read_config
from engine.checkpoint import refuse_seeming
from engine.types import EngineError

WEIGHTS = "pytorch_model.bin"


def is_checkpoint(folder: Path) -> bool:
    """Whether this is such a checkpoint: whole-model weights by name and no adapter configuration."""
    return (folder / WEIGHTS).is_file() and not (folder / CONFIG).is_file() and not (folder / "config.json").is_file()


def convert(folder: Path, target: Path, alpha: float | None = None) -> Path:
    """Write the checkpoint as a PEFT folder. Raises EngineError.

    The configuration is the one of the run (the folder above, or beside the weights). Without one, rank and layers are read
    from the weights, and `alpha`, which they do not tell, has to be given.
    """
    if target.exists():
        raise EngineError(f"{target} is already there; name another folder.")
    if not (folder / WEIGHTS).is_file():
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:12]) if folder.is_dir() else "no such folder"
        raise EngineError(f"{folder} holds no {WEIGHTS}; there is {there or 'nothing'}.")
    tensors = read_low_rank(folder / WEIGHTS)
    above = next((place / CONFIG for place in (folder, folder.parent) if (place / CONFIG).is_file()), None)
    if above:
        config = read_config(above.parent)
    elif alpha:
        config = guess_config(tensors, alpha)
    else:
        raise EngineError(f"{folder} has no {CONFIG}, nor has the folder above it; give --lora_alpha (the original's is 16).")
    config.inference_mode = True

    def write(place: Path) -> None:
        save_file(tensors, place / SAFETENSORS, metadata={"format": "pt"})
        (place / SAFETENSORS).chmod(0o644)
        config.save_pretrained(str(place))

    return write_once(target, write)


def read_low_rank(file: Path) -> dict[str, torch.Tensor]:
    """The file's LoRA weights under the names PEFT uses now."""
    refuse_seeming([file])
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise EngineError(f"{file} is truncated, damaged or holds program code, and was refused.") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise EngineError(f"{file} is not a table of weights; get the checkpoint again.")
    found = {}
    for key, tensor in state.items():
        match = KEY.fullmatch(strip_wrappers(key))
        if match:
            found[f"base_model.model.{match['module']}.lora_{match['side']}.weight"] = tensor.contiguous()
    if not found:
        raise EngineError(f"{file} holds no LoRA weights ({len(state)} tensors of other names); it is a whole model or empty.")
    return found


def guess_config(tensors: dict[str, torch.Tensor], alpha: float) -> LoraConfig:
    """A configuration from the shapes and names of the tensors alone. Raises EngineError."""
    ranks = {tensor.shape[0] for key, tensor in tensors.items() if ".lora_A." in key}
    if len(ranks) != 1:
        raise EngineError(f"The weights have several ranks ({', '.join(map(str, sorted(ranks)))}); an {CONFIG} is needed.")
    modules = sorted({key.partition(".lora_")[0].rpartition(".")[2] for key in tensors})
    return LoraConfig(r=ranks.pop(), lora_alpha=alpha, target_modules=modules, task_type="CAUSAL_LM")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuning.legacy", description="An alpaca-lora checkpoint as a PEFT folder.")
    parser.add_argument("--checkpoint", required=True, type=Path, help="a folder such as checkpoint-200")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--lora_alpha", type=float, help="where no adapter_config.json tells it")
    given = parser.parse_args(arguments)
    try:
        print(convert(given.checkpoint, given.output_dir, given.lora_alpha))
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    ending.run(main)
