"""Weights published as a difference: `python -m tuning.apply_delta --base LLAMA --delta BAYLING_DIFF --output_dir D`.

target = base + delta, tensor by tensor: never more in memory than two tensors and one file that is being written.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from common import ending
from common.files import write_json, write_once
from engine.checkpoint import WEIGHTS, refuse_seeming_files, weight_map
from engine.types import EngineError

BUFFERS = re.compile(r".*rotary_emb\.inv_freq")  # old checkpoints store them; they are computed, not learned
SHARD_BYTES = 2 * 10**9


class Tensors:
    """A checkpoint's tensors by name, each read from its file when asked for."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise EngineError(f"{folder} is not a folder.")
        refuse_seeming_files(folder)
        files = sorted(path for path in folder.iterdir() if WEIGHTS.fullmatch(path.name))
        safe = [path for path in files if path.suffix == ".safetensors"]
        if not files:
            raise EngineError(f"{folder} holds no weights (model*.safetensors or pytorch_model*.bin).")
        self.folder = folder
        self.opened: tuple[Path, dict[str, Any]] | None = None
        self.files = {name: path for path in safe or files for name in self.open(path) if not BUFFERS.fullmatch(name)}
        self.refuse_missing()

    def refuse_missing(self) -> None:
        index = next(self.folder.glob("*.index.json"), None)
        wanted = weight_map(index) if index else {}
        gone = sorted({file for name, file in wanted.items() if name not in self.files and not BUFFERS.fullmatch(name)})
        if gone:
            raise EngineError(f"{self.folder} is not whole: {', '.join(gone[:5])} missing or incomplete.")

    def open(self, path: Path) -> dict[str, Any]:
        """name -> tensor, or what gives it; mapped, not read. One file at a time."""
        if not self.opened or self.opened[0] != path:
            self.opened = None  # let go of the file before
            try:
                if path.suffix == ".safetensors":
                    file = safe_open(path, framework="pt")
                    self.opened = path, {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                else:
                    self.opened = path, torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except Exception as error:
                raise EngineError(f"{path} is truncated, damaged or holds program code, and was refused.") from error
        return self.opened[1]

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.open(self.files[name])[name][:]


def apply_delta(
    base: str | Path,
    delta: str | Path,
    output: str | Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    say: Callable[[str], None] = print,
) -> Path:
    """Write base + delta as a model folder in the delta's number format, with the delta's configuration and tokenizer.

    Where the delta has more rows of vocabulary than the base, the base's count as zero. Raises EngineError that names the
    tensors that do not fit; `output` is then not made.
    """
    target = Path(output)
    if target.exists():
        raise EngineError(f"{target} is already there; name another folder for the model.")
    ours, theirs = Tensors(Path(base)), Tensors(Path(delta))
    refuse_names(ours, theirs)

    def fill(folder: Path) -> None:
        write_shards(folder, add_tensors(ours, theirs, say), shard_bytes)
        for path in Path(delta).iterdir():
            if path.is_file() and not WEIGHTS.fullmatch(path.name) and not path.name.endswith(".index.json"):
                shutil.copy(path, folder / path.name)

    return write_once(target, fill)


def refuse_names(base: Tensors, delta: Tensors) -> None:
    """Raise EngineError where base and delta do not hold the same tensors."""
    only_base, only_delta = sorted(set(base.files) - set(delta.files)), sorted(set(delta.files) - set(base.files))
    wrong = [f"only in {base.folder}: {', '.join(only_base[:4])}"] if only_base else []
    wrong += [f"only in {delta.folder}: {', '.join(only_delta[:4])}"] if only_delta else []
    if wrong:
        count = len(only_base) + len(only_delta)
        raise EngineError(f"Base and delta are not of one model; {'; '.join(wrong)} ({count} tensors).")


def add_tensors(base: Tensors, delta: Tensors, say: Callable[[str], None]) -> Iterator[tuple[str, torch.Tensor]]:
    for name in delta.files:
        ours, theirs = base[name], delta[name]
        extra = len(theirs) - len(ours) if theirs.dim() == ours.dim() == 2 and is_vocabulary(name) else 0
        if theirs.shape != ours.shape and not (extra > 0 and theirs.shape[1] == ours.shape[1]):
            raise EngineError(
                f"{name} is {tuple(ours.shape)} in the base and {tuple(theirs.shape)} in the delta: "
                "the delta is a difference to another model."
            )
        if extra:
            say(f"{name}: the delta has {extra} more tokens than the base")
        total = theirs.float()
        total[: len(ours)] += ours.float()
        yield name, total.to(theirs.dtype)


def is_vocabulary(name: str) -> bool:
    """Whether a tensor has a row for every token: a delta may have more of them than its base."""
    return name.endswith(("embed_tokens.weight", "lm_head.weight", "wte.weight", "embed_out.weight", "word_embeddings.weight"))


def write_shards(folder: Path, tensors: Iterator[tuple[str, torch.Tensor]], limit: int) -> None:
    """model-00001-of-0000N.safetensors and their index; one file, without index, if all fits."""
    shards: list[list[str]] = []
    waiting: dict[str, torch.Tensor] = {}
    size = total = 0

    def flush() -> None:
        save_file(waiting, folder / f"part-{len(shards)}", metadata={"format": "pt"})
        (folder / f"part-{len(shards)}").chmod(0o644)
        shards.append(list(waiting))
        waiting.clear()

    for name, tensor in tensors:
        more = tensor.numel() * tensor.element_size()
        if waiting and size + more > limit:
            flush()
            size = 0
        waiting[name] = tensor
        size, total = size + more, total + more
    flush()
    places: dict[str, str] = {}
    for at, names in enumerate(shards):
        file = f"model-{at + 1:05d}-of-{len(shards):05d}.safetensors" if len(shards) > 1 else "model.safetensors"
        (folder / f"part-{at}").rename(folder / file)
        places |= dict.fromkeys(names, file)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        write_json(folder / "model.safetensors.index.json", index)


def read_size(text: str) -> int:
    """`400MB` or `2GB` in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(KB|MB|GB)", text.strip(), re.IGNORECASE)
    if not match:
        raise EngineError(f"--max_shard_size {text!r} is no size; write 400MB or 2GB.")
    return int(float(match[1]) * {"KB": 10**3, "MB": 10**6, "GB": 10**9}[match[2].upper()])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuning.apply_delta", description="Base + published difference = model.")
    parser.add_argument("--base", required=True, help="the model the difference was taken to")
    parser.add_argument("--delta", required=True, help="the folder with the difference")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--max_shard_size", default="2GB", help="of the weights' files [2GB]")
    given = parser.parse_args(arguments)
    try:
        print(apply_delta(given.base, given.delta, given.output_dir, shard_bytes=read_size(given.max_shard_size)))
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    ending.run(main)
