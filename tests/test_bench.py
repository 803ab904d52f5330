"""The benchmark scripts run and write the figures that the README quotes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.model
def test_side_by_side_writes_its_ratios(tmp_path):
    file = tmp_path / "figures" / "side_by_side.json"
    command = [sys.executable, "-m", "bench.side_by_side", "--variants", "2", "--repeats", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for ratio in ("bank_over_base", "peft_mixed_over_bank", "sequential_over_bank"):
        assert figures["ratios"][ratio]["2"] > 0
    assert figures["switch_ms"] > 0 and figures["reload_s"] > 0
    assert figures["machine"]["versions"].keys() == {"torch", "transformers", "peft"}
