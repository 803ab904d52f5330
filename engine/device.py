"""Which device and which number format, chosen by capability and said with the reason."""

from __future__ import annotations

import functools
import os

import torch

from engine.types import EngineError

CU126 = "https://download.pytorch.org/whl/cu126"  # PyTorch's own index of CUDA 12.6 builds, the last with sm_70 (V100)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def choose_device(asked: str | None = None) -> tuple[torch.device, str]:
    """The device to compute on, and why. Raises EngineError when the installed torch cannot drive the GPU."""
    if asked:
        try:
            device = torch.device(asked)
        except RuntimeError as error:
            raise EngineError(f"--device {asked!r} is not a device; use cpu, cuda or cuda:0.") from error
        reason = "asked for"
        if device.type == "cuda" and not torch.cuda.is_available():
            raise EngineError(f"--device {asked}: torch {torch.__version__} sees no CUDA GPU here; use --device cpu.")
    elif torch.cuda.is_available():
        device, reason = torch.device("cuda", torch.cuda.current_device()), "a CUDA GPU is there"
    else:
        device, reason = torch.device("cpu"), f"torch {torch.__version__} sees no CUDA GPU"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        check_arch(name, torch.cuda.get_device_capability(device), torch.cuda.get_arch_list())
        return device, f"device {device} ({name}): {reason}"
    return device, f"device {device}: {reason}"


def check_arch(name: str, capability: tuple[int, int], built_for: list[str]) -> None:
    """Raise EngineError with the install line if no kernel in this torch build runs on the GPU.

    sm_XY code runs on the same major version with an equal or higher minor; compute_XY (PTX) on anything newer.
    """
    for arch in built_for:
        kind, _, digits = arch.rpartition("_")
        digits = digits.rstrip("af")
        if not digits.isdigit():
            continue
        built = (int(digits[:-1]), int(digits[-1]))
        if kind == "compute" and built <= capability:
            return
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return
    raise EngineError(
        f"{name} is sm_{capability[0]}{capability[1]}, and torch {torch.__version__} was built without it "
        f"({', '.join(built_for)}); install a build that has it: pip install torch==2.13.0 --index-url {CU126}"
    )


def choose_dtype(device: torch.device, asked: str | None = None) -> tuple[torch.dtype, str]:
    """The number format of weights and activations on `device`, and why."""
    if asked:
        if asked not in DTYPES:
            raise EngineError(f"--dtype {asked!r} is unknown; use one of {', '.join(DTYPES)}.")
        return DTYPES[asked], f"dtype {asked}: asked for{shortcoming(device, asked)}"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major >= 8:
            return torch.bfloat16, f"dtype bf16: compute capability {major}.{minor} computes it natively (8.0 and up)"
        return torch.float16, f"dtype fp16: compute capability {major}.{minor} has no native bf16 (8.0 and up)"
    if device.type == "cpu" and not cpu_has_bf16():
        return torch.float32, f"dtype fp32: {no_arithmetic_sentence('bf16')}"
    if device.type == "cpu":
        return torch.bfloat16, "dtype bf16: this CPU computes it natively"
    return torch.float32, f"dtype fp32: nothing is known of {device.type}"


def cpu_has_bf16() -> bool:
    """Native bf16 arithmetic (AVX512-BF16, AMX or Arm's BF16), as opposed to emulation, which is slower than fp32."""
    has = torch.cpu.get_capabilities()
    native = any(has.get(flag, False) for flag in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
    return native and cpu_computes(torch.bfloat16)


@functools.cache
def cpu_computes(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies numbers of this format here; torch's fallbacks are many times slower than fp32.

    There is no public question for it. The environment counts as well: ONEDNN_MAX_CPU_ISA may hide what the CPU can do.
    """
    asked = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}.get(dtype)
    if asked is None:
        return True
    supported = getattr(torch.ops.mkldnn, asked, None)  # a build without oneDNN has none
    return bool(supported and supported())


def shortcoming(device: torch.device, asked: str) -> str:
    """What is to be said of a number format that was asked for and that the CPU only imitates; else nothing."""
    if device.type != "cpu" or asked == "fp32":
        return ""
    if cpu_has_bf16() if asked == "bf16" else cpu_computes(torch.float16):
        return ""
    return f"; {no_arithmetic_sentence(asked)}, so it goes by way of fp32: half the memory of --dtype fp32, and slower"


def no_arithmetic_sentence(dtype: str) -> str:
    hidden = " that ONEDNN_MAX_CPU_ISA lets it use" if os.environ.get("ONEDNN_MAX_CPU_ISA") else ""
    return f"this CPU has no native {dtype} arithmetic{hidden}"
