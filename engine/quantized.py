"""The base's weights in int8 or NF4: a quarter of the memory or less, and read so much faster where a step is bound by reading.

On a CPU int8 means: one scale for each row of a weight (an output channel), one for each row of what is multiplied with it, and
whole numbers in between; adapters, embeddings, norms and attention stay as they are. torch takes one range for a whole batch, by
which a row's answer would depend on the rows beside it: so every row is brought to the same range first. The products are those
of torch's quantised engine; torch.ao.quantization, which wraps them, is deprecated, and of what torch has beside them nothing is
as fast without AVX-512 (docs/decisions.md has the figures).

On a GPU both are bitsandbytes': LLM.int8 (arxiv.org/abs/2208.07339) and NF4 (arxiv.org/abs/2305.14314).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from engine import room
from engine.types import EngineError

KINDS = ("int8", "nf4")
LEAST_CUDA = {"int8": (7, 5), "nf4": (6, 0)}  # of the GPU: bitsandbytes' kernels
BYTES = {"int8": 1.05, "nf4": 0.55}  # per parameter on a GPU, scales and what stays in 16 bits included
STEPS = 127  # on either side of 0


def refuse(kind: str, device: torch.device) -> None:
    """Raise EngineError, one sentence, if this machine has no such weights."""
    if problem := problem_of(kind, device):
        raise EngineError(problem)


def problem_of(kind: str, device: torch.device) -> str:
    """What keeps this machine from it; "" if nothing does."""
    if kind not in KINDS:
        return f"--quantize {kind!r} is unknown; use {' or '.join(KINDS)}."
    if device.type == "cpu" and kind == "int8":
        missing = f"--quantize int8: torch {torch.__version__} has no int8 product for this CPU; leave it out."
        return "" if cpu_multiplies() else missing
    if device.type == "cpu":
        return f"--quantize {kind} needs a CUDA GPU, and the device is cpu; --quantize int8 runs there."
    if device.type != "cuda":
        return f"--quantize {kind} runs on a CUDA GPU or the CPU, and the device is {device}; leave it out."
    has, least = torch.cuda.get_device_capability(device), LEAST_CUDA[kind]
    if has < least:
        other = "--quantize nf4 runs there" if kind == "int8" and has >= LEAST_CUDA["nf4"] else "leave it out"
        name = torch.cuda.get_device_name(device)
        return f"--quantize {kind} needs compute capability {least[0]}.{least[1]}, and {name} has {has[0]}.{has[1]}; {other}."
    if not importlib.util.find_spec("bitsandbytes"):
        how = "install it with pip install bitsandbytes, or leave it out"
        return f"--quantize {kind} needs the package bitsandbytes on a GPU: {how}."
    return ""


@functools.cache
def cpu_multiplies() -> bool:
    """Whether torch's quantised engine is there, and right."""
    layer, x = nn.Linear(32, 8), torch.linspace(-1, 2, 2 * 32).view(2, 32)
    right = layer(x)
    try:
        shrink(nn.Sequential(layer), torch.float32)
        found = layer(x)
    except (AttributeError, RuntimeError):  # NotImplementedError is one
        return False
    return bool((found - right).norm() <= 0.05 * right.norm())


# --- on a CPU


class Int8Linear(nn.Linear):
    """packed: codes and scales, for torch's quantised engine alone; weight is empty. part: its outputs, where others are packed
    with it. Without gradient."""

    packed: Any
    part: slice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.packed, edge(self.in_features))[..., self.part] + (0 if self.bias is None else self.bias)


@torch.no_grad()
def shrink(model: nn.Module, dtype: torch.dtype) -> int:
    """Every nn.Linear of a model on the CPU in int8, layer by layer, and the rest in `dtype`; how many layers those were.

    Weights that are shared with the embeddings part from them: those stay whole.
    """
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    read = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}  # as the checkpoint was read
    for linear in linears:
        codes, scale = quantize(linear.weight.data)
        linear.__class__ = Int8Linear
        linear.packed, linear.part = pack(codes, scale), slice(0, len(codes))
        linear.weight = nn.Parameter(codes.new_empty(0), requires_grad=False)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype in read:
            tensor.data = tensor.data.to(dtype)
    return len(linears)


def count_numbers(model: PreTrainedModel) -> int:
    """How many numbers a model's weights are; codes count as what they stand for."""
    linears = (module for module in model.modules() if isinstance(module, Int8Linear))
    rest: int = model.num_parameters()
    return rest + int(sum(linear.out_features * linear.in_features for linear in linears))


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes, scale) of a weight (out, in): codes x scale is what comes closest to it."""
    weight = weight.float()
    scale = (weight.abs().amax(1) / STEPS).clamp(min=torch.finfo(torch.float32).tiny)  # a row may be all zeros
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def pack(codes: torch.Tensor, scale: torch.Tensor) -> Any:
    """In the order that the engine reads them in; opaque."""
    if torch.backends.quantized.engine == "none":
        torch.backends.quantized.engine = next(name for name in torch.backends.quantized.supported_engines if name != "none")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions")  # the only way to it
        zeros = torch.zeros(len(scale), dtype=torch.long)
        made = torch._make_per_channel_quantized_tensor(codes, scale.double(), zeros, 0)
    return torch.ops.quantized.linear_prepack(made, None)


def unpack(packed: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes, scale)."""
    weight, _ = torch.ops.quantized.linear_unpack(packed)
    return weight.int_repr(), weight.q_per_channel_scales().float()


def edge(width: int) -> torch.Tensor:
    """A row that makes the range of every batch the same, (1, width)."""
    row = torch.zeros(1, max(2, width))
    row[0, 0], row[0, 1] = 1, -1
    return row[:, :width]


def product(x: torch.Tensor, packed: Any, edge: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """F.linear(x, weight, bias) for what was packed, in the dtype of x; each row by its own range."""
    flat = x.reshape(-1, x.shape[-1]).float()
    most = torch.linalg.vector_norm(flat, float("inf"), dim=1, keepdim=True).clamp_(min=1e-30)
    # what is NaN would be an error of the whole batch; it is NaN again when it is brought back to its range
    ranged = torch.cat([flat / most, edge]).nan_to_num_(0.0)
    # 7 bits: pairs of products of 8 overflow on processors without VNNI, and an answer would depend on the processor
    y = torch.ops.quantized.linear_dynamic(ranged, packed, True)[:-1]
    y = y.mul_(most).to(x.dtype)
    if bias is not None:
        y += bias
    return y.view(*x.shape[:-1], -1)


def join(layers: Sequence[Int8Linear]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The product of layers that read the same input, packed together if they are not yet."""
    packed = layers[0].packed
    if any(layer.packed is not packed for layer in layers):
        codes, scales = zip(*(unpack(layer.packed) for layer in layers), strict=True)
        packed, start = pack(torch.cat(codes), torch.cat(scales)), 0
        for layer in layers:
            layer.packed, layer.part = packed, slice(start, start := start + layer.out_features)
    bias = None
    if any(layer.bias is not None for layer in layers):
        none = [torch.zeros(layer.out_features) if layer.bias is None else layer.bias.data for layer in layers]
        bias = torch.cat(none)
    return functools.partial(product, packed=packed, edge=edge(layers[0].in_features), bias=bias)


# --- loading


def reading(kind: str, device: torch.device, dtype: torch.dtype, source: str) -> dict[str, Any]:
    """What `from_pretrained` is told, beside where: on a CPU the weights come as they are stored where that is smaller."""
    if device.type == "cpu":
        folder = room.folder_of(source)
        halves = folder is not None and room.configured_bytes(folder) == 2
        return {"dtype": "auto" if halves else dtype}
    if kind == "int8":
        return {"dtype": dtype, "quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"dtype": dtype, "quantization_config": config}


def finish(kind: str, model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> str:
    """What is left to do once the weights are read, and a sentence of what they are now. Raises EngineError."""
    rest = f"all else in {room.NAMES[dtype]}"
    if device.type != "cpu":
        return f"weights {kind} by bitsandbytes {importlib.metadata.version('bitsandbytes')}: asked for; {rest}"
    if not shrink(model, dtype):
        raise EngineError(f"--quantize {kind}: a {model.config.model_type} has no linear layers of the usual kind; leave it out.")
    model.config.dtype = dtype
    return f"weights {kind}, a scale for each output channel and each row: asked for; {rest}"


def refuse_unfit(kind: str, device: torch.device, dtype: torch.dtype, source: str, name: str) -> None:
    """Raise EngineError if a checkpoint does not fit even so, or is quantised already; before its weights are read."""
    folder = room.folder_of(source)
    if folder and (method := quantised_by(folder)):
        raise EngineError(f"{name} is quantised already ({method}); leave --quantize out.")
    weights, there = room.weights_of(source), room.free_bytes(device)
    if weights is None:
        return
    per_number, when = BYTES[kind], ""
    if device.type == "cpu":  # layer by layer: it never takes more than while it is read
        stored = room.configured_bytes(folder) if folder else None
        per_number, when = min(stored or dtype.itemsize, dtype.itemsize), ", which it takes while it is read"
    if (need := int((weights.numbers * per_number + weights.fixed) * room.BESIDE)) > there:
        raise EngineError(
            f"{name} does not fit into memory: for {kind} it needs about {room.gib(need)}{when}, and {room.gib(there)} are free "
            f"on {device}; free some memory, or take a smaller base."
        )


def quantised_by(folder: Path) -> str:
    """The method that config.json names, "" for whole weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError):
        return ""  # whatever is wrong with the file, the loader says it
    return str(config.get("quant_method") or "by its config.json") if isinstance(config, dict) else ""
