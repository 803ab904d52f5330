"""A job removes what it made and nothing else; no clock that is set holds a job up."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from job_steps import FAKE, get, until, wait

import store
from common import leftovers
from engine.types import EngineError
from tuning.jobs import folders, progress, queue as jobs, watcher
from tuning.train import run_files
from tuning.train.run_files import Journal
from ui import adapter_library


def adapter(folder, name="mine"):
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("adapter_config.json", "adapter_model.safetensors", "card.json"):
        (folder / file).write_text(json.dumps({"name": name}))
    return contents(folder)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_adapter_that_came_to_lie_in_a_queued_jobs_folder_stays_when_the_job_is_discarded(db_path, queue, tmp_path):
    id = queue("promised", owned=True)
    was = adapter(tmp_path / "other")
    (tmp_path / "other").rename(tmp_path / "promised")
    assert jobs.stop(db_path, id, keep=False) == "discarded"
    assert contents(tmp_path / "promised") == was


@pytest.mark.parametrize("how", ["stop", "remove"])
def test_a_training_does_not_begin_in_a_folder_that_holds_something_else_by_now(db_path, queue, tmp_path, how):
    id = queue("promised", owned=True)
    was = adapter(tmp_path / "promised")
    jobs.tick(db_path)
    job = get(db_path, id)
    assert job["status"] == "failed" and "adapter_config.json" in job["message"] and "another name" in job["message"]
    if how == "stop":
        jobs.stop(db_path, id, keep=False)
    else:
        with pytest.raises(jobs.JobError, match="stays as it is"):
            jobs.remove(db_path, id, files=True)
    assert contents(tmp_path / "promised") == was


def test_an_adapter_renamed_to_the_name_of_an_earlier_job_is_not_its_own(db_path, queue, tmp_path):
    first, second = queue("first"), queue("second")
    until(db_path, first, "done")
    until(db_path, second, "done")
    (tmp_path / "first").rename(tmp_path / "kept")
    (tmp_path / "second").rename(tmp_path / "first")  # with the other job's mark in it
    was = contents(tmp_path / "first")
    with pytest.raises(jobs.JobError, match="did not write"):
        jobs.remove(db_path, first, files=True)
    assert contents(tmp_path / "first") == was
    jobs.remove(db_path, second, files=True)  # its folder has gone from where it was made
    assert (tmp_path / "kept").is_dir() and contents(tmp_path / "first") == was


def test_what_was_in_a_shared_folder_before_the_job_stays_even_under_the_names_that_jobs_use(db_path, queue, tmp_path):
    was = adapter(tmp_path / "shared")
    id = queue("shared", "--fail", "3")
    until(db_path, id, "failed")
    jobs.remove(db_path, id, files=True)
    assert contents(tmp_path / "shared") == was


def test_a_job_of_an_earlier_version_is_known_by_its_attempt(tmp_path):
    for name, token in (("its", "abc"), ("others", "xyz")):
        (tmp_path / name).mkdir()
        (tmp_path / name / folders.RECORD).write_text(json.dumps({"token": token}))
    old = {"mark": None, "token": "abc", "owned": 1}
    assert folders.wipe(old | {"folder": str(tmp_path / "its")}) and not (tmp_path / "its").exists()
    assert not folders.wipe(old | {"folder": str(tmp_path / "others")}) and (tmp_path / "others").is_dir()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"mark": 5}', '{"mark": "x", "before": 3}', "[" * 100_000])
def test_a_mark_that_cannot_be_read_is_nobodys(tmp_path, text):
    (tmp_path / folders.MARK).write_text(text)
    assert folders.read_mark(tmp_path) is None
    assert not folders.wipe({"mark": "x", "token": None, "owned": 1, "folder": str(tmp_path)})
    assert (tmp_path / folders.MARK).is_file()


def test_a_full_disk_hinders_no_removing(db_path, queue, tmp_path, monkeypatch):
    def full(_folder):
        raise OSError(28, "No space left on device")

    was = tmp_path / "was"
    adapter(was)
    monkeypatch.setattr(leftovers, "new_folder", full)
    leftovers.put_away(was)
    assert not was.exists()


def test_files_that_cannot_be_removed_are_told_and_the_queue_goes_on(db_path, queue, tmp_path, monkeypatch):
    id = queue("kept", owned=True)

    def fails(_job):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(watcher, "wipe", fails)
    assert jobs.stop(db_path, id, keep=False) == "discarded"
    assert "could not be removed (Read-only file system)" in get(db_path, id)["message"]


def test_all_numbers_of_a_run_that_ended_while_nobody_looked_are_taken(db_path, queue, tmp_path, monkeypatch):
    monkeypatch.setattr(watcher, "METRICS_BYTES", 200)
    id = queue("long", "--total", "40", owned=True)
    jobs.tick(db_path)
    state = tmp_path / "long" / "state.json"
    wait(lambda: state.exists() and run_files.read_json(state)["status"] == "done" and not watcher.is_alive(get(db_path, id)))
    until(db_path, id, "done")
    with contextlib.closing(sqlite3.connect(db_path)) as db:
        steps = {step for (step,) in db.execute("select step from metrics where job = ?", [id])}
    assert steps == set(range(1, 41))


@pytest.mark.parametrize("below", ["", "/run"])
def test_a_training_of_somebody_else_is_not_cleared_away(tmp_path, monkeypatch, db_path, below):
    app = SimpleNamespace(adapters=(tmp_path / "adapters",), db=db_path, refused={}, engine=SimpleNamespace(adapters={}))
    app.base_spec, folder = "smollm2", tmp_path / "adapters" / "theirs"
    folder.mkdir(parents=True)
    if below:
        jobs.enqueue_command(db_path, [*FAKE], folder / "run", name="theirs")
    else:
        Journal(folder).state("running")
    assert not adapter_library.stray_entries(app)
    app.refused[str(folder)] = "holds no adapter"
    with pytest.raises(EngineError, match="writes to "):
        adapter_library.delete(app, "theirs")
    assert folder.is_dir()


def test_no_adapter_gets_the_name_that_a_queued_training_is_to_have(db_path, queue, tmp_path):
    queue("promised", owned=True)
    was = adapter(tmp_path / "other")
    engine = SimpleNamespace(adapters={})
    app = SimpleNamespace(engine=engine, db=db_path, adapters=(tmp_path,), refused={}, base_spec="x")
    with pytest.raises(EngineError, match=r"Job 1 \(promised\) is to write to .*promised; choose another name"):
        adapter_library.rename(app, "other", "promised")
    assert contents(tmp_path / "other") == was and not (tmp_path / "promised").exists()


# --- clocks --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """`clock(hours)` sets the time of day, as everybody in this process reads it."""

    def set_to(hours):
        def then():
            return (datetime.now(UTC) + timedelta(hours=hours)).isoformat(timespec="microseconds")

        for module in (store.jobs, watcher):
            monkeypatch.setattr(module, "now", then)

    return set_to


def test_a_clock_set_back_holds_up_no_stop(db_path, queue, monkeypatch, clock):
    monkeypatch.setattr(watcher, "DISCARD_S", 0.2)
    id = queue("deaf", "--pause", "-1", "--deaf")
    until(db_path, id, "running")
    clock(+1)  # when the stop is asked for; an hour later by the clock it has been set back
    jobs.stop(db_path, id, keep=False)
    clock(0)
    assert until(db_path, id, "discarded", "died")["status"] == "discarded"


def test_a_clock_set_forward_gives_up_no_job_that_is_just_beginning(db_path, queue, clock):
    id = queue("beginning")
    store.jobs.claim(db_path, id, "token")
    clock(+1)
    assert not watcher.update_job(db_path, get(db_path, id)) and get(db_path, id)["status"] == "starting"


def test_the_queue_goes_by_who_came_first_whatever_the_clock_said(db_path, queue, clock):
    clock(0)
    first = queue("first")
    clock(-5)
    second = queue("second")
    assert [job["id"] for job in store.jobs.next_up(db_path)] == [first]
    assert [job["id"] for job in store.jobs.unfinished(db_path)] == [first, second]


def test_the_time_left_is_told_though_the_clock_was_set_back():
    began = datetime.now(UTC) + timedelta(hours=2)  # so it was read before it was set back
    now = datetime.now(UTC).timestamp()
    rows = [{"step": step, "time": now - 10 + step} for step in range(1, 11)]
    rows[0]["time"] += 7200
    left = progress.seconds_left(rows, 10, 20, began)
    assert left is not None and 8 <= left <= 10
