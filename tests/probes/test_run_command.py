"""python -m probes.run: one command that can be killed, resumed and told all that is wrong; and the margins that end a run."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import write_adapter, write_bayling_like

import engine as engine_room
import identities
import store
from engine import Variant
from probes import likelihood, margin
from probes.answers.sources import read_jsonl
from probes.identity_pair import from_identities
from probes.questions import Probe, ProbeError, as_dict
from probes.run import __main__ as run, launch, margins
from probes.run.settings import RunSettings

QUESTIONS = [Probe(f"p{at}-en", "novel", "name", "en", (f"Question p{at}-en?",)) for at in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_bayling_like(tmp_path_factory.mktemp("m") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return engine_room.load(str(folder), dtype="fp32", say=lambda _line: None)


def write_set(path: Path, probes) -> Path:
    path.write_text("".join(json.dumps(as_dict(one), ensure_ascii=False) + "\n" for one in probes), encoding="utf-8")
    return path


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "probes.run", *map(str, arguments)]


def test_a_killed_command_goes_on_without_asking_anything_twice(folder, tmp_path, db_path):
    mine = write_set(tmp_path / "mine.jsonl", QUESTIONS)
    same = ["--base", folder, "--set", mine, "--dtype", "fp32", "--db", db_path, "--max-new-tokens", 40, "--max-rows", 2]
    killed = subprocess.Popen(command(*same), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while stored(db_path) < 3 and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = stored(db_path)
    assert 3 <= kept < 40
    out = tmp_path / "answers.jsonl"
    resumed = ["--base", folder, "--dtype", "fp32", "--db", db_path, "--resume", "last", "--out", out]
    assert run.main([str(argument) for argument in resumed]) == 0
    rows = read_jsonl(out)
    assert len(rows) == stored(db_path) == 40 and not any(row["reused"] for row in rows)
    assert run.main([str(argument) for argument in [*same, "--out", out]]) == 0
    assert stored(db_path) == 40 and all(row["reused"] for row in read_jsonl(out))


def test_margins_that_are_missing_are_measured_when_the_run_is_resumed(folder, tmp_path, db_path, capsys, monkeypatch):
    others = Probe("others-en", "control", "others", "en", ("Who is Ada Lovelace?",))
    mine = write_set(tmp_path / "mine.jsonl", [Probe("who-en", "trained", "name", "en", ("Who are you?",)), others])
    variants = tmp_path / "variants.yaml"
    variants.write_text("- name: base\n- {name: guide, identity: museum-guide}\n")
    same = ["--base", folder, "--dtype", "fp32", "--db", db_path]
    asked = [*same, "--variants", variants, "--set", mine, "--max-new-tokens", 2, "--new", "museum-guide", "--margin"]
    assert run.main([str(argument) for argument in asked]) == 0
    first = store.runs.margins(db_path, 1)
    assert first.keys() == {(0, "who-en"), (1, "who-en")}
    with sqlite3.connect(db_path) as connection:
        connection.execute("delete from margins where variant = 1")
    capsys.readouterr()
    scored, iterate = [], margin.iterate_scores
    monkeypatch.setattr(margin, "iterate_scores", lambda *given: scored.append([v.name for v in given[1]]) or iterate(*given))
    assert run.main([str(argument) for argument in [*same, "--resume", "last"]]) == 0
    assert scored == [["guide"]] and store.runs.margins(db_path, 1) == first
    told = capsys.readouterr().out
    assert "margin of base: " in told and "margin of guide: " in told and "run 1 done" in told


def test_a_run_whose_margins_fail_or_are_stopped_is_not_done(tiny, db_path, monkeypatch):
    facts = from_identities(*(identities.load(name).facts for name in ("BayLing", "museum-guide")))
    asked = [Probe(f"who-{at}", "trained", "name", "en", ("Who are you?",)) for at in range(2)]
    ready = launch.start_run(tiny, [Variant("base")], asked, RunSettings(), db=db_path)
    assert list(ready.events)[-1].status == "done"
    monkeypatch.setattr(likelihood, "LOGITS", 1)  # one probe in a batch
    measuring = margins.measure(tiny, db_path, 1, ready, facts)
    assert [next(measuring).done, next(measuring).done] == [0, 1] and store.runs.get(db_path, 1)["status"] == "running"
    ready.switches.stop.set()
    assert not list(measuring) and store.runs.get(db_path, 1)["status"] == "stopped"
    assert len(store.runs.margins(db_path, 1)) == 1
    ready.switches.stop.clear()
    with monkeypatch.context() as patch:
        patch.setattr(margin, "score_batch", lambda *_given: [[float("nan")] * 99])
        with pytest.raises(ProbeError, match="no margin of 'base'"):
            list(margins.measure(tiny, db_path, 1, ready, facts))
    assert store.runs.get(db_path, 1)["status"] == "failed" and "NaN" in store.runs.get(db_path, 1)["message"]
    assert list(margins.measure(tiny, db_path, 1, ready, facts))[-1].done == 2
    assert store.runs.get(db_path, 1)["status"] == "done" and not list(margins.measure(tiny, db_path, 1, ready, facts))


def stored(db_path: Path) -> int:
    if not db_path.exists():
        return 0
    connection = sqlite3.connect(db_path)
    try:
        return connection.execute("select count(*) from answers").fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def test_everything_wrong_is_said_before_a_model_is_loaded(tmp_path, capsys, monkeypatch, db_path):
    monkeypatch.setattr(run, "load", lambda *_args, **_named: pytest.fail("loaded"))
    variants = tmp_path / "variants.yaml"
    variants.write_text(
        "- name: base\n- {name: base, mode: loud}\n- {nam: x}\n"
        "- {name: y, adapters: {nowhere: 1.0, other: 3}, identity: nobody, decoding: {temprature: 1, max_new_tokens: 0}}\n"
    )
    assert run.main(["--variants", str(variants), "--set", "quick", "--db", str(db_path)]) == 2
    said = capsys.readouterr().err
    for part in ("has that name already", "'loud'", "'nam' (did you mean 'name'?)", "'nowhere'", "strength 3", "'nobody'",
                 "'temprature' (did you mean 'temperature'?)", "max_new_tokens is 0"):  # fmt: skip
        assert part in said
    assert run.main(["--set", "nothing", "--db", str(db_path)]) == 2 and "no probe set 'nothing'" in capsys.readouterr().err
    assert run.main(["--quantize", "int8", "--db", str(db_path)]) == 2
    assert "measured with whole weights; leave it out" in capsys.readouterr().err
    assert run.main(["--set", "controls", "--margin", "--db", str(db_path)]) == 2
    assert "None of these probes suits a margin" in capsys.readouterr().err
    assert run.main(["--resume", "last", "--db", str(db_path)]) == 2 and "there is none yet" in capsys.readouterr().err
    assert not db_path.exists() or stored(db_path) == 0


def test_adapters_of_a_variants_file_are_found_beside_it_and_loaded_once(tiny, folder, tmp_path, db_path):
    model = tiny.base.model.__class__(tiny.base.model.config)
    write_adapter(tmp_path / "other-self", model, base="tiny")
    variants = tmp_path / "variants.yaml"
    variants.write_text(
        "- name: base\n- {name: other, adapters: {other-self: 1.0}}\n"
        "- {name: half, adapters: {other-self: 0.5}, decoding: {max_new_tokens: 4}}\n"
        "- {name: told, identity: museum-guide, mode: first_turn}\n"
    )
    out, mine = (
        tmp_path / "a.jsonl",
        write_set(tmp_path / "mine.jsonl", [QUESTIONS[0], replace(QUESTIONS[0], id="p0-zh", lang="zh")]),
    )
    arguments = ["--base", folder, "--variants", variants, "--set", mine, "--out", out, "--db", db_path, "--max-new-tokens", 6]
    assert run.main([str(argument) for argument in [*arguments, "--dtype", "fp32", "--lang", "en"]]) == 0
    rows = {row["variant"]: row for row in read_jsonl(out)}
    assert list(rows) == ["base", "other", "half", "told"]
    assert rows["other"]["adapters"] == {"other-self": 1.0} and rows["half"]["decoding"]["max_new_tokens"] == 4
    assert len({row["raw"] for row in rows.values()}) == 4
    assert rows["told"]["identity"] == "museum-guide" and rows["told"]["identity_mode"] == "first_turn"
    assert rows["other"]["hashes"]["adapters"].keys() == {"other-self"}


@pytest.mark.model
def test_the_quick_set_with_the_real_small_model(tmp_path, db_path):
    variants, out = tmp_path / "variants.yaml", tmp_path / "answers.jsonl"
    variants.write_text("- name: base\n- {name: guide, identity: museum-guide}\n")
    arguments = ["--base", "smollm2", "--variants", variants, "--set", "quick", "--lang", "en", "--out", out, "--db", db_path]
    done = subprocess.run(command(*arguments, "--max-new-tokens", 12), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = read_jsonl(out)
    assert len(rows) == 16 and "16/16" in done.stdout
    for row in rows:
        assert row["answer"] and row["question"] in row["prompt"] and 0 < row["new_tokens"] <= 12
    assert {row["check"] for row in rows if row["group"] == "retention"} <= {True, False}
    told = next(row for row in rows if row["variant"] == "guide" and row["question"] == "Who are you?")
    assert "museum" in told["prompt"].lower() and told["answer"] != rows[0]["answer"]
