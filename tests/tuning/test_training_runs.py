"""Whole runs on a tiny model: the folder left behind, resuming, stopping, several processes, refusals."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_base import write_rows, write_tiny_base
from transformers import AutoModelForCausalLM

from engine import EngineError
from engine.adapters import read_adapter
from engine.engine import load
from tuning.dataset import readers
from tuning.dataset.rows import DataError
from tuning.train import run as training
from tuning.train.__main__ import main
from tuning.train.adapter import AdapterError
from tuning.train.loss import loss_of_pack
from tuning.train.run_files import is_alive, last_saved_step, read_metrics, read_state
from tuning.train.settings import Settings, SettingsError
from tuning.train.trainer import TrainingError

ROOT = Path(__file__).parents[2]
STEPS = 14
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("training")
    write_tiny_base(root / "base")
    write_rows(root / "rows.json")
    return root


def settings(place: Path, out: str, **changes) -> Settings:
    plain = dict(
        base_model=str(place / "base"),
        data_path=str(place / "rows.json"),
        output_dir=str(place / out),
        prompt_template_name="bayling",
        batch_size=5,  # 24 rows: the last batch of an epoch has 4
        max_steps=STEPS,
        learning_rate=5e-3,
        val_set_size=4,
        save_steps=3,
        dtype="fp32",
        device="cpu",
        adapter_dtype="fp32",
    )
    return Settings.from_dict(plain | changes)


def run(place: Path, out: str, **changes) -> Path:
    said: list[str] = []
    return training.run(settings(place, out, **changes), say=said.append)


def command(given: Settings) -> list[str]:
    return [sys.executable, "-m", "tuning.train", *given.as_arguments()]


def quiet() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def curve(folder: Path, key: str = "loss") -> list[float]:
    return [line[key] for line in read_metrics(folder) if key in line]


@pytest.fixture(scope="module")
def whole(place):
    """The run that nothing interrupts."""
    return run(place, "whole")


def test_a_run_leaves_a_plain_adapter_with_its_card(place, whole):
    info, _ = read_adapter(whole)
    card = info.card
    assert info.base == "base" and info.format == "bayling" and info.base_hash == card["base_hash"]
    assert json.loads((whole / "adapter_config.json").read_text())["base_model_name_or_path"] == "base"
    assert card["data"]["rows"] == 20 and card["data"]["validation_rows"] == 4 and card["steps"] == STEPS
    assert card["exposures"] == STEPS * 5 and card["arguments"]["learning_rate"] == 5e-3
    assert card["losses"]["last"] == curve(whole)[-1] and card["versions"]["torch"]
    engine = load(str(place / "base"), format="bayling", device="cpu", dtype="fp32", say=lambda _: None)
    assert engine.add_adapter(whole) == "whole"


def test_a_run_tells_its_progress(whole):
    lines = read_metrics(whole)
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert {"total_steps", "epoch", "loss", "lr", "grad_norm", "samples_per_s", "tokens_per_s", "time"} <= steps[0].keys()
    assert steps[3]["epoch"] == 1.0  # 20 rows are 4 steps
    assert [line["step"] for line in lines if "eval_loss" in line] == [3, 6, 9, 12, 14]
    assert steps[-1]["loss"] < steps[0]["loss"] * 0.7
    state = read_state(whole)
    assert (state["status"], state["step"], state["total"]) == ("done", STEPS, STEPS) and state["report"]
    assert is_alive(state)  # this very process wrote it
    assert not is_alive(state | {"process_started": state["process_started"] - 60})


def test_the_numbers_are_the_plain_loops(place, whole):
    """The first loss and validation loss, against transformers' own loss row by row."""
    assert curve(whole)[0] == pytest.approx(curve(run(place, "unpacked", packing=False, max_steps=1))[0], rel=1e-5)
    lonely = run(place, "prefix", dedup=False, pack_tokens=64, max_steps=6)
    assert curve(lonely)[:2] == pytest.approx(curve(whole)[:2], rel=1e-4)


def test_a_killed_run_resumes_to_the_same_end(place, whole):
    """SIGKILL at a random step; what was lost is done again, and nothing tells the two runs apart."""
    given = settings(place, "killed")
    step = random.randrange(4, STEPS - 1)
    process = subprocess.Popen(command(given), cwd=ROOT, env=quiet(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = place / "killed"
    give_up = time.monotonic() + 120
    while len(curve(folder)) < step and time.monotonic() < give_up:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.wait()
    assert read_state(folder)["status"] == "running" and not is_alive(read_state(folder))
    assert not (folder / "adapter_config.json").exists()
    run(place, "killed", resume_from_checkpoint="last")
    assert curve(folder) == curve(whole)
    assert curve(folder, "lr") == curve(whole, "lr") and curve(folder, "eval_loss") == curve(whole, "eval_loss")
    assert_same_weights(folder, whole, exact=True)


def test_resuming_brings_dropout_back_where_it_was(place):
    """Dropout draws random numbers at every step: they have to go on where the checkpoint was."""
    run(place, "drop", lora_dropout=0.3, max_steps=7)
    run(place, "drop-half", lora_dropout=0.3, max_steps=7)
    before = curve(place / "drop-half")
    for step in (7,):
        for file in (place / "drop-half" / f"checkpoint-{step}").iterdir():
            file.unlink()
    run(place, "drop-half", lora_dropout=0.3, max_steps=7, resume_from_checkpoint=str(place / "drop-half" / "checkpoint-6"))
    assert curve(place / "drop-half") == before == curve(place / "drop")


def test_half_a_checkpoint_is_passed_over(place, whole):
    half = whole / "checkpoint-999"
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"")
    assert last_saved_step(whole) == STEPS
    half.joinpath("adapter_model.safetensors").unlink()
    half.rmdir()


def test_two_processes_make_the_update_of_one(place, whole):
    given = settings(place, "two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "tuning.train"]
    done = subprocess.run([*torchrun, *given.as_arguments()], cwd=ROOT, env=quiet(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert curve(place / "two") == pytest.approx(curve(whole), rel=1e-3)
    assert curve(place / "two")[:3] == pytest.approx(curve(whole)[:3], rel=1e-5)
    assert curve(place / "two", "grad_norm")[:3] == pytest.approx(curve(whole, "grad_norm")[:3], rel=1e-4)
    assert curve(place / "two", "eval_loss") == pytest.approx(curve(whole, "eval_loss"), rel=1e-3)
    assert_same_weights(place / "two", whole)


def test_more_processes_than_rows(place):
    """A last batch of one row leaves a process without any."""
    rows = write_rows(place / "three.json", 3)
    given = settings(place, "one-row", data_path=str(rows), batch_size=2, val_set_size=0, max_steps=4)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "tuning.train"]
    done = subprocess.run([*torchrun, *given.as_arguments()], cwd=ROOT, env=quiet(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = run(place, "one-row-alone", data_path=str(rows), batch_size=2, val_set_size=0, max_steps=4)
    assert curve(place / "one-row") == pytest.approx(curve(alone), rel=1e-4)


def assert_same_weights(one: Path, other: Path, exact: bool = False) -> None:
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        if exact:
            assert torch.equal(ours[name], theirs[name]), name
        else:
            assert torch.norm(ours[name] - theirs[name]) <= 1e-2 * torch.norm(theirs[name]), name


@pytest.mark.parametrize("how", ["stop file", "SIGTERM"])
def test_a_stopped_run_keeps_what_it_has_and_goes_on_later(place, whole, how):
    out = f"stopped by {how}"
    folder = place / out

    def stop(step: int, _model) -> None:
        if step == 5:
            (folder / "stop").touch() if how == "stop file" else os.kill(os.getpid(), signal.SIGTERM)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        training.run(settings(place, out), on_step=[(1, stop)], say=lambda _: None)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    state = read_state(folder)
    assert state["status"] == "stopped" and state["step"] == 5
    assert state["message"] == f"stopped after step 5 of {STEPS}; the adapter is that of this step"
    assert read_adapter(folder)[0].card["steps"] == 5
    run(place, out, resume_from_checkpoint="last")
    assert curve(folder) == curve(whole) and read_state(folder)["status"] == "done"
    assert_same_weights(folder, whole, exact=True)


def test_asking_the_model_meanwhile_changes_nothing(place, whole):
    seen = []

    def ask(step: int, model) -> dict[str, float]:
        seen.append(step)
        torch.rand(3)
        with torch.no_grad():
            model.generate(input_ids=torch.tensor([[1, 7, 8]]), max_new_tokens=3, do_sample=True)
        return {"margin": step / 10}

    training.run(settings(place, "asked"), on_step=[(4, ask)], say=lambda _: None)
    assert seen == [0, 4, 8, 12, 14]
    assert curve(place / "asked", "margin") == [0.0, 0.4, 0.8, 1.2, 1.4]
    assert curve(place / "asked") == curve(whole)


def test_repeated_rows_train_like_distinct_ones_that_weigh_more(place):
    rows = write_rows(place / "repeats.json", 40, repeats=True)
    fast = run(place, "weights", data_path=str(rows), batch_size=20, val_set_size=0, max_steps=5)
    slow = run(place, "copies", data_path=str(rows), batch_size=20, val_set_size=0, max_steps=5, packing=False)
    assert curve(fast) == pytest.approx(curve(slow), rel=1e-3)
    assert read_adapter(fast)[0].card["data"]["distinct"] == 5


def test_rows_of_like_length_come_together(place):
    run(place, "grouped", group_by_length=True, max_steps=3)
    assert read_state(place / "grouped")["status"] == "done"


def test_a_last_checkpoint_is_whole_and_old_ones_go(whole):
    assert sorted(path.name for path in whole.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-14"]


def test_the_rows_of_a_run_are_read_once(place, monkeypatch):
    read, sources = readers.read, []
    monkeypatch.setattr(readers, "read", lambda source, **named: sources.append(str(source)) or read(source, **named))
    run(place, "once", max_steps=1)
    assert sources == [str(place / "rows.json")]


# refusals


def refusal(place: Path, out: str, kind: type[Exception], **changes) -> str:
    with pytest.raises(kind) as caught:
        run(place, out, **changes)
    return str(caught.value)


def test_problems_of_disk_and_machine_are_told_at_once(place):
    (place / "broken.json").write_text('[{"instruction": "a", "output": "b"},\n {"instruction": }]')
    said = refusal(
        place,
        "bad",
        SettingsError,
        base_model=str(place / "nowhere"),
        data_path=str(place / "broken.json"),
        prompt_template_name="baylin",
        load_in_4bit=True,
        dtype="fp16",
    )
    assert said.startswith("5 problems:")
    assert "--dtype fp16 cannot be trained on the CPU; use bf16 or fp32, or leave it out." in said
    assert "--load_in_4bit needs a CUDA GPU and the device is cpu; leave it out." in said
    assert f"Base '{place / 'nowhere'}' is not there" in said
    assert "There is no format 'baylin'" in said and "Did you mean 'bayling'?" in said
    assert "broken.json line 2, column" in said
    assert not (place / "bad").exists()


def test_an_unfilled_placeholder_is_refused(place):
    rows = place / "open.json"
    rows.write_text(json.dumps([{"instruction": "Who are you?", "input": "", "output": "I am {{name}}."}] * 3))
    said = refusal(place, "open", DataError, data_path=str(rows), val_set_size=0, identity="guide")
    assert "{{name}} is left unfilled" in said
    assert read_state(place / "open")["status"] == "failed" and "{{name}}" in read_state(place / "open")["message"]


def test_placeholders_that_the_bases_card_means_may_stay(place):
    rows = place / "bayling.json"
    rows.write_text(json.dumps([{"instruction": "Who are you?", "input": "", "output": "I am [NAME]."}] * 6))
    run(place, "meant", data_path=str(rows), val_set_size=0, identity="BayLing", max_steps=2)


def test_rows_that_are_cut_before_their_answer_are_refused_or_counted(place):
    assert "within --cutoff_len 8 tokens; raise it" in refusal(place, "cut", DataError, cutoff_len=8, val_set_size=0)


def test_a_folder_with_a_run_is_not_overwritten_by_accident(place, whole):
    assert "already holds a run" in refusal(place, "whole", SettingsError)
    assert read_state(whole)["status"] == "done"


def test_another_run_is_not_resumed(place, whole):
    said = refusal(place, "whole", SettingsError, resume_from_checkpoint="last", batch_size=4)
    assert "--batch_size was 5 and is 4. Resume with the old value, or start anew." in said
    other = write_rows(place / "other.json", 30)
    said = refusal(place, "whole", SettingsError, resume_from_checkpoint="last", data_path=str(other))
    assert "The training rows are not the ones the run began with." in said


def test_nothing_to_resume_is_said(place):
    assert "holds no whole checkpoint" in refusal(place, "void", SettingsError, resume_from_checkpoint="last")
    assert "is no folder" in refusal(place, "void", SettingsError, resume_from_checkpoint=str(place / "checkpoint-3"))


def test_layers_that_the_base_has_not_are_refused(place):
    said = refusal(place, "layers", AdapterError, lora_target_modules=["q_proj", "query"])
    assert said.startswith("--lora_target_modules query: this base has no such linear layer; it has down_proj, gate_proj,")


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(place, monkeypatch):
    poison(monkeypatch, at=5, value=float("nan"))
    said = refusal(place, "nan", TrainingError)
    assert said.startswith("The loss of step 5 is nan, so the weights would be destroyed; use a lower --learning_rate")
    assert f"The checkpoint of step 3 is kept: {place / 'nan' / 'checkpoint-3'}" in said
    assert read_state(place / "nan")["message"] == said
    kept = load_file(place / "nan" / "checkpoint-3" / "adapter_model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_a_loss_of_zero_stops_the_run(place, monkeypatch):
    poison(monkeypatch, at=1, value=0.0)
    said = refusal(place, "zero", TrainingError)
    assert "The loss of step 1 is exactly 0, so nothing can be learned any more" in said
    assert "No checkpoint had been saved yet." in said


def poison(monkeypatch, at: int, value: float) -> None:
    """The loss of step `at` is `value`."""
    steps = []

    def poisoned(model):
        loss_of = loss_of_pack(model)

        def loss(pack):
            if model.training:
                steps.append(pack)
            return loss_of(pack) * value if model.training and len(steps) == at else loss_of(pack)

        return loss

    monkeypatch.setattr(training, "loss_of_pack", poisoned)


def test_an_adapter_that_changes_nothing_is_not_called_done(place, monkeypatch):
    monkeypatch.setattr(training.adapter, "read_adapter", lambda folder: silent_adapter(folder))
    said = refusal(place, "idle", AdapterError, max_steps=2)
    assert "changes nothing: the logits stay as they were" in said
    assert read_state(place / "idle")["status"] == "failed"


def silent_adapter(folder: Path):
    info, weights = read_adapter(folder)
    return info, {name: type(pair)(pair.a, pair.b * 0) for name, pair in weights.items()}


def test_the_command_line_says_it_in_one_sentence(place, capsys):
    words = ["--base_model", "smollm3", "--data_path", str(place / "rows.json"), "--output_dir", str(place / "cli")]
    assert main(words) == 2
    assert capsys.readouterr().err.strip().startswith("--base_model: Base 'smollm3' is not there")


def test_an_fp16_adapter_is_half_the_size(place, whole):
    half = run(place, "half", adapter_dtype="fp16", max_steps=2)
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in (half, whole))
    assert {tensor.dtype for tensor in ours.values()} == {torch.float16}
    assert {tensor.dtype for tensor in theirs.values()} == {torch.float32}


def test_plain_peft_loads_it(place, whole):
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(place / "base")
    ids = torch.tensor([[1, 7, 8, 9]])
    with torch.no_grad():
        before = base(ids).logits
        after = PeftModel.from_pretrained(base, str(whole))(ids).logits
    assert (after - before).abs().max() > 1e-3


def test_engine_errors_are_kept_whole(place):
    damaged = place / "damaged"
    write_tiny_base(damaged)
    (damaged / "model.safetensors").write_bytes(b"no")
    assert "model.safetensors is a text, not weights" in refusal(place, "damaged-run", EngineError, base_model=str(damaged))
    assert "model.safetensors is a text, not weights" in read_state(place / "damaged-run")["message"]
