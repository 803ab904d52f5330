"""What int8 weights gain and change, measured small."""

from __future__ import annotations

import importlib.util
import json

import pytest
from tiny import write_bayling_like

from bench import quantized


def test_every_way_is_timed_and_what_they_change_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quantized, "MEASURED_S", 0.01)
    base = write_bayling_like(tmp_path / "tiny")
    given = ["--base", str(base), "--rows", "1,3", "--repeats", "1", "--json", str(tmp_path / "out.json")]
    quantized.main([*given, "--parts", "products,steps"])
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["machine"]["cpu"]
    for rows in "13":
        ways = found["products"][rows]
        assert ways["plain"]["error"] == 0 and 0 < ways["int8"]["error"] < 0.05 and ways["packed"]["error"] < 1e-4
        assert {"plain", "packed", "int8", "bank", "bank, int8"} <= found["steps"][rows].keys()
        assert all(one["step_ms"] > 0 for one in found["steps"][rows].values())
    assert "x int8" in capsys.readouterr().out
    if importlib.util.find_spec("llama_cpp") is None:
        quantized.main([*given, "--parts", "llama"])
        assert "llama-cpp-python is not installed here" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        quantized.main(["--parts", "all"])


def test_answers_are_compared_place_by_place():
    def rows(*said):
        return {("base", str(at)): {"raw": text, "suggestion": word} for at, (text, word) in enumerate(said)}

    found = quantized.compared(
        rows(("a", "formed"), ("b", "clean"), ("c", None)), rows(("a", "formed"), ("B", "broken"), ("c", None))
    )
    assert found["all"] == found["base"]
    assert (found["base"]["same_text"], found["base"]["judged"], found["base"]["judged_otherwise"]) == (2 / 3, 2, 1)
