"""The benchmark for a GPU, run small on the CPU, without anything that a machine with a GPU need not have."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from typing import Any

import torch

from bench.gpu.session import Session

# beside torch, transformers, PEFT, safetensors and sentencepiece, with what these bring, the app needs them and this must not
ABSENT = "pydantic pydantic_core gradio datasets sqlite_utils gguf trl bitsandbytes matplotlib scipy krippendorff argon2 pandas"


def numbers(part: Any) -> list[float]:
    inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    own = [part] if isinstance(part, int | float) and not isinstance(part, bool) else []
    return own + [number for one in inner for number in numbers(one)]


def told(part: Any, key: str) -> list[str]:
    """What stands under `error` or `skipped`, anywhere."""
    if not isinstance(part, dict):
        return []
    return ([part[key]] if key in part else []) + [text for one in part.values() for text in told(one, key)]


def test_every_figure_is_there_on_a_cpu_too(tmp_path):
    file = tmp_path / "figures" / "gpu.json"
    program = f"""
import sys
for name in {ABSENT.split()!r}:
    sys.modules[name] = None
from bench.gpu.__main__ import main
sys.exit(main(["--json", {str(file)!r}, "--device", "cpu", "--minutes", "4"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600)
    figures = json.loads(file.read_text())
    assert done.returncode == 0 and not told(figures, "error"), done.stderr + done.stdout
    assert all(map(math.isfinite, numbers(figures)))
    assert figures["facts"]["bandwidth"]["copy"] > 0 and figures["facts"]["matmul"]["tflops"] > 0

    parity = figures["parity"]
    assert parity["ok"] is True
    for name in ("fp32", "fp16", "bf16"):
        assert all(parity[name]["right"].values()) and parity[name]["bank_error"] < 0.1
    assert parity["fp32"]["bank_error"] < 1e-4 and parity["fp32"]["mixed_as_alone"] == "8 of 8"
    assert parity["behaviour"].keys() >= {"out_of_memory", "parking", "conversation", "refusal"}

    loaded = figures["load"]["folder of .bin shards"]
    assert loaded["seconds"] > 0 and loaded["weights_as_written"] is True
    assert figures["load"]["sentencepiece and shards"]["ok"] is True
    for count in ("1", "3"):
        cells = figures["decode"]["rows"][count]
        for who in ("base without graphs", "bank without graphs", "peft mixed"):
            assert cells[who]["step_ms"] > 0
        assert cells["bank without graphs"]["share_of_copy"] > 0
    assert {who for cells in figures["prefill"].values() if isinstance(cells, dict) for who in cells} >= {"base", "bank"}
    assert figures["training"]["gradients"]["ok"] is True
    assert figures["training"]["ratios"].keys() == {"over_plain", "singular_over_plain"}
    assert set(told(figures, "skipped")) >= {"no GPU", "trl is not installed"}
    assert "samples/s" in done.stdout and "ms a step" in done.stdout


def test_a_part_that_fails_or_has_no_time_left_says_so_and_keeps_what_it_had(tmp_path):
    file = tmp_path / "gpu.json"
    session = Session(torch.device("cpu"), torch.float32, "fp32", tmp_path, time.monotonic() + 60, file)

    def fails():
        session.results["part"]["before"] = 1
        raise ValueError("no such kernel")

    session.results["part"] = {}
    session.attempt(session.results, "part", fails)
    session.attempt(session.results, "late", lambda: {"figure": 1}, needs=3600)
    session.attempt(session.results, "next", lambda: {"figure": 2})
    kept = json.loads(file.read_text())
    assert kept["part"]["before"] == 1 and kept["part"]["error"] == "ValueError: no such kernel"
    assert "in fails" in kept["part"]["traceback"]
    assert "figure" not in kept["late"] and kept["late"]["skipped"].startswith(("59 s were left", "60 s were left"))
    assert kept["next"]["figure"] == 2
