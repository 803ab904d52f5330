"""The benchmark scripts run and write the figures that the README quotes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tiny_base import write_tiny_base

from bench import chat, crowd


@pytest.mark.model
def test_side_by_side_writes_its_ratios(tmp_path):
    file = tmp_path / "figures" / "side_by_side.json"
    short = "from bench import side_by_side; side_by_side.TOKENS = 6; side_by_side.main()"  # what is tested are not the figures
    command = [sys.executable, "-c", short, "--variants", "2", "--repeats", "1", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())
    for ratio in ("bank_over_base", "peft_mixed_over_bank", "sequential_over_bank"):
        assert figures["ratios"][ratio]["2"] > 0
    assert figures["switch_ms"] > 0 and figures["reload_s"] > 0
    assert figures["machine"]["versions"].keys() == {"torch", "transformers", "peft"}


def test_crowd_measures_a_question_beside_a_run_and_what_visits_leave(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(crowd, "WARM", 1)
    monkeypatch.setattr(crowd, "SETTLED_S", 0.1)
    base, file = write_tiny_base(tmp_path / "tiny"), tmp_path / "figures.json"
    sizes = "--rows 4 --run 12 --variants 3 --questions 2 --max-new-tokens 6 --visits 2 --calls 2"
    crowd.main(["--base", str(base), *sizes.split(), "--json", str(file)])
    figures = json.loads(file.read_text())
    assert len(figures["question"]["beside_s"]) == 2 and figures["question"]["ratios"]["median"] > 0
    assert {name: one["count"] for name, one in figures["memory"].items()} == {"visits": 2, "calls": 2}
    said = capsys.readouterr().out
    assert "x its time alone" in said and "2 visits move the memory by" in said


def test_chat_measures_a_conversation_with_and_without_what_is_kept(tmp_path, capsys):
    base, file = write_tiny_base(tmp_path / "tiny"), tmp_path / "figures.json"
    sizes = "--turns 3 --tokens 4 --repeats 1 --probes 4 --probe-tokens 3"
    chat.main(["--base", str(base), *sizes.split(), "--json", str(file)])
    figures = json.loads(file.read_text())
    first, *later = figures["chat"]["turns"]
    assert not any(first["kept_tokens"]) and all(all(row["kept_tokens"]) for row in later)
    assert figures["chat"]["ratios"]["last_over_first"] > 0 and figures["chat"]["without"]["last_s"] > 0
    assert figures["probes"]["same_answers"] == "12 of 12"
    assert "x, without" in capsys.readouterr().out
