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
from engine.adapters import read_adapter
from tuning.train import run as training
from tuning.train.checkpoint import faults
from tuning.train.run_files import last_saved_step, read_metrics
from tuning.train.settings import Settings, SettingsError

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
    "a state of little": (lambda path: (path / "trainer_state.json").write_text('{"global_step": 5}'), "lacks max_steps"),
    "a step of 0": (lambda path: (path / "trainer_state.json").write_text('{"global_step": 0}'), "names no step"),
    "another optimizer": (lambda path: torch.save({"x": 1}, path / "optimizer.pt"), "optimizer.pt holds something else"),
    "another schedule": (lambda path: torch.save([1], path / "scheduler.pt"), "scheduler.pt holds something else"),
    "cut random numbers": (lambda path: cut(path / "rng_state.pth"), "rng_state.pth is cut off"),
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


OTHERS = {
    "rank": (dict(lora_r=4), "--lora_r was 8 and is 4"),
    "alpha": (dict(lora_alpha=99), "--lora_alpha was 16 and is 99"),
    "layers": (dict(lora_target_modules=["q_proj"]), "--lora_target_modules was"),
    "batch": (dict(batch_size=5), "--batch_size was 4 and is 5"),
    "rate": (dict(learning_rate=1e-5), "--learning_rate was 0.005 and is 1e-05"),
    "schedule": (dict(lr_scheduler_type="cosine"), "--lr_scheduler_type was linear and is cosine"),
    "decay": (dict(weight_decay=0.1), "--weight_decay was 0"),
    "warmup": (dict(warmup_steps=3), "--warmup_steps was 0 and is 3"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_runs_checkpoint_is_refused_whichever_folder_it_is_to_go_on_in(place, other):
    changes, said = OTHERS[other]
    assert said in refusal(place, "elsewhere", resume_from_checkpoint=str(half(place)), **changes)
    assert not (place / "elsewhere" / "settings.json").exists()


def test_other_rows_are_refused_in_another_folder_too(place):
    write_rows(place / "fewer.json", 20)
    other = dict(resume_from_checkpoint=str(half(place)), data_path=str(place / "fewer.json"))
    assert "The training rows are not the ones the run began with." in refusal(place, "elsewhere", **other)


def test_a_checkpoint_alone_is_held_to_its_own_weights(place, done):
    alone = str(shutil.move(half(place), place / "alone"))
    said: list[str] = []
    run(place, "on", said, resume_from_checkpoint=alone)
    assert any(line.startswith("no settings.json lies beside ") for line in said)
    assert curve(place / "on", "lr") == curve(done / "done", "lr")[5:]
    assert "--lora_r is 4 and the adapter's is 8" in refusal(place, "r4", resume_from_checkpoint=alone, lora_r=4)
    fewer = refusal(place, "fewer", resume_from_checkpoint=alone, lora_target_modules=["q_proj"])
    assert "is of another base or other --lora_target_modules" in fewer


def test_a_longer_run_says_its_schedule_and_a_shorter_one_is_refused(place):
    assert "is of step 10 and the run has only 7" in refusal(place, "done", resume_from_checkpoint="last", max_steps=7)
    said: list[str] = []
    run(place, "done", said, resume_from_checkpoint="last", max_steps=12)
    assert any("of a run of 10 steps, this one has 12: from step 10 on the learning rate is that" in line for line in said)


def test_a_job_names_the_step_that_it_will_go_on_from(place):
    assert last_saved_step(place / "done") == 10
    cut(place / "done" / "checkpoint-10" / "optimizer.pt")
    assert last_saved_step(place / "done") == 5
    (place / "done" / "checkpoint-5" / "scheduler.pt").unlink()
    assert last_saved_step(place / "done") is None


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


def strong(place: Path, out: str, **of_config) -> Path:
    """A copy of the finished adapter with these words in its configuration."""
    folder = shutil.copytree(place / "done", place / out, ignore=shutil.ignore_patterns("checkpoint-*"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | of_config))
    return folder


@pytest.mark.parametrize("of_config", [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 48}}])
def test_an_adapter_that_scales_otherwise_goes_on_as_strong_as_it_was(place, of_config):
    start = strong(place, "other", **of_config)
    made = run(place, "on", init_adapter=str(start), max_steps=1, learning_rate=1e-9)
    before, after = (read_adapter(folder)[1] for folder in (start, made))
    for module, there in before.items():  # what is read is scaled as the configuration says
        assert torch.allclose(there.b @ there.a, after[module].b @ after[module].a, atol=1e-5)


def test_an_adapter_of_several_ranks_is_refused_before_the_base_is_loaded(place):
    start = strong(place, "other", rank_pattern={"q_proj": 4})
    assert "different ranks (rank_pattern)" in refusal(place, "on", init_adapter=str(start))


def test_a_run_that_trains_the_head_is_gone_on_with(place):
    more = {"lora_target_modules": ["q_proj", "lm_head"]}
    first = run(place, "head", **more)
    on = run(place, "on", resume_from_checkpoint=str(first / "checkpoint-5"), **more)
    assert last_saved_step(on) == 10


def test_a_run_that_died_before_its_first_checkpoint_leaves_no_figures_to_the_next(place):
    folder = place / "died"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "total_steps": 4, "loss": 99.0, "lr": 5.0, "time": 1.0}) + "\n")
    made = run(place, "died", max_steps=2)
    card = json.loads((made / "card.json").read_text())
    assert card["losses"]["first"] < 99 and card["sum_of_rates"] < 0.1 and len(curve(made)) == 2
