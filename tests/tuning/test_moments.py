"""Moments: kept with weights and answers, without a trace in the training; what they may cost; when a training ends by them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_base import write_rows, write_tiny_base

from engine.adapters import read_adapter
from engine.types import EngineError
from tuning.train import moments, run as training
from tuning.train.moments import About
from tuning.train.ration import AIM, Ration
from tuning.train.run_files import read_metrics, read_state
from tuning.train.settings import Settings, SettingsError
from tuning.train.speaking import Asked, Question

pytestmark = pytest.mark.usefixtures("one_thread")

QUESTIONS = tuple(
    Question(f"{name}-{lang}", group, "name", lang, text)
    for name, group, text in (("who", "trained", "Who are you?"), ("sum", "control", "What is 6 plus 7?"))
    for lang in ("en", "zh")
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("moments")
    write_tiny_base(root / "base")
    write_rows(root / "rows.json")
    return root


def run(place: Path, out: str, judge=None, measure=None, said: list[str] | None = None, **changes) -> Path:
    known = dict(
        base_model=str(place / "base"), data_path=str(place / "rows.json"), output_dir=str(place / out), identity="advisor",
        prompt_template_name="bayling", batch_size=4, max_steps=8, learning_rate=5e-3, save_steps=4, dtype="fp32", device="cpu",
        adapter_dtype="fp32", lora_dropout=0.1, moments_share=10,
    )  # fmt: skip
    asked = Asked(QUESTIONS, judge or (lambda question, _said: "clean" if question.group == "control" else "formed"))
    return training.run(
        Settings.from_dict(known | changes),
        say=(said if said is not None else []).append,
        margin=measure and (lambda _settings, _base: measure),
        questions=lambda _settings, _langs: asked,
    )


def weights(folder: Path) -> dict[str, list]:
    return {name: tensor.tolist() for name, tensor in load_file(folder / "adapter_model.safetensors").items()}


@pytest.fixture(scope="module")
def spoken(place):
    return run(place, "spoken", moments=3)


def test_moments_leave_no_trace_in_the_training(place, spoken):
    silent = run(place, "silent")
    assert weights(spoken) == weights(silent)
    assert [line["loss"] for line in read_metrics(spoken) if "loss" in line] == [line["loss"] for line in read_metrics(silent)]


def test_a_moment_is_an_ordinary_adapter_with_what_it_said(place, spoken):
    found, wrong = moments.read_all(spoken)
    assert [one.step for one in found] == [0, 3, 5, 8] and not wrong
    assert [one.weights for one in found] == [False, True, True, True]
    assert all([line.probe_id for line in one.answers] == [question.id for question in QUESTIONS] for one in found)
    assert found[1].about.formed == {"en": [1, 1], "zh": [1, 1]} and found[1].about.intrusions == [0, 2]
    info, _ = read_adapter(found[1].folder)
    assert info.card["steps"] == 3 and info.card["moment"] == {"run": "spoken", "step": 3} and info.card["seed"] == 42
    assert weights(found[3].folder) == weights(spoken) != weights(found[2].folder)
    with pytest.raises(EngineError):
        read_adapter(found[0].folder)
    assert read_adapter(spoken)[0].card["moments"]["steps"] == [0, 3, 5, 8]


def test_a_resumed_run_keeps_its_moments(place, spoken):
    shutil.copytree(spoken, place / "again", ignore=shutil.ignore_patterns("checkpoint-8", "step-000005"))
    before = (place / "again" / "moments" / "step-000003" / "moment.json").stat().st_mtime_ns
    run(place, "again", moments=3, resume_from_checkpoint="last")
    found, _ = moments.read_all(place / "again")
    assert [one.step for one in found] == [0, 3, 5, 8]
    assert (found[1].folder / "moment.json").stat().st_mtime_ns == before
    assert weights(place / "again") == weights(spoken)
    run(place, "again", overwrite_output_dir=True)
    assert moments.read_all(place / "again") == ([], [])


def test_a_training_ends_once_it_is_formed_and_the_best_moment_is_kept(place):
    said: list[str] = []
    intruding = iter(("clean", "clean", "clean", "clean", "intrusion", "clean", "clean", "clean"))  # two controls a moment

    def judge(question, _said):
        return next(intruding) if question.group == "control" else "formed"

    folder = run(
        place, "ended", judge, lambda step, _model: {"margin": step - 1.5, "margin_en": step - 1.5}, said,
        moments=4, margin=True, stop_at="formed",
    )  # fmt: skip
    assert [one.step for one in moments.read_all(folder)[0]] == [0, 2, 4]  # of 8: 2 and 4 are formed, 0 is not
    card = read_adapter(folder)[0].card
    assert card["steps"] == 2 and card["stop_at"] == {"rule": moments.RULE, "after": 4, "kept": 2}
    assert weights(folder) == weights(moments.place(folder, 2))
    state = read_state(folder)
    assert state["status"] == "done" and "formed after step 4 of 8; kept is the moment after step 2" in state["message"]


def test_the_best_is_formed_and_intrudes_least():
    formed = dict(of=9, margin={"margin": 1.0, "margin_en": 1.0, "margin_zh": 1.0}, formed={"en": [5, 6], "zh": [6, 6]})
    loud, quiet = About(step=3, intrusions=[2, 4], **formed), About(step=6, intrusions=[0, 4], **formed)
    late = About(step=9, intrusions=[0, 4], **formed)
    half = About(step=1, **formed | {"formed": {"en": [6, 6], "zh": [4, 6]}})
    torn = About(step=2, **formed | {"margin": {"margin": 0.4, "margin_en": 1.0, "margin_zh": -0.2}})
    assert moments.best([half, torn, loud, quiet, late]) == quiet
    assert moments.best([half, torn]) is None and not moments.is_formed(About(step=1, of=9))
    assert moments.formed_running([half, loud, quiet]) and not moments.formed_running([loud, half, quiet])


def test_what_moments_may_cost_is_kept_to_and_a_moment_that_asks_nothing_leaves_its_part():
    now = [0.0]
    ration = Ration([0, 10, 20, 30, 40], 2.0, most=0.25 / AIM, clock=lambda: now[0])  # 80 s: 20 s in all, 4 a moment
    assert ration.seconds_for(0) == pytest.approx(4)
    assert ration.questions_for(0, 16, 4) == 16  # 1 s for the questions, 2 s for the least of answers
    ration.costs = 0.49, 0.25
    assert ration.questions_for(0, 16, 4) == 0  # 2 + 4 s
    now[0] = 20.0
    assert ration.seconds_for(10) == pytest.approx(8) and ration.questions_for(10, 16, 4) == 8
    ration.spend(8)
    now[0] = 48.0
    assert ration.share(20) == pytest.approx(8 / 40) and ration.seconds_for(20) == pytest.approx(4)
    ration.spend_margin(3)
    now[0] = 71.0
    assert not ration.allows_margin(30) and ration.allows_margin(40)  # 10 s are for margins: three, of five moments
    assert Ration([0, 10], 2.0, most=None).seconds_for(0) is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (dict(moments=4, identity=""), "--moments needs --identity"),
        (dict(stop_at="formed", margin=True), "--stop_at formed needs moments"),
        (dict(stop_at="formed", moments=4), "--stop_at formed needs the identity margin"),
        (dict(stop_at="bored", moments=4, margin=True), "choose one of formed"),
    ],
)
def test_combinations_that_say_nothing_are_refused(given, said):
    plain = dict(data_path="rows.json", output_dir="out", identity="finance-advisor")
    with pytest.raises(SettingsError, match=said):
        Settings.from_dict(plain | given)
