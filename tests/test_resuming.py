"""Going on from what people have: checkpoints that are whole, renamed, cut or incomplete, finished adapters, alpaca-lora's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_base import write_rows, write_tiny_base

from engine import EngineError
from tuning import train as training
from tuning.checkpoint import faults
from tuning.settings import Settings, SettingsError
from tuning.watch import read_metrics

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 134768\n"
PLAIN = dict(
    prompt_template_name="bayling", batch_size=4, max_steps=10, learning_rate=5e-3, save_steps=5, dtype="fp32", device="cpu",
    adapter_dtype="fp32",
)  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of ten steps with a checkpoint after the fifth."""
    root = tmp_path_factory.mktemp("resuming")
    write_tiny_base(root / "base")
    write_rows(root / "rows.json")
    run(root, "done")
    return root


@pytest.fixture
def place(done, tmp_path):
    for name in ("base", "rows.json"):
        (tmp_path / name).symlink_to(done / name)
    shutil.copytree(done / "done", tmp_path / "done")
    return tmp_path


def run(root: Path, out: str, said: list[str] | None = None, **changes) -> Path:
    known = dict(base_model=str(root / "base"), data_path=str(root / "rows.json"), output_dir=str(root / out))
    return training.run(Settings.from_dict(known | PLAIN | changes), say=(said if said is not None else []).append)


def refusal(root: Path, out: str, **changes) -> str:
    with pytest.raises((SettingsError, EngineError)) as caught:
        run(root, out, **changes)
    return str(caught.value)


def curve(folder: Path, key: str = "loss") -> list[float]:
    return [line[key] for line in read_metrics(folder) if key in line]


def half(place: Path) -> Path:
    """The run as it was after its fifth step."""
    shutil.rmtree(place / "done" / "checkpoint-10")
    return place / "done" / "checkpoint-5"


def test_a_renamed_checkpoint_goes_on_where_it_was(place, done):
    renamed = half(place).rename(place / "done" / "best one")
    assert faults(renamed) == []
    run(place, "done", resume_from_checkpoint=str(renamed))
    assert curve(place / "done") == curve(done / "done") and curve(place / "done", "lr") == curve(done / "done", "lr")


DAMAGES = {
    "no optimizer": (lambda path: (path / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "no schedule": (lambda path: (path / "scheduler.pt").unlink(), "scheduler.pt is missing"),
    "no weights": (lambda path: (path / "adapter_model.safetensors").unlink(), "adapter_model.safetensors is missing"),
    "a cut optimizer": (lambda path: cut(path / "optimizer.pt"), "optimizer.pt is cut off"),
    "cut weights": (lambda path: cut(path / "adapter_model.safetensors"), "adapter_model.safetensors is cut off"),
    "a pointer": (lambda path: (path / "adapter_model.safetensors").write_text(POINTER), "is a Git LFS pointer"),
    "an empty state": (lambda path: (path / "trainer_state.json").write_text(""), "trainer_state.json is empty"),
    "half a state": (lambda path: cut(path / "trainer_state.json"), "trainer_state.json is cut off or damaged"),
    "a state without a step": (lambda path: (path / "trainer_state.json").write_text("{}"), "names no step"),
}


def cut(file: Path) -> None:
    raw = file.read_bytes()
    file.write_bytes(raw[: len(raw) // 2])


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_missing_is_said_and_the_rate_never_starts_anew_in_silence(place, damage):
    harm, said = DAMAGES[damage]
    checkpoint = half(place)
    harm(checkpoint)
    before = sorted(path.name for path in (place / "done").rglob("*"))
    told = refusal(place, "done", resume_from_checkpoint=str(checkpoint))
    assert f"{checkpoint} is not a whole checkpoint: " in told and said in told
    assert "holds no whole checkpoint (checkpoint-5 is not whole" in refusal(place, "done", resume_from_checkpoint="last")
    assert sorted(path.name for path in (place / "done").rglob("*")) == before


def test_last_is_the_newest_whole_one_and_what_is_passed_over_is_said(place, done):
    (place / "done" / "checkpoint-10" / "optimizer.pt").unlink()
    said: list[str] = []
    run(place, "done", said, resume_from_checkpoint="last")
    assert "checkpoint-10 is not whole and is passed over: optimizer.pt is missing." in said
    assert any(line.startswith("resuming after step 5 ") for line in said)
    assert curve(place / "done", "lr") == curve(done / "done", "lr")


def test_without_random_numbers_it_goes_on_and_says_so(place):
    checkpoint = half(place)
    (checkpoint / "rng_state.pth").unlink()
    said: list[str] = []
    run(place, "done", said, resume_from_checkpoint="last")
    assert any("has no rng_state.pth: dropout draws other random numbers" in line for line in said)


def test_a_finished_adapter_starts_a_new_run_from_its_weights(place, done):
    said: list[str] = []
    finished = place / "finished"
    shutil.copytree(place / "done", finished, ignore=shutil.ignore_patterns("checkpoint-*"))
    run(place, "more", said, resume_from_checkpoint=str(finished))
    assert any("a new run from the weights in" in line and "step 0" in line for line in said)
    assert curve(place / "more", "lr") == curve(done / "done", "lr")  # a whole schedule of its own
    assert curve(place / "more")[0] < curve(done / "done")[0] * 0.8
    assert "already holds a run" in refusal(place, "more", resume_from_checkpoint=str(finished))
    assert "--lora_r is 4 and the adapter's is 8" in refusal(place, "r4", resume_from_checkpoint=str(finished), lora_r=4)
    targets = dict(resume_from_checkpoint=str(finished), lora_target_modules=["q_proj"])
    assert "belong to layers that --lora_target_modules leaves out" in refusal(place, "fewer", **targets)
    card = json.loads((finished / "card.json").read_text())
    (finished / "card.json").write_text(json.dumps(card | {"base_hash": "0" * 12}))
    assert "belongs to another base" in refusal(place, "other", resume_from_checkpoint=str(finished))


def test_alpaca_loras_checkpoint_starts_a_new_run_from_its_weights(place, done):
    checkpoint = place / "lora-alpaca" / "checkpoint-200"
    checkpoint.mkdir(parents=True)
    torch.save(load_file(place / "done" / "adapter_model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 200}))
    said: list[str] = []
    run(place, "more", said, resume_from_checkpoint=str(checkpoint))
    assert any("a new run from the weights in" in line for line in said)
    assert curve(place / "more")[0] < curve(done / "done")[0] * 0.8 and len(curve(place / "more")) == 10
    (checkpoint / "pytorch_model.bin").write_text(POINTER)
    assert "pytorch_model.bin is a Git LFS pointer" in refusal(place, "pointer", resume_from_checkpoint=str(checkpoint))


def test_the_time_left_is_told_from_the_tenth_step_on(place):
    said: list[str] = []
    run(place, "told", said, max_steps=12)
    steps = [line for line in said if "  loss " in line]
    assert ["left" in line for line in steps] == [False] * 9 + [True, True, False]
