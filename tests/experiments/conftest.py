"""What tests of experiments share: a tiny base, a plan over it, and trainings in this process, which are as real as others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_base import write_tiny_base

from experiments import making
from experiments.places import Places
from experiments.run import loop
from experiments.run.__main__ import main
from tuning.train import run as training

PLAN = """\
name: t
base: {base}
format: bayling
device: cpu
dtype: fp32
threads: 1
identity: finance-advisor
langs: [en]
doses: [2, 4]
arms: [{{steps: {steps}}}]
recipes:
  - preset: quick
    settings: {{batch_size: 2, lora_r: 2, lora_target_modules: [q_proj], learning_rate: 0.01, save_steps: {save}}}
prompts: {prompts}
probes: {{sets: [quick], limit: 1, max_new_tokens: 4, margin: {margin}}}
"""


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    return write_tiny_base(tmp_path_factory.mktemp("base") / "tiny", max_position_embeddings=2048)


@pytest.fixture
def lab(tiny, tmp_path, monkeypatch):
    """Places of its own, and `run(*flags, text=...)` -> exit code; without the report, which takes longest."""
    write_report = loop.write_report
    monkeypatch.setattr(loop, "write_report", lambda *_: None)
    before = torch.get_num_threads()
    places = Places(tmp_path / "out", tmp_path / "mirror.db", tmp_path / "adapters")

    def text(steps: int = 2, save: int = 1, margin: str = "false", given_to: str = "") -> str:
        prompts = f"[{{identity: finance-advisor, given_to: [{given_to}]}}]" if given_to else "[]"
        return PLAN.format(base=tiny, steps=steps, save=save, margin=margin, prompts=prompts)

    def run(*flags: str, text: str) -> int:
        file = tmp_path / "plan.yaml"
        file.write_text(text, encoding="utf-8")
        return main([str(file), *places.as_arguments(), *flags])

    yield SimpleNamespace(places=places, text=text, run=run, root=tmp_path, write_report=write_report)
    torch.set_num_threads(before)


@pytest.fixture
def trained(monkeypatch):
    """Trainings in this process: the folders that were trained, in order. `trained.before` is called before each."""
    told = SimpleNamespace(folders=[], before=lambda making: None)

    def train(session, one, tell):
        told.before(one)
        if not making.is_finished(one.folder):
            told.folders.append(one.folder.name)
            making.readers.write(one.rows, one.settings.data_path)
            training.run(one.settings, say=lambda _line: None)
        tell("training", 1.0, adapter=str(one.folder))
        return one.folder

    monkeypatch.setattr(making, "train", train)
    return told
