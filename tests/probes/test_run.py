"""Runs of a probe set: everything asked once, in every mode, whatever happens in between."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from tiny import write_bayling_like

import engine as engine_room
import store
from engine import Decoding, Variant
from probes.questions import Probe, ProbeError
from probes.run import plan, rows as answer_rows, runner
from probes.run.runner import RunSettings, Switches

SHORT = Decoding(max_new_tokens=6)
BASE, GUIDE = Variant("base", decoding=SHORT), Variant("guide", identity="guide", prompt="You are a guide.", decoding=SHORT)


def probe(id_: str, *turns: str, lang: str = "en", **more) -> Probe:
    return Probe(id_, more.pop("group", "novel"), "name", lang, turns or (f"Question {id_}?",), **more)


PROBES = [probe(f"p{at}-{lang}", lang=lang) for at in range(4) for lang in ("en", "zh")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_bayling_like(tmp_path_factory.mktemp("m") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return engine_room.load(str(folder), dtype="fp32", say=lambda _line: None)


@pytest.fixture
def asked(tiny, monkeypatch) -> list:
    """Every request that reaches the model and is answered, in order."""
    answered, stream = [], tiny.stream

    def watched(requests, stop=None, **more):
        requests = list(requests)
        for pieces in stream(requests, stop, **more):
            answered.extend(requests[piece.row] for piece in pieces if piece.answer and piece.answer.finish != "stopped")
            yield pieces

    monkeypatch.setattr(tiny, "stream", watched)
    return answered


def idle(engine, seconds: float = 20) -> bool:
    """Whether nothing is computed any more; a step that has begun ends first."""
    deadline = time.monotonic() + seconds
    while engine.answering.loop.busy and time.monotonic() < deadline:
        time.sleep(0.001)
    return not engine.answering.loop.busy


def whole(engine, variants, probes, *args, **named) -> runner.RunProgress:
    *_, last = runner.run(engine, variants, probes, *args, **named)
    return last


def texts(request) -> list[str]:
    return [message["content"] for message in request.messages]


# --- a whole run ---------------------------------------------------------------------------------------------------------


def test_every_probe_is_asked_of_every_variant_and_told_once(tiny, db_path, asked):
    events = list(runner.run(tiny, [BASE, GUIDE], PROBES, db=db_path, name="first", set_name="mine"))
    new = [reply for event in events for reply in event.new]
    assert sorted(reply.place for reply in new) == sorted((v, 0, p.id, 0) for v in (0, 1) for p in PROBES)
    assert len(asked) == 16 and events[-1].status == "done" and events[-1].done == events[-1].total == 16
    row = store.runs.get(db_path, events[-1].run)
    assert (row["status"], row["name"], row["set_name"], row["done"]) == ("done", "first", "mine", 16)
    assert row["set_hash"] == plan.set_hash(PROBES) and row["base_hash"] == tiny.base.hash and row["dtype"] == "float32"
    stored = store.answers.get(db_path, new[0].answer["id"])
    assert stored["raw"] == new[0].answer["raw"] and stored["source"] == "probes" and stored["hashes"]["dtype"] == "float32"


def test_the_answers_are_the_engines_own(tiny, db_path):
    rows = rows_after(tiny, db_path, [BASE, GUIDE], PROBES)
    alone = tiny.answer([engine_room.Request([{"role": "user", "content": PROBES[2].question}], GUIDE)])[0]
    found = next(row for row in rows if row["probe_id"] == PROBES[2].id and row["variant"] == "guide")
    assert (found["raw"], found["answer"], found["prompt"]) == (alone.raw, alone.shown, alone.prompt)


def rows_after(engine, db_path, variants, probes, *args, **named) -> list[dict]:
    return answer_rows.rows_of(db_path, whole(engine, variants, probes, *args, db=db_path, **named).run)


def test_without_a_database_answers_come_all_the_same(tiny):
    events = list(runner.run(tiny, [BASE], PROBES[:2]))
    assert [event.run for event in events] == [None] * len(events)
    assert {reply.probe.id for event in events for reply in event.new if reply.answer["raw"]} == {"p0-en", "p0-zh"}


def test_time_left_is_unknown_at_first_and_nothing_at_the_end(tiny):
    events = list(runner.run(tiny, [BASE, GUIDE], PROBES, at_once=4))
    assert events[0].left_s is None and events[-1].left_s == 0
    assert all(event.left_s > 0 for event in events if 0 < event.done < event.total)


# --- stop, crash, again --------------------------------------------------------------------------------------------------


def test_a_stopped_run_keeps_what_is_finished_and_goes_on_without_asking_twice(tiny, db_path, asked):
    switches = Switches()
    for event in runner.run(tiny, [BASE, GUIDE], PROBES, db=db_path, switches=switches, at_once=4):
        if event.done >= 4:
            switches.stop.set()
    assert event.status == "stopped" and 4 <= event.done < 16
    assert store.runs.get(db_path, event.run)["status"] == "stopped"
    variants, probes, settings, row = runner.read_run(db_path, event.run)
    assert (variants, probes, settings) == ([BASE, GUIDE], PROBES, RunSettings())
    runner.check_same(tiny, row)
    last = whole(tiny, variants, probes, settings, db=db_path, run_id=event.run)
    assert last.status == "done" and last.done == 16 and last.reused == 0
    assert len(asked) == len({(request.variant.name, *texts(request)) for request in asked}) == 16


def test_closing_the_generator_stops_the_run(tiny, db_path):
    events = runner.run(tiny, [BASE, GUIDE], PROBES, db=db_path, at_once=2)
    run_id = next(event.run for event in events if event.done)
    events.close()
    assert store.runs.get(db_path, run_id)["status"] == "stopped"
    assert idle(tiny)


def test_a_paused_run_lets_go_of_the_engine_and_goes_on(tiny, db_path, asked):
    switches, seen = Switches(), []
    for event in runner.run(tiny, [BASE, GUIDE], PROBES, db=db_path, switches=switches, at_once=4):
        seen.append(event.status)
        if event.status == "paused":
            assert store.runs.get(db_path, event.run)["status"] == "paused"
            assert idle(tiny)
            switches.pause.clear()
        elif event.done >= 4 and "paused" not in seen:
            switches.pause.set()
    assert seen.count("paused") == 1 and seen[-1] == "done" and event.done == 16 and len(asked) == 16


def test_a_run_that_fails_says_so_and_can_be_continued(tiny, db_path, asked, monkeypatch):
    def broken(requests, stop=None, **more):
        raise RuntimeError("the power went")
        yield

    whole(tiny, [BASE], PROBES[:2], db=db_path)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(tiny, "stream", broken)
        whole(tiny, [BASE], PROBES, db=db_path)
    row = store.runs.get(db_path, 2)
    assert row["status"] == "failed" and row["message"] == "the power went" and row["done"] == 2
    assert whole(tiny, [BASE], PROBES, db=db_path, run_id=2).status == "done"
    assert len(asked) == len(PROBES)


def test_a_run_of_another_base_or_adapter_is_not_continued(tiny, db_path):
    row = runner.read_run(db_path, whole(tiny, [BASE], PROBES[:1], db=db_path).run)[-1]
    with pytest.raises(ProbeError, match=r"cannot be continued: its base was .* its dtype was bfloat16"):
        runner.check_same(tiny, row | {"base_hash": "0" * 12, "dtype": "bfloat16"})
    changed = [row["variants"][0] | {"hashes": {"adapters": {"other-self": "123"}}}]
    with pytest.raises(ProbeError, match="'other-self' is not loaded as it was"):
        runner.check_same(tiny, row | {"variants": changed})


# --- taken from the store ------------------------------------------------------------------------------------------------


def test_what_was_answered_before_is_taken_from_the_store_and_says_so(tiny, db_path, asked):
    first = rows_after(tiny, db_path, [BASE], PROBES[:4])
    renamed = dataclasses.replace(BASE, name="the same under another name")
    second = rows_after(tiny, db_path, [renamed, GUIDE], PROBES)
    assert len(asked) == 4 + 4 + 8
    assert {(row["probe_id"], row["variant"]) for row in second if row["reused"]} == {(p.id, renamed.name) for p in PROBES[:4]}
    assert [row["raw"] for row in second if row["reused"]] == [row["raw"] for row in first]
    assert not any(row["reused"] for row in first)


def test_reuse_can_be_refused(tiny, db_path, asked):
    whole(tiny, [BASE], PROBES[:2], db=db_path)
    last = whole(tiny, [BASE], PROBES[:2], db=db_path, reuse=False)
    assert len(asked) == 4 and last.reused == 0


def test_equal_requests_of_one_run_are_asked_once(tiny, db_path, asked):
    twin = dataclasses.replace(BASE, name="twin")
    rows = rows_after(tiny, db_path, [BASE, twin], [*PROBES[:2], probe("again-en", PROBES[0].question)])
    assert len(asked) == 2 and len(rows) == 6 and sum(row["reused"] for row in rows) == 4


def test_another_number_format_is_another_answer(tiny, db_path, asked, monkeypatch):
    whole(tiny, [BASE], PROBES[:1], db=db_path)
    monkeypatch.setattr(tiny, "base", dataclasses.replace(tiny.base, dtype=torch.bfloat16))
    assert whole(tiny, [BASE], PROBES[:1], db=db_path).reused == 0


def test_samples_are_one_greedy_answer_and_sampled_ones_with_seeds_of_their_own(tiny, db_path, asked):
    settings = RunSettings(samples=4, temperature=1.5, seed=3)
    rows = rows_after(tiny, db_path, [BASE, GUIDE], PROBES[:2], settings)
    assert [row["sample"] for row in rows[:4]] == [0, 1, 2, 3]
    assert {row["temperature"] for row in rows if row["sample"] == 0} == {0}
    sampled = [row for row in rows if row["sample"]]
    assert {row["temperature"] for row in sampled} == {1.5} and len({row["seed"] for row in sampled}) == 6
    assert len({row["raw"] for row in rows[:4]}) > 1
    assert rows_after(tiny, db_path, [BASE, GUIDE], PROBES[:2], settings, reuse=False)[1]["raw"] == rows[1]["raw"]
    other = rows_after(tiny, db_path, [BASE, GUIDE], PROBES[:2], dataclasses.replace(settings, seed=4))
    assert [row["reused"] for row in other[:4]] == [True, False, False, False]


# --- conversations -------------------------------------------------------------------------------------------------------


def test_a_probe_with_several_turns_hears_the_models_own_replies(tiny, db_path, asked):
    rows = rows_after(tiny, db_path, [BASE, GUIDE], [probe("deep", "Who?", "Sure?", "Really?"), *PROBES[:2]])
    deep = [request for request in asked if texts(request)[0] == "Who?" and request.variant.name == "guide"]
    _, second, third = sorted(deep, key=lambda request: len(request.messages))
    row = next(row for row in rows if row["probe_id"] == "deep" and row["variant"] == "guide")
    said = [one["raw"] for one in row["before"]]
    assert texts(second) == ["Who?", said[0], "Sure?"] and texts(third) == ["Who?", said[0], "Sure?", said[1], "Really?"]
    assert row["question"] == "Really?" and [one["question"] for one in row["before"]] == ["Who?", "Sure?"]
    assert len(rows) == 6 and len(asked) == 2 * (3 + 2)


def test_the_running_mode_is_one_conversation_per_language_and_variant(tiny, db_path, asked):
    rows = rows_after(tiny, db_path, [BASE, GUIDE], PROBES, RunSettings(mode="running"))
    assert len(rows) == 16
    for lang in ("en", "zh"):
        mine = [row for row in rows if row["lang"] == lang and row["variant"] == "base"]
        last = next(r for r in asked if texts(r)[-1] == mine[-1]["question"] and r.variant.name == "base")
        expected = [text for row in mine[:-1] for text in (row["question"], row["raw"])]
        assert texts(last) == [*expected, mine[-1]["question"]]


def test_a_running_conversation_is_continued_where_it_stopped(tiny, db_path, asked):
    switches = Switches()
    for event in runner.run(tiny, [BASE], PROBES, RunSettings(mode="running"), db=db_path, switches=switches):
        if event.done >= 3:
            switches.stop.set()
    assert event.status == "stopped"
    whole(tiny, [BASE], PROBES, RunSettings(mode="running"), db=db_path, run_id=event.run)
    stopped = [row["raw"] for row in answer_rows.rows_of(db_path, event.run)]
    at_once = [row["raw"] for row in rows_after(tiny, db_path, [BASE], PROBES, RunSettings(mode="running"), reuse=False)]
    assert stopped == at_once and len(asked) == 16


def test_a_script_stands_around_the_probe(tiny, db_path, asked):
    script = {"en": ["Hello there.", "{question}", "Are you sure?"], "zh": ["{question}", "你确定吗？"]}
    sum_ = probe("sum", "1 and 1?", group="retention", check={"type": "number", "value": 2})
    rows = rows_after(tiny, db_path, [BASE], [sum_, PROBES[1]], RunSettings(mode="scripted", script=script))
    assert [row["question"] for row in rows] == ["Are you sure?", "你确定吗？"]
    assert [one["question"] for one in rows[0]["before"]] == ["Hello there.", "1 and 1?"]
    assert rows[0]["check"] is not None and plan.checked_turn(sum_, script) == 1 and rows[1]["check"] is None


def test_scripts_that_come_along_are_whole_and_faulty_ones_are_refused(tmp_path):
    assert {"sure", "later"} <= set(plan.script_names())
    for name in plan.script_names():
        assert (
            all(list(lines).count("{question}") == 1 for lines in plan.load_script(name).values())
            and len(plan.load_script(name)) == 2
        )
    assert plan.judged_turn(PROBES[0], plan.load_script("later")) == 6
    with pytest.raises(ProbeError, match="no script 'unsure'.*sure"):
        plan.load_script("unsure")
    (tmp_path / "mine.yaml").write_text("en: [Hello.]\nfr: [oui]\n")
    with pytest.raises(ProbeError, match=r"en needs one line \{question\}.*unknown language 'fr'"):
        plan.load_script(tmp_path / "mine.yaml")
    with pytest.raises(ProbeError, match="no lines in zh"):
        whole(None, [BASE], PROBES, RunSettings(mode="scripted", script={"en": ["{question}"]}))


def test_a_probe_that_cannot_be_asked_fails_alone(tiny, db_path, asked):
    endless = probe("endless", "word " * 400, "And then?")
    rows = rows_after(tiny, db_path, [BASE], [endless, *PROBES[:3]])
    assert [bool(row["problem"]) for row in rows] == [True, False, False, False]
    assert "too long" in rows[0]["problem"] and rows[0]["answer"] is None
    row = store.runs.get(db_path, 1)
    assert row["status"] == "done" and row["done"] == row["total"] == 5
    assert whole(tiny, [BASE], [endless, *PROBES[:3]], db=db_path, run_id=1).failed == 2


def halfway(engine, monkeypatch, away: str = "") -> None:
    """The first answers come; the others of the same call are refused, as when an adapter is taken out or the base is parked."""
    stream, calls = engine.stream, []

    def broken(requests, stop=None, **more):
        calls.append(len(requests))
        if len(calls) > 1:
            yield from stream(requests, stop, **more)
            return
        yield from stream(list(requests)[:3], stop, **more)
        if away:
            monkeypatch.setattr(engine, "leaving", away)
        raise engine_room.EngineError(away or "Adapter 'mine' is not loaded.")

    monkeypatch.setattr(engine, "stream", broken)


def test_who_was_answered_before_the_others_were_refused_stays_answered(tiny, db_path, monkeypatch):
    turns = [probe(f"t{at}", "First?", "Second?") for at in range(2)]
    long = Variant("long", prompt="x " * 20_000, decoding=SHORT)
    halfway(tiny, monkeypatch)
    last = whole(tiny, [BASE, long], [*turns, *PROBES[:3]], db=db_path)
    rows = answer_rows.rows_of(db_path, last.run)
    assert last.status == "done" and all(row["raw"] for row in rows if row["variant"] == "base")
    assert not [row for row in rows if row["variant"] == "long" and row["raw"]]


def test_a_base_that_is_parked_halfway_is_no_fault_of_the_probes(tiny, db_path, monkeypatch):
    halfway(tiny, monkeypatch, away="The base is parked while job 3 trains.")
    with pytest.raises(engine_room.EngineError, match="is parked"):
        whole(tiny, [BASE, GUIDE], PROBES, db=db_path)
    monkeypatch.undo()
    run_id = store.runs.recent(db_path, 1)[0]["id"]
    last = whole(tiny, [BASE, GUIDE], PROBES, db=db_path, run_id=run_id)
    assert (last.status, last.failed) == ("done", 0)


def test_settings_name_everything_that_is_wrong():
    with pytest.raises(ProbeError, match="samples is 0.*mode is 'loud'.*temperature is 0"):
        RunSettings(samples=0, mode="loud", temperature=0)
    with pytest.raises(ProbeError, match="the mode scripted needs one"):
        RunSettings(mode="scripted")


def test_int8_answers_are_never_taken_for_those_of_whole_weights(tiny, folder, tmp_path):
    small = engine_room.load(str(folder), dtype="fp32", quantize="int8", say=lambda _line: None)
    runs = {}
    for name, engine in (("whole", tiny), ("int8", small)):
        *_, last = runner.run(engine, [BASE], PROBES[:2], db=tmp_path / "m.db")
        assert last.reused == 0  # what the other one answered is nothing to take
        runs[name] = last.run
    assert {row["variant"] for row in answer_rows.rows_of(tmp_path / "m.db", runs["whole"])} == {"base"}
    rows = answer_rows.rows_of(tmp_path / "m.db", runs["int8"])
    assert {(row["variant"], row["hashes"]["dtype"]) for row in rows} == {("base (int8)", "int8 (float32)")}
    stored = [store.answers.get(tmp_path / "m.db", answer) for answer in (1, rows[0]["answer_id"])]
    assert stored[0]["variant_key"] != stored[1]["variant_key"] and stored[1]["variant_name"] == "base (int8)"
    saved = runner.read_run(tmp_path / "m.db", runs["int8"])
    with pytest.raises(ProbeError, match=r"its dtype was int8 \(float32\) .* the one loaded is float32"):
        runner.check_same(tiny, saved.row)
    *_, again = runner.run(small, [BASE], PROBES[:2], db=tmp_path / "m.db")
    assert again.reused == 2
