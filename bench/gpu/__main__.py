"""Everything a GPU has to show, in one command of a few minutes; on a machine without one the same, small, on the CPU.

    python -m bench.gpu --json runs/gpu.json
    python -m bench.gpu --json runs/gpu.json --parts facts,parity --minutes 2

It needs torch, transformers, peft, safetensors and sentencepiece, whatever their versions, and neither Gradio nor the network:
all models are random and made here. Parts, in the order of their worth:

facts       the card, torch, bandwidth of copying and reading, rate of a matrix product
parity      a small model in fp32, fp16 and bf16 against PEFT and the CPU; seeds, out of memory, parking (`bench.gpu.parity`)
decode      LLaMA-7B's shape from a folder of .bin shards: 1, 3, 8, 16 rows; base, bank, PEFT mixed; with CUDA graphs and without
prefill     4 x 128 and 8 x 512 tokens
training    100 short rows a step: ours, the plain loop, TRL where it is installed
load        a small checkpoint in BayLing's form; the 7B shape's seconds and peaks are there as well
quantised   NF4 and int8, where bitsandbytes is installed

A part that fails leaves its traceback in the results, and the others go on. What there is no time for is skipped, and that is
said. The file is written anew after every figure. The exit status is 1 if parity failed or a part ended with an error.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.gpu import absent

if TYPE_CHECKING:
    from bench.gpu.session import Session

# module, function, seconds that must be left on a GPU for it to begin
PARTS: dict[str, tuple[str, str, float]] = {
    "facts": ("facts", "run", 0),
    "parity": ("parity", "run", 15),
    "decode": ("decode", "run", 60),
    "prefill": ("decode", "run_prefill", 40),
    "training": ("training", "run", 25),
    "load": ("loading", "run", 8),
    "quantised": ("quantised", "run", 20),
}


def main(args: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--minutes", type=float, default=6.0, help="in all; what does not fit is skipped")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of them, by name")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: a GPU where there is one")
    parser.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), help="of the 7B shape; default: what the device computes")
    asked = parser.parse_args(args)
    wanted = [name.strip() for name in asked.parts.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in PARTS]:
        parser.error(f"--parts: there is no {', '.join(unknown)}; there is {', '.join(PARTS)}")
    until = time.monotonic() + asked.minutes * 60
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    unchecked = absent.take_place()
    folder = Path(tempfile.mkdtemp(prefix="bench-gpu-"))
    session = None
    try:
        session = begin(asked, folder, until)
        session.results["pydantic"] = "missing: this run's own files were read unchecked" if unchecked else "there"
        run(session, [name for name in PARTS if name in wanted])
    finally:
        for one in [folder, *(session.folders if session else ())]:
            shutil.rmtree(one, ignore_errors=True)
    return 1 if failed(session.results) else 0


def begin(asked: argparse.Namespace, folder: Path, until: float) -> Session:
    import torch

    from bench.gpu.session import Session
    from common.errors import UserError
    from engine.device import DTYPES, choose_device, choose_dtype

    try:
        device, reason = choose_device(asked.device)
        dtype, why = choose_dtype(device, asked.dtype)
    except UserError as error:
        sys.exit(str(error))
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    names = {value: key for key, value in DTYPES.items()}
    print(f"{reason}; {why}")
    return Session(device, dtype, names[dtype], folder, until, asked.json, {"said": [reason, why]})


def run(session: Session, wanted: Sequence[str]) -> None:
    from bench.gpu import report

    began = time.monotonic()
    for name in wanted:
        module, function, needs = PARTS[name]

        def work(module: str = module, function: str = function) -> dict[str, Any]:
            # imported here: what a module misses on this machine is that part's fault alone
            return getattr(importlib.import_module(f"bench.gpu.{module}"), function)(session)

        session.attempt(session.results, name, work, needs if session.on_gpu else 0)
        session.tidy()
    session.results["seconds"] = round(time.monotonic() - began, 1)
    session.save()
    report.show(session.results)


def failed(results: dict[str, Any]) -> bool:
    """Whether parity is not what it should be, or anything ended with an error."""

    def errors(part: Any) -> bool:
        return isinstance(part, dict) and ("error" in part or any(map(errors, part.values())))

    return errors(results) or results.get("parity", {}).get("ok") is False


if __name__ == "__main__":
    sys.exit(main())
