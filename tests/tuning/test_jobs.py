"""Jobs outlive pages and apps, take turns, are stopped, resumed and believed only if they are who they were."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from job_steps import get, until, wait

import store
from store import StoreError
from tuning.jobs import processes, queue as jobs, watcher
from tuning.jobs.queue import JobError
from tuning.train.run_files import METRICS, read_metrics

ROOT = Path(__file__).parents[2]
HELD = ["--pause", "-1"]  # runs until its folder has a file `go`


def running(db, id, steps=7):
    """A held fake run that stands before its last step."""
    until(db, id, "running")
    return wait(lambda: (job := get(db, id))["step"] == steps and job, lambda: jobs.tick(db))


def test_a_job_runs_to_its_end_and_its_numbers_are_in_the_store(db_path, queue, tmp_path):
    id = queue("mira")
    job = until(db_path, id, "done")
    assert (job["step"], job["total"], job["exit_code"], job["name"]) == (8, 8, 0, "mira")
    rows = store.jobs.metrics(db_path, id)
    assert [(row["step"], row["loss"]) for row in rows] == [(step, 4.0 / step) for step in range(1, 9)]
    assert [row["step"] for row in rows if row["eval_loss"]] == [2, 4, 6, 8] and rows[0]["lr"] == 1e-4
    log = jobs.tail(job["log"])
    assert log.startswith("$ python -m tests.support.fake_trainer --output_dir") and log.endswith("8/8")
    assert (tmp_path / "mira" / "adapter_config.json").is_file()
    assert jobs.tick(db_path) == []  # nothing is new any more


def test_the_app_is_closed_and_another_one_finds_the_job(db_path, queue):
    id = queue("held", *HELD)
    code = f"import sys; from tuning.jobs import queue; queue.tick({str(db_path)!r})"
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": paths})  # the app: starts it, ends
    job = running(db_path, id)
    child = psutil.Process(job["child_pid"])
    assert os.getsid(child.pid) == job["pid"] != os.getsid(0)  # no hang-up and no Ctrl-C of a terminal reaches it
    assert child.cwd() == str(ROOT)
    (Path(job["folder"]) / "go").touch()
    job = until(db_path, id, "done", "died", "failed")
    assert (job["status"], job["exit_code"], job["step"]) == ("done", 0, 8)


@pytest.mark.parametrize("victims", [("child_pid",), ("pid", "child_pid")])
def test_a_killed_job_is_shown_as_died_with_the_end_of_its_log(db_path, queue, victims):
    id = queue("held", *HELD)
    job = running(db_path, id)
    for victim in victims:
        os.kill(job[victim], signal.SIGKILL)
    job = until(db_path, id, "died")
    assert "after step 7 of 8" in job["message"] and ("SIGKILL" in job["message"] or "killed" in job["message"])
    assert jobs.tail(job["log"], 1) == "7/8"
    assert job["exit_code"] == (-9 if victims == ("child_pid",) else None)


def test_a_job_goes_on_when_only_the_process_that_waits_for_it_is_killed(db_path, queue):
    id = queue("held", *HELD)
    job = running(db_path, id)
    os.kill(job["pid"], signal.SIGKILL)
    wait(lambda: processes.identity(job["pid"]) is None)
    jobs.tick(db_path)
    assert get(db_path, id)["status"] == "running"
    (Path(job["folder"]) / "go").touch()
    assert until(db_path, id, "done", "died")["status"] == "done"


def test_a_failure_and_a_refusal_say_their_sentence(db_path, queue):
    failed, refused = queue("failed", "--fail", "3"), queue("refused", "--refuse", device="other")
    assert until(db_path, failed, "failed")["message"] == "The loss of step 3 is nan; use a lower --learning_rate."
    job = until(db_path, refused, "failed")
    assert (job["message"], job["exit_code"]) == ("--data_path rows.json:3:7: a comma is missing.", 2)


def test_a_program_that_cannot_be_started_is_a_sentence_and_does_not_hold_up_the_queue(db_path, queue, monkeypatch):
    first, second = queue("first"), queue("second")
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    jobs.tick(db_path)
    job = get(db_path, first)
    assert job["status"] == "failed" and "/no/such/python" in job["message"]
    monkeypatch.undo()
    until(db_path, second, "done")


# --- the queue -----------------------------------------------------------------------------------------------------------


def test_one_job_at_a_time_per_device_in_the_order_they_came(db_path, queue):
    first, second, third = queue("a", *HELD), queue("b"), queue("c")
    other = queue("d", device="cuda:1")
    running(db_path, first)
    until(db_path, other, "done")
    assert [get(db_path, id)["status"] for id in (first, second, third)] == ["running", "queued", "queued"]
    (Path(get(db_path, first)["folder"]) / "go").touch()
    until(db_path, third, "done")
    jobs_in_order = [get(db_path, id) for id in (first, second, third)]
    times = [time for job in jobs_in_order for time in (job["started"], job["ended"])]
    assert times == sorted(times)


def test_ten_tickers_in_two_processes_start_each_job_once(db_path, queue, tmp_path):
    ids = [queue(f"run{at}") for at in range(3)]
    code = f"""
import threading
import store
from tuning.jobs import queue

def work():
    while store.jobs.unfinished({str(db_path)!r}):
        queue.tick({str(db_path)!r})

threads = [threading.Thread(target=work) for _ in range(5)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    apps = [subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}) for _ in range(2)]
    assert [app.wait(timeout=120) for app in apps] == [0, 0]
    found = [get(db_path, id) for id in ids]
    assert [job["status"] for job in found] == ["done"] * 3
    times = [time for job in found for time in (job["started"], job["ended"])]
    assert times == sorted(times)  # never two at once
    for job in found:
        assert jobs.tail(job["log"], 99).count("\ntrainer ") == 1
        assert len(store.jobs.metrics(db_path, job["id"])) == 8


def test_a_job_that_may_not_start_waits_and_says_why(db_path, queue):
    id = queue("big")
    jobs.tick(db_path, lambda job: "Waiting for memory.")
    assert (get(db_path, id)["status"], get(db_path, id)["message"]) == ("queued", "Waiting for memory.")
    assert jobs.tick(db_path, lambda job: "Waiting for memory.") == []
    assert until(db_path, id, "done", tick=lambda db: jobs.tick(db, lambda job: None))["message"] == ""


def test_the_queue_moves_with_no_page_open_and_survives_a_trouble(db_path, queue, monkeypatch):
    id, stop_now, troubles = queue("quiet"), threading.Event(), [OSError("disk full")]

    def after():
        if troubles:
            raise troubles.pop()

    thread = jobs.keep_ticking(db_path, stop_now, after=after, every_s=0.05)
    try:
        until(db_path, id, "done", tick=lambda db: None)
    finally:
        stop_now.set()
        thread.join()
    assert not troubles


def test_two_unfinished_jobs_cannot_write_to_one_folder(db_path, queue):
    first = queue("same")
    with pytest.raises(StoreError, match=rf"Job {first} \(same\) is queued and writes to .*same; choose another folder"):
        queue("same")
    until(db_path, first, "done")
    assert queue("same") > first


# --- stopping ------------------------------------------------------------------------------------------------------------


def test_stop_and_keep_leaves_checkpoint_and_adapter(db_path, queue, tmp_path):
    id = queue("held", *HELD)
    running(db_path, id)
    assert jobs.stop(db_path, id) == jobs.stop(db_path, id) == "stopping"
    job = until(db_path, id, "stopped", "died", "failed", "done")
    assert (job["status"], job["message"], job["exit_code"]) == ("stopped", "stopped after step 7", 0)
    assert job["signalled"] is None  # the file was enough
    assert (tmp_path / "held" / "adapter_model.safetensors").is_file() and (tmp_path / "held" / "checkpoint-7").is_dir()
    assert jobs.stop(db_path, id) == jobs.stop(db_path, id, keep=False) == "stopped"
    assert (tmp_path / "held" / "checkpoint-7").is_dir()


def test_a_stop_while_the_base_is_loading_is_not_lost(db_path, queue):
    id = queue("slow", "--start", "30")
    until(db_path, id, "running")
    wait(lambda: "loading" in get(db_path, id)["message"], lambda: jobs.tick(db_path))
    jobs.stop(db_path, id)
    job = until(db_path, id, "stopped", "died")
    assert (job["status"], job["message"]) == ("stopped", "stopped before its first step")


def test_stop_and_discard_ends_even_a_deaf_job_and_removes_what_it_wrote(db_path, queue, tmp_path, monkeypatch):
    monkeypatch.setattr(watcher, "DISCARD_S", 0.2)
    own = queue("own", *HELD, "--deaf")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "diary.txt").write_text("mine")
    shared = queue("shared", *HELD, device="cuda:1")
    for id in (own, shared):
        running(db_path, id)
        jobs.stop(db_path, id)  # changes one's mind
        jobs.stop(db_path, id, keep=False)
    for id in (own, shared):
        job = until(db_path, id, "discarded")
        assert processes.identity(job["child_pid"]) is None
    assert not (tmp_path / "own").exists()
    assert [path.name for path in (tmp_path / "shared").iterdir()] == ["diary.txt"]
    assert len(store.jobs.metrics(db_path, own)) == 7  # what was measured stays


def test_a_queued_job_is_taken_out_without_ever_starting(db_path, queue, tmp_path):
    first, second = queue("a", *HELD), queue("b")
    running(db_path, first)
    assert jobs.stop(db_path, second) == "stopped"
    (tmp_path / "a" / "go").touch()
    until(db_path, first, "done")
    jobs.tick(db_path)
    assert get(db_path, second)["pid"] is None and not (tmp_path / "b").exists()


def test_removing_takes_the_job_from_the_list_and_its_files_only_if_asked(db_path, queue, tmp_path):
    kept, gone, held = queue("kept"), queue("gone"), queue("held", *HELD)
    running(db_path, held)
    with pytest.raises(StoreError, match=f"Job {held} is running; stop it"):
        jobs.remove(db_path, held, files=True)
    jobs.remove(db_path, kept)
    jobs.remove(db_path, gone, files=True)
    assert (tmp_path / "kept" / "adapter_config.json").is_file() and not (tmp_path / "gone").exists()
    assert (tmp_path / "held").exists() and [job["id"] for job in store.jobs.recent(db_path)] == [held]
    with pytest.raises(StoreError, match=f"There is no job {gone}"):
        jobs.progress(db_path, gone)


# --- resuming ------------------------------------------------------------------------------------------------------------


def test_a_killed_job_resumes_from_its_checkpoint_as_a_new_attempt(db_path, queue, tmp_path):
    id = queue("held", *HELD)
    job = running(db_path, id)
    os.kill(job["child_pid"], signal.SIGKILL)
    until(db_path, id, "died")
    assert jobs.resume(db_path, id) == 6
    (tmp_path / "held" / "go").touch()
    job = until(db_path, id, "done", "failed", "died")
    assert (job["status"], job["attempt"], job["resumed_from"], job["step"]) == ("done", 2, 6, 8)
    [past] = job["attempts"]
    assert (past["attempt"], past["status"], past["step"], past["exit_code"]) == (1, "died", 7, -9)
    rows = store.jobs.metrics(db_path, id)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert [row["time"] for row in rows] == [line["time"] for line in read_metrics(tmp_path / "held") if "loss" in line]
    assert "--resume_from_checkpoint last" in jobs.tail(job["log"])


def test_what_cannot_be_resumed_says_why(db_path, queue):
    done, early = queue("done"), queue("early", "--fail", "1")
    until(db_path, early, "failed")
    with pytest.raises(JobError, match=f"Job {done} is done; only"):
        jobs.resume(db_path, done)
    with pytest.raises(JobError, match=f"Job {early} has no whole checkpoint in .*; start it again"):
        jobs.resume(db_path, early)


# --- who is who ----------------------------------------------------------------------------------------------------------


def test_a_process_that_got_the_number_of_a_dead_one_is_neither_believed_nor_signalled(db_path, queue):
    id = queue("held", *HELD)
    job = running(db_path, id)
    for pid in (job["child_pid"], job["pid"]):
        os.kill(pid, signal.SIGKILL)
    wait(lambda: not watcher.is_alive(job))
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        recycled = {"pid": stranger.pid, "child_pid": stranger.pid}  # the starts noted are those of the dead
        assert store.jobs.change(db_path, job, **recycled)
        record = Path(job["folder"]) / "process.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | recycled))
        job = get(db_path, id)
        watcher.send_first(job, {"pid": stranger.pid}, signal.SIGTERM)
        watcher.send_all(job, signal.SIGKILL)
        jobs.stop(db_path, id, keep=False)
        assert until(db_path, id, "died", "discarded")["status"] == "discarded"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


# --- numbers -------------------------------------------------------------------------------------------------------------


def test_reading_the_metrics_again_changes_nothing_and_half_a_line_waits(db_path, queue, tmp_path):
    id, file = queue("numbers"), tmp_path / "numbers" / METRICS
    file.parent.mkdir()

    def sync():
        return watcher.sync_metrics(db_path, get(db_path, id))

    assert not sync()
    file.write_text('{"step": 1, "loss": 2.0, "lr": 1e-4}\n{"step": 2, "lo')
    before = get(db_path, id)
    assert sync() and not sync()
    assert not watcher.sync_metrics(db_path, before)  # a ticker that was slower
    assert [(row["step"], row["loss"]) for row in store.jobs.metrics(db_path, id)] == [(1, 2.0)]
    with file.open("a") as out:
        out.write('ss": NaN, "lr": 1e-4}\n{"half of a kil\n{"step": 2, "eval_loss": 3.0, "margin": -1.5, "share_zh": 0.5}\n')
    assert sync()
    _, two = store.jobs.metrics(db_path, id)
    assert (two["loss"], two["lr"], two["eval_loss"], two["margin"], two["extra"]) == (None, 1e-4, 3.0, -1.5, {"share_zh": 0.5})
    replacement = file.with_name("new")
    replacement.write_text('{"step": 1, "loss": 2.5}\n' * 9)  # longer, so that its size alone says nothing
    replacement.replace(file)
    assert sync()
    assert [(row["step"], row["loss"], row["lr"]) for row in store.jobs.metrics(db_path, id)] == [(1, 2.5, None)]


def test_progress_says_how_far_how_long_and_when(db_path, queue):
    id = queue("held", *HELD, "--total", "40")
    assert jobs.progress(db_path, id).left_s is None and jobs.progress(db_path, id).status == "queued"
    running(db_path, id, 39)
    now = jobs.progress(db_path, id)
    assert (now.status, now.step, now.total, now.attempt) == ("running", 39, 40, 1)
    assert now.elapsed_s > 0 and now.left_s is not None and now.ends.tzinfo is not None
    assert now.latest["loss"] == 4.0 / 39 and now.latest["samples_per_s"] == 9.2 and now.latest["eval_loss"] == 4.5 / 38
    assert [step for step, _ in now.losses] == [step for step, _ in now.smoothed] == list(range(1, 40))
    assert now.smoothed[0] == now.losses[0] and now.losses[-1][1] < now.smoothed[-1][1] < now.losses[0][1]
    assert not now.alarm


def test_a_loss_that_is_no_number_is_a_gap_and_a_warning(db_path, queue, tmp_path):
    id = queue("nan")
    lines = [{"step": step, "loss": math.nan if step == 3 else 1.0, "lr": 1e-4} for step in (1, 2, 3)]
    (tmp_path / "nan").mkdir()
    (tmp_path / "nan" / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    watcher.sync_metrics(db_path, get(db_path, id))
    seen = jobs.progress(db_path, id)
    assert seen.losses == ((1, 1.0), (2, 1.0), (3, None)) and seen.smoothed[2] == (3, None)
    assert seen.alarm == "The loss of step 3 is not a number."
