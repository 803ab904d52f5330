"""Two programs on one database know whose run it is; what a program that has ended left is anybody's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from probe_runs import probe, write_run
from probes_page import app, finished, form_values, functions, ongoing, slow, tiny  # noqa: F401

import store
from probes.run import background as probes_background, runner
from store import StoreError, owners, runs
from ui.tabs.probes import start as probes_start

ROOT = Path(__file__).parents[2]
OTHER = """
import sys, time
from store import owners, runs
claim = owners.Claim()
runs.take_over(sys.argv[1], int(sys.argv[2]), claim.text)
print(claim.text, flush=True)
time.sleep(float(sys.argv[3]))
"""


@pytest.fixture
def other(db_path):
    """other(run) -> a program of its own that is busy with the run."""
    started = []

    def begin(db, run):
        paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-c", OTHER, str(db), str(run), "300"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": paths})
        started.append(process)
        assert owners.read(process.stdout.readline())["pid"] == process.pid
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def end(process):
    process.kill()
    process.wait()


def test_a_run_of_another_program_is_not_interrupted_and_is_not_asked_twice(app, ongoing, slow, other):
    run = probes_start.start_run(app, ongoing, form_values())
    ongoing.switches.stop.set()
    finished(ongoing)
    slow.set()
    process = other(app.db, run)
    state = probes_background.state_of(probes_start.background_of(app), runs.get(app.db, run))
    assert state["status"] == "running" and state["elsewhere"]["pid"] == process.pid
    assert functions(app, ongoing)["pb_open"]()["runs"][0]["status"] == "running"
    before = runs.get(app.db, run)
    with pytest.raises(StoreError, match=rf"Run {run} is under way in another program \(process {process.pid}\)"):
        probes_background.resume_run(ongoing, run)
    assert runs.get(app.db, run) == before  # neither failed nor stopped by whoever asked in vain
    end(process)
    assert probes_background.state_of(ongoing, runs.get(app.db, run))["status"] == "interrupted"
    probes_background.resume_run(ongoing, run)
    assert finished(ongoing)["status"] == "done"


def test_whoever_has_a_run_taken_from_them_stores_nothing_more_in_it(app, ongoing, slow, other):
    run = probes_start.start_run(app, ongoing, form_values())
    claim = owners.Claim()
    with store.open(app.db) as db:
        db["runs"].update(run, {"owner": claim.text})  # as if it had been silent for too long
    slow.set()
    assert "taken over" in finished(ongoing)["message"]
    assert runs.get(app.db, run)["status"] == "running" and runs.get(app.db, run)["done"] == 0


def test_one_run_is_not_begun_by_two_in_one_program(app, ongoing, slow, tiny):
    run = probes_start.start_run(app, ongoing, form_values())
    variants, probes, settings, _ = runner.read_run(app.db, run)
    second = runner.run(tiny, variants, probes, settings, db=app.db, run_id=run)
    with pytest.raises(StoreError, match="under way in this program"):
        next(second)
    slow.set()
    assert finished(ongoing)["status"] == "done"


def test_an_owner_that_ended_or_had_its_number_given_anew_has_none(db_path, other):
    run = write_run(db_path, [probe("p")], 1)
    process = other(db_path, run)
    owner = runs.get(db_path, run)["owner"]
    assert owners.is_alive(owner)
    about = json.loads(owner)
    assert not owners.is_alive(json.dumps(about | {"start": about["start"] + "0"}))
    assert not owners.is_alive(json.dumps(about | {"boot": "another"}))
    assert not owners.is_alive(json.dumps(about | {"pid": os.getpid(), "start": owners.process.identity(os.getpid())}))
    end(process)
    assert not owners.is_alive(owner)


def test_a_program_on_another_machine_lives_as_long_as_it_says_so(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(owners.time, "monotonic", lambda: now[0])
    owner = json.dumps({"host": "elsewhere", "boot": "b", "pid": 5, "start": "s", "token": "t" * 16})
    for beat in (0, 1, 2):
        assert owners.is_alive(owner, beat)
        now[0] += owners.SILENT_S - 1
        assert owners.is_alive(owner, beat)
        now[0] += 2
    assert not owners.is_alive(owner, 2) and owners.is_alive(owner, 3)
    assert "on elsewhere" in owners.describe(owner)


@pytest.mark.parametrize("owner", [None, "", "{", "[]", "{}", '{"pid": "1"}', "[" * 100_000])
def test_what_is_no_owner_lives_nowhere(owner):
    assert not owners.is_alive(owner) and owners.describe(owner) == "nobody known"


def test_a_claim_ends_with_whoever_had_it():
    claim = owners.Claim()
    text = claim.text
    assert owners.is_alive(text)
    del claim
    assert not owners.is_alive(text)
    claim = owners.Claim()
    claim.release()
    assert not owners.is_alive(claim.text)
