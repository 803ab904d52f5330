"""What a run leaves behind - its state, its process's record, its numbers, its settings - read by those who did not write it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings, strategies as st

import store
from tuning.dataset.recipe import recipe_file, recipe_of
from tuning.jobs import queue, watcher
from tuning.jobs.launch import RECORD
from tuning.train import run_files
from tuning.train.run_files import METRICS, STATE, FileError
from tuning.train.settings import Settings, SettingsError

SOME = settings(max_examples=60, deadline=None, derandomize=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ODD = (
    "[]", "5", "{", "\x00", "[" * 100_000, '{"step": 1' + "0" * 400 + "}", '{"step": true, "loss": []}',
    '{"pid": "x", "token": "the token"}', '{"token": "the token", "pid": 1' + "0" * 30 + "}",
)  # fmt: skip
STATES = ("pid", "process_started", "status", "message", "step", "total", "updated")
RECORDS = ("token", "pid", "start", "child_pid", "child_start", "code")


@pytest.fixture
def job(db_path, tmp_path) -> dict:
    """A job that counts as running, without a process."""
    store.open(db_path).close()
    id = queue.enqueue_command(db_path, ["-c", "pass"], tmp_path / "run")
    claimed = store.jobs.claim(db_path, id, "the token")
    (tmp_path / "run").mkdir()
    return claimed


@pytest.mark.parametrize("file", [STATE, RECORD, METRICS])
@pytest.mark.parametrize("text", ODD)
def test_an_odd_file_of_one_run_does_not_stop_the_queue(db_path, job, tmp_path, file, text):
    (tmp_path / "run" / file).write_text(text + "\n")
    queue.tick(db_path)
    assert store.jobs.metrics(db_path, job["id"]) == []


def test_what_is_wrong_with_a_state_is_told_where_the_run_s_message_stands(job, tmp_path):
    (tmp_path / "run" / STATE).write_text('{"pid": 5, "process_started": 1.0, "step": "many"}')
    assert "state.json: step is 'many', a whole number is needed" in watcher.state_of(job)["message"]
    with pytest.raises(FileError, match="holds list"):
        (tmp_path / "run" / STATE).write_text("[]")
        run_files.read_state(tmp_path / "run")


@SOME
@given(
    st.dictionaries(st.sampled_from(STATES), VALUES, max_size=5), st.dictionaries(st.sampled_from(RECORDS), VALUES, max_size=5)
)
def test_any_state_and_record_are_read_or_told(tmp_path_factory, state, record):
    folder = tmp_path_factory.getbasetemp()
    (folder / STATE).write_text(json.dumps(state))
    (folder / RECORD).write_text(json.dumps(record))
    told = watcher.state_of({"folder": str(folder)})
    assert isinstance(told.get("message", ""), str) and isinstance(told.get("step", 0), int)
    if found := watcher.read_record({"folder": str(folder), "token": record.get("token")}):
        assert watcher.process_columns(found)["pid"] > 0


@SOME
@given(st.lists(st.dictionaries(st.sampled_from(["step", "loss", "lr", "time", "x"]), VALUES, max_size=4), max_size=4))
def test_any_numbers_are_stored_or_left_out(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("numbers")
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    db = folder / "mirror.db"
    store.open(db).close()
    id = queue.enqueue_command(db, ["-c", "pass"], folder)
    watcher.sync_metrics(db, store.jobs.get(db, id))
    steps = {line["step"] for line in lines if type(line.get("step")) is int and 0 <= line["step"] < 2**53}
    assert {row["step"] for row in store.jobs.metrics(db, id)} <= steps


@SOME
@given(st.dictionaries(st.sampled_from([*Settings.__dataclass_fields__, "more"]), VALUES, max_size=5))
def test_any_settings_file_is_settings_or_all_that_is_wrong_with_it(tmp_path_factory, plain):
    file = tmp_path_factory.getbasetemp() / "settings.json"
    file.write_text(json.dumps(plain | {"data_path": "rows.jsonl", "output_dir": "out"}))
    try:
        Settings.load(file)
    except SettingsError as error:
        assert error.problems


@SOME
@given(VALUES)
def test_any_recipe_is_one_or_none(tmp_path_factory, plain):
    rows = tmp_path_factory.getbasetemp() / "rows.jsonl"
    recipe_file(rows).write_text(json.dumps(plain))
    assert recipe_of(rows) is None or recipe_of(rows).as_dict()


def test_an_argument_that_no_command_line_can_hold_fails_its_job_alone(db_path, tmp_path):
    store.open(db_path).close()
    id = queue.enqueue_command(db_path, ["-c", "pa\0ss"], tmp_path / "run")
    queue.tick(db_path)
    job = store.jobs.get(db_path, id)
    assert job["status"] == "failed" and "could not be started" in job["message"]
