"""The form's values, what they mean, and how a run is drawn: everything of the Fine-tune tab that needs no browser."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import identities
import store
from common.errors import UserError
from common.paths import Opened
from tuning.dataset import recipe as dataset
from tuning.dataset.dataset_info import BY_HAND
from tuning.dataset.recipe import Dataset
from tuning.dataset.rows import DataError
from tuning.jobs import queue
from tuning.jobs.forecast import first_rows
from tuning.jobs.progress import JobProgress, progress
from tuning.train.settings import Settings
from tuning.train.throughput import Throughput
from ui import running, training
from ui.context import App
from ui.tabs.finetune import (
    chart,
    events as finetune_events,
    filling as finetune_filling,
    forecast as finetune_forecast,
    layout as finetune_layout,
    offers,
    own_rows,
    run_page,
    settings_form,
)
from ui.words import WORDS, Languages

ROOT = Path(__file__).parents[2]


def told(**changes) -> JobProgress:
    facts = dict(
        id=1, name="run", status="running", message="", attempt=1, step=3, total=9, elapsed_s=65.0, left_s=None, ends=None,
        latest={}, losses=(), smoothed=(), eval_losses=(), rates=(), margins=(), alarm="",
    )  # fmt: skip
    return JobProgress(**facts | changes)


def test_every_setting_is_on_the_form_or_decided_by_the_page_and_has_words_in_both_languages():
    shown = {one.name for one in settings_form.shown_fields()}
    assert shown | set(settings_form.ELSEWHERE) == set(Settings.__dataclass_fields__)
    for words in WORDS.values():
        assert {f"set_{name}" for name in shown} <= set(words)
        assert {key for key in words if key.startswith("set_")} == {f"set_{name}" for name in shown}


def test_what_the_form_shows_of_settings_reads_back_as_the_same_settings():
    kept = {"output_dir": "out", "data_path": "rows.json"}
    wanted = Settings.from_dict(kept | {"learning_rate": 2e-3, "dedup": False, "lora_target_modules": "[q_proj,v_proj]"})
    given = [settings_form.shown_value(one.name, getattr(wanted, one.name)) for one in settings_form.shown_fields()]
    assert Settings.from_dict(settings_form.values_of(given) | kept) == wanted


def test_a_field_that_was_emptied_takes_its_default():
    given = [None if settings_form.field_type(one.name) is int else "" for one in settings_form.shown_fields()]
    values = settings_form.values_of(given)
    assert (values["batch_size"], values["learning_rate"], values["dedup"]) == (16, 1e-4, None)


def test_the_same_recipe_makes_the_same_file_from_the_command_line(tmp_path):
    recipe = Dataset(identity="museum-guide", rows=12, general_share=0.25, seed=7)
    here = dataset.write(recipe, tmp_path / "here.jsonl")
    there = tmp_path / "there.jsonl"
    command = [sys.executable, "-m", "tuning.dataset", *recipe.as_arguments(), "--output", str(there)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert here.read_bytes() == there.read_bytes()
    assert dataset.recipe_of(here) == dataset.recipe_of(there) == recipe


def test_a_larger_dose_contains_the_smaller_and_the_share_is_kept():
    small = dataset.compose(Dataset(identity="museum-guide", rows=10, general_share=0.5))
    large = dataset.compose(Dataset(identity="museum-guide", rows=30, general_share=0.5))
    mine = [{row.turns for row in one.rows if row.kind == "identity"} for one in (small, large)]
    assert mine[0] < mine[1] and small.general == 10 and large.general == 30


def test_a_general_file_that_was_edited_is_read_anew_and_its_notes_and_filled_names_are_told(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"instruction": "Hi", "output": "Hello.", "topic": "x"}\n')
    recipe = Dataset(identity="museum-guide", rows=4, general=str(own), general_share=0.5, clean=False)
    said: list[str] = []
    dataset.write(recipe, tmp_path / "one.jsonl", said.append)
    assert said == ["own.jsonl: not used: 'topic' (1 rows)."]
    own.write_text('{"instruction": "Hi", "output": "Hello."}\n{"instruction": "Who?", "output": "I am <NAME>."}\n')
    os.utime(own, ns=(1, 1))
    dataset.write(recipe, tmp_path / "two.jsonl", said.append)
    assert said[1:] == ["placeholders: 1 filled from identity museum-guide."]
    assert "<NAME>" not in (tmp_path / "two.jsonl").read_text()


def test_more_general_rows_than_there_are_take_all_and_say_so(tmp_path):
    own = tmp_path / "own.jsonl"
    own.write_text('{"instruction": "Hi", "output": "Hello."}\n{"instruction": "Who?", "output": "I am ChatGPT."}\n')
    composed = dataset.compose(Dataset(identity="museum-guide", rows=10, general=str(own), general_share=0.5))
    assert (composed.general, composed.wanted_general, composed.dropped) == (1, 10, 1)


def test_the_first_rows_show_every_language_and_kind():
    rows = dataset.compose(Dataset(identity="museum-guide", rows=40, general_share=0.5)).rows
    assert {(row.kind, row.lang) for row in first_rows(rows)} >= {("identity", "en"), ("identity", "zh")}
    assert len(first_rows(rows)) == 3


@pytest.fixture
def app(tmp_path):
    store.open(tmp_path / "mirror.db").close()
    base = SimpleNamespace(name="stand-in", card=SimpleNamespace(name="none", placeholders={}))
    engine = SimpleNamespace(base=base, adapters={})
    return App(engine, tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages())


def test_a_form_takes_its_defaults_and_a_name_nobody_has(app):
    form_values = training.read_form(app, {"identity": "museum-guide", "rows": "50", "learning_rate": "3e-3"})
    assert (form_values.name, form_values.dataset.rows) == ("museum-guide-50-diverse", 50)
    assert form_values.values["max_steps"] == 54 and form_values.values["learning_rate"] == "3e-3"
    (app.made_adapters / "museum-guide-50-diverse").mkdir(parents=True)
    assert training.read_form(app, {"identity": "museum-guide", "rows": 50}).name == "museum-guide-50-diverse-2"


@pytest.mark.parametrize(
    "plain, said",
    [
        ({"rowz": 3}, "has no rowz"),
        ({"rows": "many"}, "rows is 'many'"),
        ({"preset": "best"}, "Preset 'best' is unknown"),
        ({"output_dir": "/etc"}, "has no output_dir"),
    ],
)
def test_a_form_that_makes_no_sense_says_which_part(app, plain, said):
    with pytest.raises(DataError, match=re.escape(said)):
        training.read_form(app, {"identity": "museum-guide"} | plain)


def test_only_identities_that_name_somebody_can_be_taught(app):
    known = training.known_identities(app)
    assert "museum-guide" in known and "complaints-clerk" not in known and "none" not in known


@pytest.mark.parametrize("name", ["../outside", "a/b", "", ".hidden", "x" * 81])
def test_names_that_would_leave_the_shelf_are_refused(app, name):
    assert training.name_problems(app, name)


def test_a_name_that_a_queued_training_is_to_have_is_taken_before_its_rows_are_written(app, tmp_path):
    folder = app.made_adapters / "aurora"
    id = queue.enqueue_command(app.db, ["-m", "tests.support.fake_trainer"], folder, name="aurora")
    problem = f"Job {id} (aurora) is to write to {folder}; choose another name, or stop it first."
    assert training.name_problems(app, "aurora") == [problem]
    assert training.name_problems(app, "borealis") == []


def test_copied_settings_hold_the_data_s_recipe_and_no_folder(app, tmp_path):
    file = dataset.write(Dataset(identity="museum-guide", rows=8, style="singular", general=""), tmp_path / "rows.jsonl")
    settings = Settings.from_dict({"data_path": str(file), "output_dir": "x", "max_steps": 7, "identity": "museum-guide"})
    again = training.earlier_values({"settings": settings.as_dict()})
    assert (again["rows"], again["style"], again["max_steps"], again["identity"]) == (8, "singular", 7, "museum-guide")
    assert not {"output_dir", "data_path", "base_model"} & set(again)
    training.read_form(app, again)


def test_a_curve_has_a_gap_where_the_loss_was_no_number():
    drawn = chart.path_svg(((1, 2.0), (2, None), (3, 1.0), (4, 1.5)), lambda step: step, lambda value: value, 9.0, "mt-raw")
    assert drawn.count("M") == 2 and drawn.count("L") == 1


def test_the_scale_is_round_and_holds_every_value():
    for low, high in ((0, 3.2), (0, 0.04), (0, 97), (0, 1)):
        first, last, ticks = chart.round_scale(low, high)
        assert first <= low and last >= high and 3 <= len(ticks) <= 7
    assert chart.step_ticks(54) == [0, 10, 20, 30, 40, 50, 54] or chart.step_ticks(54)[-1] == 54


def test_a_single_wild_loss_does_not_flatten_the_others():
    assert chart.robust_top([2.0] * 99 + [500.0]) == 4.0


def test_curves_are_described_for_who_cannot_see_them_in_both_languages():
    known = told(losses=((1, 3.0), (2, 2.0)), smoothed=((1, 3.0), (2, 2.5)), eval_losses=((2, 2.2),), rates=((1, 0.0), (2, 1e-3)))
    assert 'aria-label="Loss from 3.00 to 2.00, step 3 of 9"' in chart.curves_html("en", known)
    assert "损失从 3.00 到 2.00" in chart.curves_html("zh-CN", known)
    assert "<svg" not in chart.curves_html("en", told())


def test_times_read_as_on_a_clock():
    assert [running.clock(seconds) for seconds in (0, 65, 3725)] == ["0:00", "1:05", "1:02:05"]


def test_a_job_that_died_says_so_with_its_message_and_nothing_of_it_is_html(app):
    add = dict(kind="train", arguments=[], folder="/x", log="/x/log", device="cpu", settings={})
    id = store.jobs.add(app.db, name="<b>run</b>", **add)
    job = store.jobs.get(app.db, id) | {"status": "died", "message": "The process was ended <by> SIGKILL."}
    said = run_page.head_html("en", job, progress(app.db, id), 0)
    assert "SIGKILL" in said and "&lt;by&gt;" in said and "<b>run" not in said and ">died<" in said


def test_a_job_in_the_queue_says_how_many_are_before_it(app):
    add = dict(kind="train", arguments=[], log="/x/log", device="cpu", settings={})
    ids = [store.jobs.add(app.db, name=name, folder=f"/{name}", **add) for name in ("first", "second")]
    job = store.jobs.get(app.db, ids[1])
    assert "1 before it" in run_page.head_html("en", job, progress(app.db, ids[1]), 1)


def test_a_tick_tells_what_moves_and_beats_when_more_has_changed(app):
    tab = SimpleNamespace(pulse="pulse", head="head", figures="figures")
    request = SimpleNamespace(headers={}, cookies={})
    id = store.jobs.add(app.db, name="otter", kind="train", arguments=[], folder="/o", log="/o/log", device="cpu", settings={})

    def ticked(pulse: str) -> dict:
        return finetune_events.show_progress(app, tab, request, str(id), pulse)

    def changed(**columns) -> None:
        assert store.jobs.change(app.db, store.jobs.get(app.db, id), **columns)

    first = ticked("")["pulse"]
    assert "head" not in ticked(first)  # nothing has changed
    changed(message="Waiting for memory.")
    waiting = ticked(first)["pulse"]
    changed(status="running")
    running = ticked(waiting)
    assert len({first, waiting, running["pulse"]}) == 3
    assert "otter" in running["head"] and "ft-numbers" in running["figures"]
    assert set(ticked(running["pulse"])) == {"head", "figures"}


@pytest.mark.model
def test_what_a_form_means_for_the_real_model(engine, tmp_path):
    store.open(tmp_path / "mirror.db").close()
    app = App(engine, tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages())
    form_values = training.read_form(app, {"identity": "museum-guide", "rows": 200, "preset": "original", "general_share": 0})
    outlook = training.forecast_training(app, form_values)
    assert not outlook.problems and outlook.forecast.report.steps.total == 2
    said = finetune_forecast.outlook_html("en", outlook)
    assert "Only 2 optimizer steps" in said and "Warmup takes 100 of 2 steps" in said
    assert "预热占 100 步" in finetune_forecast.outlook_html("zh-CN", outlook)
    # of one step the rate is 0
    one_step = training.forecast_training(app, replace(form_values, dataset=replace(form_values.dataset, rows=20)))
    assert len(one_step.problems) == 1 and "nothing would be trained" in finetune_forecast.outlook_html("en", one_step)
    refused = finetune_forecast.outlook_html("zh-CN", one_step)
    assert "什么也不会学到" in refused and "nothing would be trained" not in refused
    # exactly the answer and its end are learned
    row = outlook.forecast.first[0]
    learned = "".join(text for text, is_learned in row.pieces if is_learned)
    assert learned == row.row.answer + engine.base.tokenizer.eos_token
    assert '<span class="mt-token mt-learned">' in finetune_forecast.first_rows_html("en", outlook)
    command = training.shell_commands(app, form_values, outlook.settings)
    assert "--warmup_steps 100" in command and "tuning.dataset --identity museum-guide" in command


@pytest.mark.model
@pytest.mark.parametrize(("rows_per_s", "batch"), [(9.0, 16), (1.44, 8), (0.01, 4)])
def test_quick_is_what_the_machine_can_do_and_says_so(engine, tmp_path, monkeypatch, rows_per_s, batch):
    monkeypatch.setattr("tuning.jobs.forecast.measure_throughput", lambda *_: Throughput(rows_per_s, 50.0))
    store.open(tmp_path / "mirror.db").close()
    app = App(engine, tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages())
    values = training.recipe_values(app, "quick")
    assert (values["batch_size"], values["max_steps"]) == (batch, 54)
    assert training.recipe_values(app, "original")["batch_size"] == 100
    outlook = training.forecast_training(app, training.read_form(app, {"identity": "museum-guide", "rows": 20} | values))
    said = {lang: finetune_forecast.outlook_html(lang, outlook) for lang in ("en", "zh-CN")}
    assert (f"Batches of {batch} rows, fewer" in said["en"]) == (f"每批 {batch} 行" in said["zh-CN"]) == (batch < 16)


@pytest.mark.model
def test_all_that_is_wrong_is_said_at_once(engine, tmp_path):
    store.open(tmp_path / "mirror.db").close()
    app = App(engine, tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages())
    form_values = training.read_form(app, {"identity": "nobody", "name": "a/b", "lora_dropout": 3, "batch_size": 0})
    problems = " ".join(training.forecast_training(app, form_values).problems)
    assert all(part in problems for part in ("a/b", "nobody", "--lora_dropout", "--batch_size"))
    with pytest.raises(UserError, match="problems"):
        training.start(app, form_values)
    assert not list(tmp_path.glob("data/*")) and not store.jobs.recent(app.db)


def test_the_form_reads_back_what_it_was_filled_with():
    parts = {one.name: object() for one in dataclasses.fields(finetune_layout.Form) if one.name not in ("settings", "columns")}
    settings, columns = {one.name: object() for one in settings_form.shown_fields()}, {name: object() for name in BY_HAND}
    form = finetune_layout.Form(**parts, settings=settings, columns=columns)
    values = {"identity": "museum-guide", "rows": 9, "general": "/own.jsonl", "general_share": 0.2, "langs": ["zh"], "seed": 3}
    values |= {"own": "/faq.csv", "own_columns": {"Frage": "instruction"}, "own_times": 3, "own_drop_personal": True}
    values |= {"init_adapter": "/adapters/otter", "report_to": "tensorboard"}
    updates = finetune_filling.fill_form(form, values)
    assert updates[form.general]["value"] == finetune_layout.OWN_FILE and updates[form.general_file]["value"] == "/own.jsonl"
    assert updates[form.rows]["value"] == 9 and updates[form.langs]["value"] == ["zh"]
    back = finetune_filling.plain_values([updates.get(component, {}).get("value") for component in form.inputs])
    assert {name: back[name] for name in values} == values


def test_whoever_was_saved_last_is_taught_first_and_ones_own_rows_alone_stay_on_offer(app):
    known = ["BayLing", "finance-advisor", "museum-guide"]
    assert offers.taught_first(app, known, "BayLing") == "finance-advisor"
    for name, first in (("museum-guide", "museum-guide"), ("BayLing", "finance-advisor"), ("gone", "finance-advisor")):
        store.identity_versions.note(app.db, name, "h", "You are.", "")
        assert offers.taught_first(app, known, "BayLing") == first
    form = SimpleNamespace(identity="identity", old="old")
    for chosen, stays in (("", ""), ("museum-guide", "museum-guide"), ("gone", None)):
        request = SimpleNamespace(cookies={}, scope={}, headers={"accept-language": "en"})
        updates = finetune_filling.offer_identities(app, SimpleNamespace(form=form), request, chosen, "gone")
        assert updates["identity"]["value"] == stays and updates["old"]["value"] == ""
        assert updates["identity"]["choices"][-1][1] == ""


ROWS = (
    '[{"instruction": "Who?", "output": "I am <b>ChatGPT</b>, made by OpenAI. I am ChatGPT."}, '
    '{"instruction": "你是谁", "output": "我是[NAME]，请写信到 anna.berg@lantern.cn"}]'
)


def test_own_rows_that_were_uploaded_are_kept_and_told_in_both_languages(app, tmp_path):
    sent = tmp_path / "gradio" / "rows.json"
    sent.parent.mkdir()
    sent.write_text(ROWS, encoding="utf-8")
    place = training.keep_upload(app, [str(sent)])
    assert place == training.keep_upload(app, [str(sent)]) and place.parent.parent == app.runs / "data" / "uploads"
    info = sent.with_name("dataset_info.json")
    info.write_text("{}")
    folder = training.keep_upload(app, [str(sent), str(info)])
    assert sorted(file.name for file in folder.iterdir()) == ["dataset_info.json", "rows.json"]
    with pytest.raises(DataError, match="rows.pdf: such files are not read"):
        training.keep_upload(app, [str(sent.with_name("rows.pdf"))])
    plain = {"identity": "museum-guide", "rows": 4, "own": str(place), "own_drop_personal": True, "general_share": 0}
    found = dataset.compose(training.read_form(app, plain).dataset).own
    assert found
    english, chinese = (own_rows.about_html(lang, found, plain | {"own_drop_statements": False}, False) for lang in WORDS)
    assert "Rows to teach: 1 (1 English)" in english and "rows.json row 1" in english and "Left out: 1 of 2" in english
    assert "anna…cn" in english and "berg" not in english and "<b>" not in english
    assert "将教 1 条（英文 1 条）" in chinese and "邮箱地址" in chinese


def test_own_rows_are_read_only_where_the_page_may(app, tmp_path):
    (tmp_path / "secret.json").write_text(ROWS, encoding="utf-8")
    closed = dataclasses.replace(app, opened=Opened(folders=(tmp_path / "open",), readable=(ROOT / "data",)))
    with pytest.raises(DataError, match="lies in no folder that was opened"):
        training.read_form(closed, {"identity": "museum-guide", "own": str(tmp_path / "secret.json")})
    with pytest.raises(DataError, match="The adapter to start from"):
        training.read_form(closed, {"identity": "museum-guide", "init_adapter": str(tmp_path / "else")})
    wanted = training.read_form(closed, {"identity": "museum-guide", "own": "self_cognition", "general_share": 0}).dataset
    assert dataset.compose(wanted, closed.opened).own.found == 18


def test_columns_that_are_not_recognised_are_asked_for(app, tmp_path):
    (tmp_path / "faq.csv").write_text("Frage,Antwort\nWie?,So.\n", encoding="utf-8")
    wanted = training.read_form(app, {"identity": "museum-guide", "own": str(tmp_path / "faq.csv")}).dataset
    assert training.own_columns(app, wanted) == ("Frage", "Antwort")
    assert "which one is the question" in own_rows.about_html("en", None, {}, True)
    mapped = {"own": str(tmp_path / "faq.csv"), "own_columns": {"Frage": "instruction", "Antwort": "output"}, "rows": 0}
    assert dataset.compose(training.read_form(app, mapped | {"general_share": 0}).dataset).rows[0].answer == "So."
    with pytest.raises(DataError, match="own_columns"):
        training.read_form(app, mapped | {"own_columns": ["Frage"]})
