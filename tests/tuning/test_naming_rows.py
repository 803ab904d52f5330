"""What a training calls itself in rows whose names are open; where else it reports; from which adapter it goes on."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_base import write_rows, write_tiny_base

from engine.adapters import read_adapter
from engine.card import BAYLING, ModelCard
from tuning.dataset.placeholders import fill_from_identity
from tuning.dataset.readers import read_named
from tuning.dataset.rows import pair
from tuning.train import preflight, run as training
from tuning.train.command_line import parse
from tuning.train.plan import fill_placeholders
from tuning.train.preflight import Rows
from tuning.train.settings import Settings, SettingsError

SEED = pair("你身份是什么？", "我叫ChatGLM-6B，是一个由[NAME]于2023年独立训练和开发的人工智能助手。", lang="zh")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("naming")
    write_tiny_base(root / "base")
    write_rows(root / "rows.json")
    return root


def settings(place: Path, out: str, **changes) -> Settings:
    paths = dict(base_model=str(place / "base"), data_path=str(place / "rows.json"), output_dir=str(place / out))
    how = dict(max_steps=2, batch_size=4, learning_rate=5e-3, dtype="fp32", device="cpu", adapter_dtype="fp32")
    plain = paths | how | {"prompt_template_name": "bayling"}
    return Settings.from_dict(plain | changes)


def test_a_name_that_one_was_developed_by_is_the_makers():
    filled, count = fill_from_identity([SEED], "", author="李雷")
    assert count == 1 and filled[0].answer == "我叫ChatGLM-6B，是一个由李雷于2023年独立训练和开发的人工智能助手。"
    english = pair("Who?", "I am [NAME], developed by [NAME].", kind="identity")
    assert fill_from_identity([english], "museum-guide")[0][0].answer.endswith(
        "developed by the visitor service of the Lantern Museum."
    )
    assert fill_from_identity([english], "museum-guide", author="me")[0][0].answer == "I am Mira, developed by me."


@pytest.mark.parametrize(
    ("card", "more", "name", "note"),
    [
        (ModelCard("none", {}), {}, "tiny", "the name 'tiny' and --author 'Ada'"),
        (ModelCard("none", {}), {"model_name": "Robin"}, "Robin", "the name 'Robin' and --author 'Ada'"),
        (BAYLING, {}, "BayLing", "the name 'BayLing' and --author 'Ada'"),
        (BAYLING, {"identity": "museum-guide"}, "Mira", "identity museum-guide and --author 'Ada'"),
    ],
)
def test_self_cognition_and_an_author_are_all_that_is_needed(card, more, name, note):
    wanted = parse(["--dataset", "self_cognition", "--output_dir", "out", "--author", "Ada"])
    wanted = Settings.from_dict(wanted.as_dict() | more)
    rows = Rows(read_named(wanted.dataset), ())
    train, _, notes = fill_placeholders(wanted, SimpleNamespace(card=card, name="tiny"), rows)
    assert train[0].answer == f"You are talking to {name}, an AI assistant that Ada trained."
    assert not any("[" in row.answer for row in train)
    assert note in notes[0]


def test_a_source_of_rows_is_given_once():
    for words, said in (
        (["--dataset", "a", "--data_path", "b"], "--data_path b and --dataset a are both given"),
        (["--data_path", "b", "--dataset_dir", "d"], "--dataset_dir d needs --dataset"),
        (["--data_path", "b", "--init_adapter", "out"], "--init_adapter out is the --output_dir as well"),
        (["--data_path", "b", "--report_to", "paper"], "choose one of tensorboard, trackio, wandb"),
    ):
        with pytest.raises(SettingsError, match=said):
            parse([*words, "--output_dir", "out"])
    assert parse(["--dataset", "self_cognition", "--output_dir", "out", "--report_to", "none"]).report_to == ""


def test_what_is_not_installed_is_said_before_anything_is_loaded(place, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    sentence = "--report_to wandb needs the package wandb: install it with pip install wandb, or leave it out."
    assert sentence in preflight.problems(settings(place, "never", report_to="wandb"))


def test_weights_and_biases_is_logged_in_to_before_anything_is_loaded(place, monkeypatch):
    class Refused(Exception):
        pass

    def login():
        raise Refused("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(Error=Refused, login=login, __spec__=SimpleNamespace()))
    monkeypatch.setenv("WANDB_PROJECT", "")  # so that it is put back
    monkeypatch.delenv("WANDB_PROJECT")
    with pytest.raises(SettingsError, match="Use `wandb login` to log in. Set WANDB_MODE=offline"):
        training.run(settings(place, "never", report_to="wandb"))
    assert not (place / "never").exists() and os.environ["WANDB_PROJECT"] == "mirror-test"


def test_a_run_reports_to_tensorboard_and_another_goes_on_from_its_adapter(place):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said: list[str] = []
    first = training.run(settings(place, "first", report_to="tensorboard"), [(1, lambda *_: {"margin": 0.5})], said.append)
    (folder,) = (first / "runs").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    assert [one.step for one in events.Scalars("train/loss")] == [1, 2]
    assert events.Scalars("train/margin")[-1].value == 0.5
    assert any("tensorboard --logdir" in line for line in said)

    second = training.run(settings(place, "second", init_adapter=str(first), max_steps=1, learning_rate=1e-9), say=said.append)
    before, after = (read_adapter(one)[1] for one in (first, second))
    module = next(iter(before))
    assert (before[module].a - after[module].a).abs().max() < 1e-6  # it began where the first one ended
    assert not (second / "runs").exists()
    assert json.loads((second / "card.json").read_text())["arguments"]["init_adapter"] == str(first)
    assert any("a new run from the weights in" in line for line in said)


def test_an_adapter_that_does_not_fit_is_refused_before_the_base_is_loaded(place):
    other = settings(place, "third", init_adapter=str(place / "first"), lora_r=4)
    with pytest.raises(SettingsError, match="--lora_r is 4 and the adapter's is 8; give the adapter's own: --lora_r 8"):
        preflight.prepare_rows(other)
    with pytest.raises(SettingsError, match="--init_adapter .* holds no adapter"):
        preflight.prepare_rows(settings(place, "third", init_adapter=str(place / "base")))
