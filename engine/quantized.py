"""The base's weights in int8 or NF4: a quarter of the memory or less, and read so much faster where a step is bound by reading.

On a CPU int8 means: one scale for each row of a weight (an output channel), the weights rounded to 255 steps, and everything
else - what they are multiplied with, the adapters beside them, embeddings, norms - as it was. So a row's answer does not depend
on the rows beside it, as it would where activations are quantised by what the whole batch holds. torch.ao.quantization,
which does that, is deprecated as well; torchao, its successor, calls the same product that is called here.

On a GPU both are bitsandbytes': LLM.int8 (arxiv.org/abs/2208.07339) and NF4 (arxiv.org/abs/2305.14314).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel

from engine import room, widened
from engine.types import EngineError

KINDS = ("int8", "nf4")
LEAST_CUDA = {"int8": (7, 5), "nf4": (6, 0)}  # of the GPU: bitsandbytes' kernels
BYTES = {"int8": 1.05, "nf4": 0.55}  # per parameter on a GPU, scales and what stays in 16 bits included
STEPS = 127  # on either side of 0
VECTOR = 16  # numbers that AVX-512 takes at once; what is no multiple of it is left to a product that knows how to end
FEW = 16  # rows up to which the weights are read as int8; with more, widening them once costs less (docs/decisions.md)


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
    """Whether torch's product of numbers and int8 weights is there, and right; it is not a public one."""
    weight, x = torch.linspace(-1, 1, 8 * 32).view(8, 32), torch.linspace(0, 1, 2 * 32).view(2, 32)
    codes, scale = quantize(weight)
    try:
        found = few_rows(x, codes, scale)
    except (AttributeError, RuntimeError):  # NotImplementedError is one
        return False
    return bool(torch.allclose(found, x @ (codes * scale[:, None]).T, atol=1e-4))


# --- on a CPU


class Int8Linear(nn.Linear):
    """weight: codes, (out, in) int8. scale: (out,), fp32. Without gradient."""

    scale: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return product(x, self.weight, self.scale, self.bias)


def shrink(model: nn.Module, dtype: torch.dtype) -> int:
    """Every nn.Linear of a model on the CPU in int8, layer by layer, and the rest in `dtype`; how many layers those were.

    Weights that are shared with the embeddings part from them: those stay whole.
    """
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    read = {tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()}  # as the checkpoint was read
    for linear in linears:
        codes, scale = quantize(linear.weight.data)
        linear.__class__ = Int8Linear
        linear.weight = nn.Parameter(codes, requires_grad=False)
        linear.scale = scale
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype in read:
            tensor.data = tensor.data.to(dtype)
    return len(linears)


def quantize(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(codes, scale) of a weight (out, in): codes x scale is what comes closest to it."""
    weight = weight.float()
    scale = (weight.abs().amax(1) / STEPS).clamp(min=torch.finfo(torch.float32).tiny)  # a row may be all zeros
    return (weight / scale[:, None]).round_().to(torch.int8), scale


def product(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """F.linear(x, codes x scale, bias), in the dtype of x."""
    flat = x.reshape(-1, x.shape[-1])
    few = len(flat) <= FEW and flat.shape[1] % VECTOR == 0
    y = few_rows(flat, codes, scale) if few else many_rows(flat, codes, scale)
    if bias is not None:
        y += bias
    return y.view(*x.shape[:-1], len(codes))


def few_rows(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weights widened in the processor's registers: memory is read once, in 8 bits."""
    # in fp32, as it adds up anyhow: with 16 bits it reads past the end of a row
    return torch._weight_int8pack_mm(x.float().contiguous(), codes, scale).to(x.dtype)


def many_rows(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weights widened part by part, for a product of plain numbers."""
    # unscaled sums leave fp16's range
    wide = torch.float32 if x.dtype == torch.float16 or widened.is_needed(x) else x.dtype
    y, x = x.new_empty(len(x), len(codes)), x.to(wide)
    rows = max(1, widened.PART // codes.shape[1])
    for start in range(0, len(codes), rows):
        part = slice(start, start + rows)
        y[:, part] = F.linear(x, codes[part].to(wide)).mul_(scale[part])
    return y


def join(layers: Sequence[Int8Linear]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The product of layers that read the same input, whose codes and scales become views of one tensor each."""
    codes, scale = torch.cat([layer.weight.data for layer in layers]), torch.cat([layer.scale for layer in layers])
    bias = None
    if any(layer.bias is not None for layer in layers):
        none = [scale.new_zeros(layer.out_features) if layer.bias is None else layer.bias.data for layer in layers]
        bias = torch.cat(none)
    start = 0
    for layer in layers:
        part = slice(start, start := start + layer.out_features)
        layer.weight.data, layer.scale = codes[part], scale[part]
    return functools.partial(product, codes=codes, scale=scale, bias=bias)


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
    return f"weights {kind}, a scale for each output channel: asked for; {rest}"


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
