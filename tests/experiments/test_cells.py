"""Whole experiments on a tiny model: made, asked, judged, kept, stopped and gone on with."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest

import store
from common.errors import UserError
from experiments import making
from experiments.foreseen import CellForeseen
from experiments.places import ExperimentError
from experiments.progress import CellState, read_state, start, stop
from experiments.run import loop
from probes.answers import sources

CELLS = ["base", "diverse 2", "diverse 4", "prompt finance-advisor (system)"]
PROMPTED = [f"{label}, {CELLS[3]}" for label in CELLS[1:3]]


def test_a_plan_is_made_asked_and_judged(lab, trained, capsys, monkeypatch):
    monkeypatch.setattr(loop, "write_report", lab.write_report)
    assert lab.run(text=lab.text(given_to="base, cells")) == 0
    state = read_state(lab.places)
    assert state.status == "done" and [cell.label for cell in state.cells] == [*CELLS, *PROMPTED]
    assert all(cell.status == "done" and cell.runs for cell in state.cells) and state.left_s is None
    two, four = state.cells[1:3]
    card = json.loads((lab.places.adapters / trained.folders[1] / "card.json").read_text())
    assert card["identity"] == "finance-advisor" and card["data"]["identity_rows"] == 4 and card["steps"] == 2
    assert four.adapter.endswith(trained.folders[1]) and two.about["steps"] == 2 and two.about["sum_of_rates"] > 0
    # an ordinary run, whose answers a label queue takes
    found = sources.read_run(lab.places.db, four.runs[0])
    assert store.runs.get(lab.places.db, four.runs[0])["name"] == "t: diverse 4"
    assert len(sources.queue_items(found.rows)) == 3
    assert next(iter(found.doses.values())).samples == 4
    figures = four.figures["en"]
    assert 0 <= figures["new"]["low"] <= figures["new"]["share"] <= figures["new"]["high"] <= 1
    assert figures["new"]["probes"] == 2 and figures["verdicts"]["old"] and figures["source"] == "suggestions"
    assert "diverse 4" in (lab.places.report / "report.html").read_text(encoding="utf-8")
    told = capsys.readouterr().out
    assert "6 cells, about" in told and "5/6 diverse 2, prompt" in told


def test_a_plan_that_grows_computes_only_what_is_new(lab, trained):
    lab.run(text=lab.text())
    before, runs = list(trained.folders), len(store.runs.recent(lab.places.db))
    assert lab.run(text=lab.text().replace("[2, 4]", "[2, 3, 4]").replace("name: t", "name: u")) == 0
    assert [name for name in trained.folders if name not in before] == [trained.folders[-1]] and len(trained.folders) == 3
    assert len(store.runs.recent(lab.places.db)) == runs + 1
    state = read_state(lab.places)
    assert state.status == "done" and len(state.cells) == 4
    other = lab.text().replace("learning_rate: 0.01", "learning_rate: 0.02").replace("[2, 4]", "[2]")
    assert lab.run(text=other) == 0 and len(set(trained.folders)) == 4  # other settings are another cell


def test_an_experiment_that_was_stopped_goes_on(lab, trained):
    trained.before = lambda making: len(trained.folders) == 1 and lab.places.stop.write_text("")
    assert lab.run(text=lab.text()) == 130
    state = read_state(lab.places)
    assert state.status == "stopped" and [cell.status for cell in state.cells[:3]] == ["done", "done", "stopped"]
    trained.before = lambda making: None
    assert lab.run(text=lab.text()) == 0 and len(trained.folders) == 2
    assert all(cell.status == "done" for cell in read_state(lab.places).cells)


def test_a_cell_that_fails_says_why_and_does_not_stop_the_rest(lab, trained):
    def fail(one: making.Making) -> None:
        if "diverse2" in one.folder.name:
            raise UserError("The loss of step 1 is nan.")
        if "diverse4" in one.folder.name and not trained.folders:
            raise ZeroDivisionError("of ours")

    trained.before = fail
    assert lab.run(text=lab.text(given_to="base, cells")) == 1
    cells = {cell.label: cell for cell in read_state(lab.places).cells}
    assert cells["diverse 2"].why == "The loss of step 1 is nan."
    assert "not foreseen" in cells["diverse 4"].why and "ZeroDivisionError: of ours" in cells["diverse 4"].why
    assert "The loss of step 1 is nan." in cells[PROMPTED[0]].why
    assert cells["base"].status == cells[CELLS[3]].status == "done"


def test_people_labels_count_before_suggestions(lab, trained):
    lab.run(text=lab.text())
    run = read_state(lab.places).cells[2].runs[0]
    rows = [row for row in sources.read_run(lab.places.db, run).rows if row["group"] not in ("control", "retention")]
    for row in rows:
        store.labels.add(lab.places.db, answer=row["answer_id"], annotator="a", label="formed")
    lab.run(text=lab.text())
    figures = read_state(lab.places).cells[2].figures["en"]
    assert figures["new"]["share"] == 1.0 and figures["source"] in ("labels", "mixed")


def test_the_margin_is_measured_where_it_is_asked_for(lab, trained):
    text = (
        lab.text(margin="true", given_to="base")
        .replace("sets: [quick]", "sets: [identity]")
        .replace("doses: [2, 4]", "doses: []")
    )
    assert lab.run(text=text) == 0
    mean, low, high = read_state(lab.places).cells[0].figures["en"]["margin"]
    assert low <= mean <= high


def test_what_is_kept_is_not_foreseen_again(lab, trained, capsys):
    lab.run("--dry-run", text=lab.text())
    told = capsys.readouterr().out
    assert not lab.places.out.exists() and not trained.folders
    assert "adapter, answers" not in told and told.count("few steps") == 1
    lab.run(text=lab.text())
    capsys.readouterr()
    lab.run("--dry-run", text=lab.text())
    told = capsys.readouterr().out
    assert told.count("adapter, answers") == 2 and "3 cells, about 1 s" in told


def test_one_folder_is_worked_on_by_one_process(lab):
    lab.places.out.mkdir()
    from common import process

    plain = {"plan": "t", "status": "running", "pid": os.getpid(), "start": process.identity(os.getpid()), "cells": []}
    lab.places.state.write_text(json.dumps(plain))
    with pytest.raises(ExperimentError, match="is under way"):
        start(lab.text(), lab.places)
    assert stop(lab.places) and lab.places.stop.exists()
    lab.places.state.write_text(json.dumps(plain | {"start": "gone"}))
    assert read_state(lab.places).status == "died" and not stop(lab.places)


def test_the_time_left_is_not_told_from_cells_that_failed_at_once():
    def journal(**of: CellState) -> SimpleNamespace:
        return SimpleNamespace(cells=of)

    told = {name: CellForeseen(600.0) for name in "abcd"}
    failed = CellState("a", "trained", status="failed", took=0.2)
    waiting = {name: CellState(name, "trained") for name in "cd"}
    assert loop.seconds_left(journal(a=failed, **waiting), told) == 1200
    slow = CellState("b", "trained", status="done", took=1200.0)
    assert loop.seconds_left(journal(a=failed, b=slow, **waiting), told) == 2400
