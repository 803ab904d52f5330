"""Whether a checkpoint fits into memory, told from its files before anything of it is read.

Linux gives a process what it asks for and kills it when it uses it, without a word; so this is asked first.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import psutil
import torch

from engine import device as device_room
from engine.types import EngineError

BESIDE = 1.1  # of the weights: passing copies while they are read, and the answers' caches
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
# as safetensors writes them; what is no plain number format (codes of quantised weights) stays as it is stored
FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "I16": 16, "U16": 16, "I32": 32, "U32": 32, "I64": 64, "U64": 64}
CONFIGURED = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
# the first kind that is there is what transformers reads
KINDS = (
    r"model\.safetensors",
    r"model-\d+-of-\d+\.safetensors",
    r"pytorch_model\.bin",
    r"pytorch_model-\d+-of-\d+\.bin",
    r"(model|pytorch_model).*\.(safetensors|bin)",
)


@dataclass(frozen=True)
class Weights:
    """numbers: that are held in the chosen number format; fixed: bytes that are held as they are stored."""

    numbers: int
    fixed: int = 0

    def bytes(self, dtype: torch.dtype) -> int:
        itemsize: int = dtype.itemsize
        return self.numbers * itemsize + self.fixed

    def __add__(self, other: Weights) -> Weights:
        return Weights(self.numbers + other.numbers, self.fixed + other.fixed)


def gib(count: float) -> str:
    return f"{max(0.0, count) / 2**30:.1f} GiB"


# --- what is needed


def weights_of(source: str | Path) -> Weights | None:
    """What the weights of a checkpoint folder or a Hub id come to; None if that cannot be told without reading them."""
    folder = folder_of(source)
    files = weight_files(path.name for path in folder.iterdir()) if folder else []
    if not folder or not files:
        return None if folder == Path(source) else hub_weights(str(source))
    stored = configured_bytes(folder) or 2  # most published weights are halves
    found = Weights(0)
    for file in (folder / name for name in files):
        about = file.stat()
        found += weights_in(file, about.st_size, about.st_mtime_ns, stored)
    return found


def folder_of(source: str | Path) -> Path | None:
    """Where the files of a checkpoint lie: the folder itself, or the Hub's cache; None if they are not on this machine."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(str(source), "config.json")
    except ValueError:  # no Hub id
        return None
    return Path(config).parent if isinstance(config, str) else None


def weight_files(names: Iterable[str]) -> list[str]:
    """Of a folder's files those that hold the weights: one kind of them, as transformers chooses."""
    there = sorted(names)
    found = ([name for name in there if re.fullmatch(kind, name)] for kind in KINDS)
    return next(filter(None, found), [])


def configured_bytes(folder: Path) -> int | None:
    """Bytes per number as config.json says it, None where it says nothing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        named = str(config.get("dtype") or config.get("torch_dtype")).removeprefix("torch.")
    except (OSError, ValueError, AttributeError):
        return None  # whatever is wrong with the file, the loader says it
    return CONFIGURED.get(named)


@lru_cache(maxsize=256)
def weights_in(file: Path, size: int, _changed: int, stored: int) -> Weights:
    """Of one file, from its header, which is read anew when the file has changed.

    A damaged one counts by its size: what is wrong with it, the loader says.
    """
    try:
        return from_header(file) if file.suffix == ".safetensors" else from_pickle(file)
    except (OSError, ValueError, RuntimeError, EOFError, LookupError, TypeError, AttributeError, pickle.UnpicklingError):
        return Weights(size // stored)


def from_header(file: Path) -> Weights:
    """The table of contents that a .safetensors file begins with (github.com/huggingface/safetensors, Format)."""
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= 100_000_000:
            raise ValueError(f"{file} is no safetensors file")
        header = json.loads(opened.read(length))
    found: dict[str, int] = {}
    for name, about in header.items():
        if name != "__metadata__":
            found[about["dtype"]] = found.get(about["dtype"], 0) + prod(about["shape"])
    return weights_of_kinds(found)


def weights_of_kinds(counts: Mapping[str, int]) -> Weights:
    """From numbers per safetensors type."""
    numbers = sum(count for kind, count in counts.items() if kind in FLOATS)
    return Weights(numbers, sum(count * BITS.get(kind, 8) // 8 for kind, count in counts.items() if kind not in FLOATS))


def from_pickle(file: Path) -> Weights:
    """Shapes only: the meta device has no numbers, and nothing of them is read."""
    numbers = fixed = 0
    for tensor in torch.load(file, map_location="meta", mmap=True, weights_only=True).values():
        if tensor.is_floating_point():
            numbers += tensor.numel()
        else:
            fixed += tensor.nbytes
    return Weights(numbers, fixed)


def hub_weights(name: str) -> Weights | None:
    """Of a model that is not here yet: what the Hub says of its files."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        about = HfApi().model_info(name, files_metadata=True, timeout=10)
    except Exception:  # no connection, no such model ...: the loader, which asks the same, says what is wrong
        return None
    if about.safetensors:
        return weights_of_kinds(about.safetensors.parameters)
    sizes = {file.rfilename: file.size or 0 for file in about.siblings or ()}
    files = weight_files(sizes)
    return Weights(sum(sizes[file] for file in files) // 2) if files else None  # halves, as above


def gguf_weights(file: Path) -> Weights | None:
    """Of a .gguf file once it is converted: every weight a whole number in fp32."""
    from gguf import GGUFReader

    try:
        return Weights(sum(int(tensor.n_elements) for tensor in GGUFReader(file).tensors))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None  # no GGUF file, or a damaged one: the converter says it


# --- what is there


def free_bytes(device: torch.device | str) -> int:
    """Bytes that a new process could have there now."""
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what the chat's last answer left is free for others only now
        left: int = torch.cuda.mem_get_info(device)[0]
        return left
    return int(min(psutil.virtual_memory().available, left_in_container()))


def left_in_container() -> float:
    """Bytes to the nearest limit of the control groups that this process is in; infinite without a limit."""
    return min((left_in_group(folder) for folder in control_groups()), default=float("inf"))


def control_groups() -> list[Path]:
    """The folders of this process's memory groups, up to the root. Inside a container the root itself has the limit."""
    found = [CGROUPS, CGROUPS / "memory"]
    try:
        lines = MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return found
    for line in lines:
        _, kinds, place = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        root = CGROUPS / "memory" if kinds else CGROUPS  # version 1 has a tree for memory, version 2 one for all
        inner = root / place.lstrip("/")
        found += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(root)]
    return list(dict.fromkeys(found))


def left_in_group(folder: Path) -> float:
    """Limit less use, file cache not counted. Version 2 names its files memory.max ..., version 1 memory.limit_in_bytes ..."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = (folder / limit).read_text().strip()
            if most == "max":
                return float("inf")
            about = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            return int(most) - int((folder / used).read_text()) + int(about.get(cached, 0))
        except (OSError, ValueError):  # not this version, or no limit here
            continue
    return float("inf")


# --- whether it fits


def needed_bytes(weights: Weights, dtype: torch.dtype) -> int:
    """Bytes of memory that a base of these weights takes, about."""
    return int(weights.bytes(dtype) * BESIDE)


def choose_dtype(source: str | Path, device: torch.device, asked: str | None = None, name: str = "") -> tuple[torch.dtype, str]:
    """The number format to hold a checkpoint in on `device`, and why: the device's own, or a smaller one where only that fits.

    source: a folder or a Hub id. name: what people call it. Raises EngineError, one sentence with what would fit.
    """
    dtype, reason = device_room.choose_dtype(device, asked)
    weights, there = weights_of(source), free_bytes(device)
    if weights is None or needed_bytes(weights, dtype) <= there:
        return dtype, reason
    short = f"in {NAMES[dtype]} it needs about {gib(needed_bytes(weights, dtype))}, and {gib(there)} are free on {device}"
    smaller = smaller_that_fit(weights, dtype, device, there)
    if smaller and not asked:
        told, why = device_room.choose_dtype(device, smaller[0])
        cost = why.partition("asked for")[2].removeprefix(", and ")
        return told, f"dtype {smaller[0]}: {short}" + (f"; {cost}" if cost else "")
    would = [f"--dtype {one} would fit" for one in smaller[:1]]
    if device.type == "cuda":
        would.append(f"--device cpu has {gib(free_bytes('cpu'))} free")
    would.append("take a smaller base" if would else "free some memory, or take a smaller base")
    raise EngineError(f"{name or source} does not fit into memory: {short}; {', or '.join(would)}.")


def smaller_that_fit(weights: Weights, dtype: torch.dtype, device: torch.device, there: int) -> list[str]:
    """Names of smaller formats that fit, the better one first. A CPU computes fp16 no better than bf16, and cannot train it."""
    found = []
    for name in ("bf16",) if device.type == "cpu" else ("bf16", "fp16"):
        try:
            smaller, _ = device_room.choose_dtype(device, name)
        except EngineError:  # nothing that this device can use
            continue
        if smaller.itemsize < dtype.itemsize and needed_bytes(weights, smaller) <= there:
            found.append(name)
    return found


def refuse_gguf(file: Path) -> None:
    """Raise EngineError if a .gguf file is too large to be converted here."""
    weights, there = gguf_weights(file), free_bytes("cpu")
    if weights and (need := needed_bytes(weights, torch.float32)) > there:
        raise EngineError(
            f"{file.name} does not fit into memory: converted it is in fp32 and needs about {gib(need)}, and {gib(there)} are "
            "free; free some memory, or give the model as a folder of safetensors."
        )
