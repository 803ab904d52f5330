"""Parts of a plan made apart - by a scheduler's lines, or by Ray - come to the same as the whole made in one place."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import store
from experiments import checking, collect, on_ray, units
from experiments.cells import expand
from experiments.progress import read_state
from probes.answers import sources


def said(places) -> dict[str, list]:
    """Label -> what was answered, in the order of the probes."""
    return {
        cell.label: [row["raw"] for run in cell.runs for row in sources.read_run(places.db, run).rows]
        for cell in read_state(places).cells
    }


def elsewhere(places, name: str):
    folder = places.out.parent / name
    return replace(places, out=folder, db=folder / "mirror.db", adapters=folder / "adapters")


def test_cells_made_apart_come_together(lab, trained, capsys, monkeypatch):
    text = lab.text(given_to="base, diverse 4").replace("doses: [2, 4]", "doses: [2]\nmodels: [{name: diverse 4, dose: 4}]")
    assert lab.run("--print-commands", text=text) == 0
    lines = capsys.readouterr().out.strip().split("\n")
    assert len(lines) == 5 and all(line.startswith("cd ") for line in lines)
    assert "experiments.collect" in lines[-1]
    for line in lines[:-1]:  # each as a scheduler would start it
        words = shlex.split(line.partition(" && ")[2])
        assert words[1:3] == ["-m", "experiments.run"] and words[3] == str(lab.places.plan)
        labels = [words[at + 1] for at, word in enumerate(words) if word == "--cell"]
        assert lab.run(*(flag for label in labels for flag in ("--cell", label)), text=text) == 0
    assert not lab.places.state.exists() and not lab.places.db.exists()
    monkeypatch.setattr(collect.judging, "write_report", lambda *_: "")  # drawing takes longer than the rest
    for _ in range(2):
        assert collect.main([str(lab.places.out), *lab.places.as_arguments()]) == 0
        assert len(store.runs.recent(lab.places.db)) == 5  # once, however often it is called
    apart, figures = said(lab.places), {cell.label: cell.figures for cell in read_state(lab.places).cells}
    # and a run of the whole takes all of it as its own
    before = len(trained.folders)
    assert lab.run(text=text) == 0 and len(trained.folders) == before and len(store.runs.recent(lab.places.db)) == 5
    assert said(lab.places) == apart and {one.label: one.figures for one in read_state(lab.places).cells} == figures


def test_what_is_not_there_yet_is_told(lab, trained):
    lab.run("--cell", "base", text=lab.text())
    journal = collect.collect(checking.read(lab.text()), lab.places)
    assert journal.status == "stopped" and "2 cells are not done" in journal.message
    assert journal.cells["base"].status == "done" and journal.cells["diverse 2"].status == "waiting"


def test_a_cell_that_is_none_is_told(lab, capsys):
    assert lab.run("--cell", "divers 2", text=lab.text()) == 2
    assert "did you mean 'diverse 2'?" in capsys.readouterr().err


def test_every_cell_stands_in_one_unit_beside_those_of_its_adapter(lab):
    found = units.units_of(expand(checking.read(lab.text(given_to="base, cells"))))
    assert [len(unit.cells) for unit in found] == [1, 2, 2, 1] and len({unit.name for unit in found}) == 4


def test_ray_that_is_not_there_is_told(lab, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    assert lab.run("--on", "ray", text=lab.text()) == 2
    assert "requirements-ray.txt" in capsys.readouterr().err
    assert lab.run("--on", "dask", text=lab.text()) == 2
    assert "--on dask is not known" in capsys.readouterr().err


def kill_all_of(unit: str, job: dict) -> list[int]:
    """Kills the worker that makes a unit, and what trains for it, which would outlive the worker."""
    import psutil

    experiments = [
        process for process in psutil.process_iter(["cmdline"])
        if any(units.unit_name(word) == unit for word in process.info["cmdline"] or [])  # its label
    ]  # fmt: skip
    doomed = [*(process.ppid() for process in experiments), job["pid"], job["child_pid"]]
    for pid in doomed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return doomed


@pytest.mark.skipif(not os.environ.get("MIRROR_TEST_RAY"), reason="make test-ray: a minute of a cluster")
def test_a_worker_that_is_killed_while_it_trains_changes_nothing(lab, monkeypatch):
    """A real Ray with two workers; the same answers as alone."""
    text = lab.text(steps=600, save=10, given_to="cells").replace("prompts:", "leave_out: [base]\nprompts:")
    text = text.replace("doses: [2, 4]", "doses: [4]\nseeds: [0, 1]")
    storage = lab.root / "storage"
    killed: list[int] = []

    def kill_one() -> None:
        """As a machine goes down: the worker above a cell whose training has kept its first checkpoint, and that training."""
        deadline = time.monotonic() + 600
        while not killed and time.monotonic() < deadline:
            time.sleep(0.05)
            for folder in (storage / "cells").glob("*"):
                running = store.jobs.active(folder / "mirror.db") if (folder / "mirror.db").exists() else []
                for job in running:
                    if list(Path(job["folder"]).glob("checkpoint-*/trainer_state.json")) and job["child_pid"]:
                        killed.extend(kill_all_of(folder.name, job))

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        assert lab.run("--on", "ray", "--slots", "2", "--storage", str(storage), text=text) == 0
    finally:
        killed.append(0)
        thread.join()
    assert killed[0], "no worker was killed"
    jobs = [store.jobs.recent(folder / "mirror.db") for folder in (storage / "cells").iterdir()]
    assert max(job["attempt"] for those in jobs for job in those) == 2
    on_cluster = said(lab.places)
    assert on_cluster and all(on_cluster.values())
    alone = elsewhere(lab.places, "alone")
    from experiments.run.__main__ import main

    assert main([str(lab.root / "plan.yaml"), *alone.as_arguments()]) == 0
    assert said(alone) == on_cluster
    assert on_ray.RETRIES >= 1
