"""Jobs with the real trainer on a tiny model, and the parts that need no process: command lines, logs, curves."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys

import psutil
import pytest
from job_steps import get, until, wait
from tiny_base import write_rows, write_tiny_base

import store
from tuning.jobs import processes, queue
from tuning.jobs.launch import resuming_arguments
from tuning.jobs.progress import POINTS, thin
from tuning.jobs.wrapper import NICE
from tuning.train import step_time
from tuning.train.settings import Settings, SettingsError


def test_the_command_that_resumes_drops_what_would_contradict_it():
    given = "-m tuning.train --overwrite_output_dir True --output_dir x --resume-from-checkpoint x/checkpoint-2 --seed 1"
    wanted = "-m tuning.train --output_dir x --seed 1 --resume_from_checkpoint last"
    assert resuming_arguments([*given.split(), "--overwrite-output-dir"]) == wanted.split()
    assert (
        resuming_arguments([*wanted.split(), "--resume_from_checkpoint=x/checkpoint-4", "--overwrite_output_dir=True"])
        == wanted.split()
    )


def test_an_ended_process_that_nobody_collected_counts_as_ended():
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    wait(lambda: psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE)
    assert processes.identity(zombie.pid) is None
    zombie.wait()
    assert processes.identity(os.getpid()) and processes.identity(2**22 + 1) is None


@pytest.mark.skipif(not hasattr(os, "nice"), reason="the system has no such number")
def test_a_job_gives_way_to_whoever_works_at_the_machine(tmp_path):
    own = os.nice(0)
    say = "import os, pathlib as p; g = p.Path('/proc/self/autogroup'); print(os.nice(0), g.exists() and g.read_text().strip())"
    command = [sys.executable, "-m", "tuning.jobs.wrapper", str(tmp_path / "record.json"), "token", "-c", say]
    done = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True)
    nice, group = done.stdout.splitlines()[-1].split(" ", 1)
    assert int(nice) == min(19, own + NICE) and os.nice(0) == own
    assert group == "False" or group.endswith(f"nice {NICE}")


def test_a_long_run_is_drawn_with_a_bounded_number_of_points():
    points = [(step, 1.0) for step in range(1, 10_001)]
    assert len(thin(points)) <= POINTS and thin(points)[-1] == (10_000, 1.0)
    assert thin(points[:POINTS]) == tuple(points[:POINTS]) and thin([]) == ()


def test_the_log_tail_is_bounded(tmp_path):
    log = tmp_path / "log.txt"
    assert queue.tail(log) == ""
    log.write_text("".join(f"行 {at}\n" for at in range(100_000)) + "10%\r50%\r100%\r\nlast\n", encoding="utf-8")
    assert queue.tail(log, 3) == "行 99999\n100%\nlast"
    assert len(queue.tail(log, 10**6, 5000).encode()) <= 5000 and queue.tail(log, 10**6, 5000).startswith("行 ")
    log.write_bytes(b"x" * 50_000)
    assert len(queue.tail(log, limit=1000)) == 1000


def real(tmp_path, out="mira", **changes) -> Settings:
    plain = dict(
        base_model=str(tmp_path / "base"),
        data_path=str(tmp_path / "rows.json"),
        output_dir=str(tmp_path / out),
        prompt_template_name="bayling",
        batch_size=4,
        max_steps=400,
        save_steps=5,
        learning_rate=1e-3,
        dtype="fp32",
        device="cpu",
        threads=1,
    )
    return Settings(**plain | changes)


def past_step(db, id, step):
    def seen():
        job = get(db, id)
        return job["step"] > step or job["status"] in store.jobs.ENDED

    wait(seen, lambda: queue.tick(db))


def test_real_training_is_stopped_kept_resumed_and_done(db_path, tmp_path):
    write_tiny_base(tmp_path / "base")
    write_rows(tmp_path / "rows.json")
    id = queue.enqueue(db_path, real(tmp_path))
    past_step(db_path, id, 2)
    queue.stop(db_path, id)
    job = until(db_path, id, *store.jobs.ENDED)
    assert job["status"] == "stopped", queue.tail(job["log"])
    stopped_at = job["step"]
    assert 3 <= stopped_at < 400 and (tmp_path / "mira" / "adapter_config.json").is_file()
    assert queue.resume(db_path, id) == stopped_at
    past_step(db_path, id, stopped_at)
    os.kill(get(db_path, id)["child_pid"], signal.SIGKILL)
    job = until(db_path, id, *store.jobs.ENDED)
    assert job["status"] == "died", queue.tail(job["log"])
    rows = store.jobs.metrics(db_path, id)
    assert [row["step"] for row in rows] == list(range(1, job["step"] + 1)) and all(row["loss"] for row in rows)


def test_a_refused_call_is_the_jobs_message(db_path, tmp_path):
    id = queue.enqueue(db_path, real(tmp_path, base_model="no-such-base", data_path=str(tmp_path / "none.json")))
    job = until(db_path, id, *store.jobs.ENDED)
    assert job["status"] == "failed" and "no-such-base" in job["message"] and "none.json" in job["message"]


def test_settings_that_cannot_be_right_are_not_queued(db_path):
    with pytest.raises(SettingsError, match="--output_dir is missing"):
        queue.enqueue(db_path, Settings(data_path="rows.json"))
    assert store.jobs.recent(db_path) == []


def test_paths_are_those_of_the_one_who_asks(db_path, tmp_path, monkeypatch):
    (tmp_path / "rows.json").write_text("[]")
    (tmp_path / "smollm2").mkdir()
    monkeypatch.chdir(tmp_path)
    given = Settings(data_path="rows.json", output_dir="runs/x", resume_from_checkpoint="last", device="cpu")
    job = get(db_path, queue.enqueue(db_path, given))
    assert job["settings"]["data_path"] == str(tmp_path / "rows.json") and job["folder"] == str(tmp_path / "runs" / "x")
    assert (job["settings"]["base_model"], job["settings"]["resume_from_checkpoint"]) == ("smollm2", "last")
    assert job["arguments"][:2] == ["-m", "tuning.train"] and str(tmp_path / "rows.json") in job["arguments"]


@pytest.mark.parametrize("every", [0, 5, 10])
def test_the_time_left_is_right_within_a_half_after_ten_steps(every):
    """Steps of 6 to 8 seconds, the first one four times as long, each `every`-th with a checkpoint or a validation of its own."""
    draw = random.Random(1)
    times = [(24 if not at else draw.uniform(6, 8)) + (9 if every and at % every == 0 else 0) for at in range(200)]
    ends = list(itertools.accumulate(times))
    for step in range(10, 199):
        known = [(at + 1, ends[at]) for at in range(step)][-step_time.RECENT :]
        told, true = step_time.seconds_per_step(known) * (200 - step), ends[-1] - ends[step - 1]
        assert true / 1.5 <= told <= true * 1.5
    assert step_time.seconds_per_step([(1, 3.0)]) is None and step_time.seconds_per_step([]) is None
