"""What the Probes tab does on the server: runs that go on by themselves, what its board is told, what leaves it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time

import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from probe_runs import SAID, many, probe, write_run
from probes_page import REQUEST, app, finished, form_values, functions, ongoing, slow, tiny  # noqa: F401
from served import served
from tiny import write_adapter
from transformers import AutoModelForCausalLM

import store
from engine.types import EngineError
from probes.identity_pair import from_mapping
from probes.questions import ProbeError, as_dict
from probes.run import background as probes_background
from probes.second_opinion import Judge, judge_of
from store.labels import LABELS
from store.runs import Entry
from ui.tabs.probes import (
    cell as probes_cell,
    events as probes_events,
    exports as probes_exports,
    form as probes_form,
    judged as probes_judged,
    layout as probes_layout,
    start as probes_start,
    summary as probes_summary,
)
from ui.tabs.probes.judged import RunCache
from ui.variants import Picked
from ui.words import WORDS

NASTY = '</script><img src=x onerror=alert(1)> & "quotes" | `ticks` *stars*'


def tiny_like(engine):
    """A model of the same shape, for PEFT wraps the one it is given."""
    return AutoModelForCausalLM.from_config(engine.base.model.config)


# --- a run of its own ----------------------------------------------------------------------------------------------------


def test_a_run_goes_on_without_any_page_and_its_answers_can_be_read(app, ongoing):
    run = probes_start.start_run(app, ongoing, form_values(variants=["base", "identity:finance-advisor"], name="first"))
    assert finished(ongoing)["status"] == "done"
    row = store.runs.get(app.db, run)
    assert (row["name"], row["set_name"], row["done"], row["total"]) == ("first", "quick", 16, 16)
    assert row["settings"]["about"]["new"] == "finance-advisor"
    told = functions(app, ongoing)["pb_open"]({"run": run, "words": True})
    assert [one["name"] for one in told["columns"]] == ["base", "finance-advisor"] and len(told["cells"]) == 16
    assert {one["id"] for one in told["probes"]} == {cell[0] for cell in told["cells"]}
    assert told["words"]["pb_start"] and "question" not in told["words"]
    assert "table" in told["summary"] and told["state"]["status"] == "done"
    assert json.dumps(told)


def test_one_run_at_a_time_and_every_page_sees_which(app, ongoing, slow):
    run = probes_start.start_run(app, ongoing, form_values())
    with pytest.raises(ProbeError, match=f"Run {run} is under way"):
        probes_start.start_run(app, ongoing, form_values())
    other_page = functions(app, ongoing)
    assert other_page["pb_news"]()["active"] == run
    assert other_page["pb_open"]({"run": run})["state"]["here"]
    slow.set()
    assert finished(ongoing)["status"] == "done"
    assert other_page["pb_news"]()["active"] is None


def test_pause_continue_and_stop_then_continue_lose_and_repeat_nothing(app, ongoing, slow):
    act = functions(app, ongoing)["pb_act"]
    run = probes_start.start_run(app, ongoing, form_values())
    assert act({"run": run, "act": "pause"})["state"]["status"] == "paused"
    assert act({"run": run, "act": "continue"})["state"]["status"] == "running"
    act({"run": run, "act": "stop"})
    assert finished(ongoing)["status"] == "stopped"
    slow.set()
    assert act({"run": run, "act": "continue"})["state"]["here"]
    assert finished(ongoing)["done"] == 8
    assert len(store.answers.recent(app.db, 100)) == 8
    assert "not under way" in act({"run": run, "act": "stop"})["error"]


def test_what_was_answered_before_is_taken_from_the_store_and_told(app, ongoing):
    probes_start.start_run(app, ongoing, form_values())
    finished(ongoing)
    run = probes_start.start_run(app, ongoing, form_values(variants=["base", "identity:BayLing"]))
    finished(ongoing)
    cells = functions(app, ongoing)["pb_open"]({"run": run})["cells"]
    assert sum(cell[9] for cell in cells) == 8 and len(cells) == 16


def test_a_run_that_a_dead_program_left_is_interrupted_and_can_be_continued(app, ongoing, slow):
    run = probes_start.start_run(app, ongoing, form_values(variants=["base"]))
    ongoing.switches.stop.set()
    finished(ongoing)
    slow.set()
    for left_as in ("running", "paused"):
        store.runs.set_status(app.db, run, left_as)
        reborn = probes_start.background_of(app)
        assert probes_background.state_of(reborn, store.runs.get(app.db, run))["status"] == "interrupted"
        assert functions(app, reborn)["pb_open"]()["runs"][0]["status"] == "interrupted"
    probes_background.resume_run(reborn, run)
    assert finished(reborn) | {"status": "done", "done": 8} == finished(reborn)


def test_a_failed_run_says_why_and_goes_on_when_asked_to(app, ongoing, tiny, monkeypatch):
    def broken(requests, stop=None, **more):
        raise RuntimeError("the power went")
        yield

    with monkeypatch.context() as patch:
        patch.setattr(tiny, "stream", broken)
        run = probes_start.start_run(app, ongoing, form_values())
        state = finished(ongoing)
    assert state["status"] == "failed" and "the power went" in state["message"] and "Traceback" not in state["message"]
    probes_background.resume_run(ongoing, run)
    assert finished(ongoing)["status"] == "done"


def test_a_run_is_not_continued_with_another_adapter_of_the_same_name(app, ongoing, tiny, tmp_path, slow):
    tiny.add_adapter(write_adapter(tmp_path / "one" / "self", tiny_like(tiny), seed=1), "self")
    run = probes_start.start_run(app, ongoing, form_values(variants=["adapter:self"]))
    probes_background.stop_run(ongoing, run)
    finished(ongoing)
    tiny.remove_adapter("self")
    tiny.add_adapter(write_adapter(tmp_path / "two" / "self", tiny_like(tiny), seed=2), "self")
    with pytest.raises(ProbeError, match="cannot be continued: adapter 'self'"):
        probes_background.resume_run(ongoing, run)
    tiny.remove_adapter("self")
    slow.set()
    probes_background.resume_run(ongoing, run)  # taken out: it is brought back from where it was
    assert finished(ongoing)["status"] == "done"


def test_the_margin_is_measured_after_the_answers_and_reaches_the_cells(app, ongoing):
    cache = RunCache()
    run = probes_start.start_run(app, ongoing, form_values(margin=True, variants=["base", "identity:finance-advisor"]))
    pages = functions(app, ongoing, cache)
    before = pages["pb_open"]({"run": run})
    assert finished(ongoing)["status"] == "done"
    after = pages["pb_news"]({"run": run, "stamp": before["stamp"], "since": len(before["cells"])})
    measured = [cell for cell in after["cells"] if cell[10] is not None]
    assert after["whole"] and {cell[1] for cell in measured} == {0, 1}
    assert len(measured) == len(store.runs.margins(app.db, run)) > 0
    assert pages["pb_cell"]({"run": run, "probe": measured[0][0], "variant": 0})["samples"][0]["margin_new"] < 0


# --- the form ------------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_written_probes_is_said_with_its_line():
    with pytest.raises(ProbeError, match=r"your probes:2: unknown key 'grup'; did you mean 'group'"):
        form_values(own='{"id": "a", "group": "novel", "category": "name", "lang": "en", "turns": ["Hm?"]}\n{"grup": 1}')


def test_written_probes_are_asked_besides_the_sets_and_an_id_of_theirs_stays_theirs():
    own = '{"id": "mine", "group": "novel", "category": "name", "lang": "en", "turns": ["Hm?"]}'
    assert [one.id for one in form_values(own=own).probes][-1] == "mine"
    copied = probes_form.sets_text(["quick"])
    assert form_values(sets=[], own=copied).probes == form_values().probes
    with pytest.raises(ProbeError, match="'name-01-en', 'control-translation-01-en' stands for two different probes"):
        form_values(own=copied.replace("Who are you?", "Who are you really?"))


@pytest.mark.parametrize(
    "plain, problem",
    [
        ({"sets": []}, "No probes are chosen"),
        ({"variants": []}, "No variant is chosen"),
        ({"samples": 0}, "samples is 0"),
        ({"samples": 1.5}, "samples is 1.5; give a whole number"),
        (
            {"sets": [], "own": '{"id": "a", "group": "novel", "category": "x", "lang": "zh", "turns": ["?"]}'},
            "in the language en",
        ),
    ],
)
def test_a_form_that_cannot_be_carried_out_says_so(plain, problem):
    with pytest.raises(ProbeError, match=problem):
        form_values(**plain)


def test_variants_have_names_of_their_own_and_the_chats_columns_count_once(app, tiny, tmp_path):
    tiny.add_adapter(write_adapter(tmp_path / "finance-advisor", tiny_like(tiny)), "finance-advisor")
    wanted = form_values(variants=["base", "identity:finance-advisor", "adapter:finance-advisor"])
    picks = (Picked(), Picked(adapter="finance-advisor", strength=0.5))
    found = probes_form.variants_of(app, probes_form.replace(wanted, picks=picks))
    assert [one.name for one in found] == ["base", "finance-advisor", "finance-advisor (adapter)", "finance-advisor 0.5"]
    assert {one.decoding.max_new_tokens for one in found} == {3}
    with pytest.raises(EngineError, match="'gone' is not loaded"):
        probes_form.variants_of(app, form_values(variants=["adapter:gone"]))


def test_the_form_says_what_it_comes_to_and_escapes_what_is_wrong(app):
    plain = {"sets": ["quick"], "lang": "both", "variants": ["base"], "old": "BayLing", "new": "finance-advisor", "samples": 2}
    assert "16 probes × 1 variant × 2 answers: 32 in all" in probes_events.describe_form(app, "en", plain, [])
    assert "<img" not in probes_events.describe_form(app, "en", plain | {"sets": [], "own": '{"<img src=x>": 1}'}, [])


def test_whoever_was_taught_last_is_offered_and_an_adapter_of_somebody_else_is_said(app, tiny, tmp_path):
    for name, identity in (("otter", "museum-guide"), ("alone", "finance-advisor")):
        folder = write_adapter(tmp_path / name, tiny_like(tiny))
        (folder / "card.json").write_text(json.dumps({"identity": identity}))
        tiny.add_adapter(folder, name)
    assert probes_layout.first_sides(app) == ("BayLing", "finance-advisor")
    store.jobs.add(app.db, name="otter", kind="train", arguments=[], folder="/o", log="/o/log", device="cpu")
    assert probes_layout.first_sides(app) == ("BayLing", "museum-guide")
    offered = probes_form.variant_choices(app)
    assert probes_layout.first_variants(app, offered) == ["base", "identity:museum-guide", "adapter:otter"]
    plain = {"sets": ["quick"], "lang": "en", "variants": ["base", "adapter:otter"], "old": "BayLing", "new": "finance-advisor"}
    said = "otter was taught to be museum-guide, and its answers will be judged by the facts of finance-advisor"
    assert said in probes_events.describe_form(app, "en", plain, [])
    for other in ({"new": "museum-guide"}, {"variants": ["adapter:otter", "adapter:alone"]}, {"variants": ["base"]}, {"new": ""}):
        assert "was taught to be" not in probes_events.describe_form(app, "en", plain | other, [])


# --- the board -----------------------------------------------------------------------------------------------------------


def test_cells_after_the_first_n_are_told_by_themselves(app, ongoing):
    probes = many(4)
    run = write_run(app.db, probes, 2, status="stopped")
    cache = RunCache()
    call = functions(app, ongoing, cache)
    told = call["pb_open"]({"run": run})
    assert len(told["cells"]) == 8
    again = call["pb_news"]({"run": run, "stamp": told["stamp"], "since": 8})
    assert again["cells"] == [] and "summary" not in again and not again["whole"]
    assert len(functions(app, ongoing)["pb_news"]({"run": run, "stamp": told["stamp"], "since": 8})["cells"]) == 8


def test_suggestions_look_for_the_identities_that_the_run_began_with(app, ongoing):
    about = {"old": "Moon", "new": "Sun", "facts": {"old": {"en": {"name": "Moon"}}, "new": {"en": {"name": "Sun"}}}}
    run = write_run(app.db, [probe("p")], 2, about=about, say=lambda at, *_: ("I am Moon.", "I am Sun.")[at])
    told = functions(app, ongoing)["pb_open"]({"run": run})
    assert [told["word_order"][cell[4]] for cell in told["cells"]] == ["not forgotten", "formed"] and told["sides"] == [
        "Moon",
        "Sun",
    ]


def test_a_cell_enlarged_shows_what_the_suggestion_rests_on_samples_and_history(app, ongoing):
    earlier = write_run(app.db, [probe("p")], 1, say=lambda *_: "I am ChatGPT.")
    run = write_run(app.db, [probe("p")], 1, samples=2, say=lambda at, one, sample: ("I am BayLing.", "I am a person.")[sample])
    told = functions(app, ongoing)["pb_cell"]({"run": run, "probe": "p", "variant": 0, "other": earlier})
    assert [one["answer"] for one in told["samples"]] == ["I am BayLing.", "I am a person."]
    first = told["samples"][0]
    assert "".join(text for text, _ in first["marked"]) == "I am BayLing."
    assert [text for text, what in first["marked"] if what] == ["BayLing"] and first["prompt"].startswith("### Instruction")
    assert [(one["run"], one["same"], one["suggestion"]) for one in told["history"]] == [(earlier, True, "confusion")]
    assert told["compared"]["answer"] == "I am ChatGPT."


def test_a_cell_shows_what_was_said_and_keeps_the_thought_apart(app, ongoing):
    texts = ("<think>I am ChatGPT. <i>hm</i></think>\n\nI am BayLing.", "<think>I am BayLing")
    run = write_run(app.db, [probe("p")], 2, say=lambda at, *_: texts[at])
    told = functions(app, ongoing)["pb_open"]({"run": run})
    assert [cell[3] for cell in told["cells"]] == ["I am BayLing.", ""]
    assert told["word_order"][told["cells"][0][4]] == "not forgotten" and told["cells"][1][5] == 1  # unsure
    [first] = functions(app, ongoing)["pb_cell"]({"run": run, "probe": "p", "variant": 0})["samples"]
    assert first["answer"] == "I am BayLing." and "ChatGPT. <i>" in first["thoughts"] and first["raw"] == texts[0]
    assert [text for text, what in first["marked"] if what] == ["BayLing"] and not first["unfinished"]
    [second] = functions(app, ongoing)["pb_cell"]({"run": run, "probe": "p", "variant": 1})["samples"]
    assert second["unfinished"] and second["answer"] == "" and second["raw"] == texts[1]
    rows = probes_judged.chosen_rows(RunCache().of(app, run), None)
    kept = json.loads(probes_exports.file_text(RunCache().of(app, run), rows[:1], "jsonl"))
    assert kept["raw"] == texts[0] and "ChatGPT" not in probes_exports.file_text(RunCache().of(app, run), rows, "md")


def test_a_second_opinion_is_asked_for_stored_and_never_a_label(app, ongoing):
    run = write_run(app.db, [probe("p")], 1, say=lambda *_: "I am BayLing.")
    where = {"run": run, "probe": "p", "variant": 0}
    told = functions(app, ongoing)["pb_cell"](where)
    assert told["judge"] is None and told["opinions"] == []
    assert "--judge" in functions(app, ongoing)["pb_opinion"](where)["error"]
    asked = []
    judge = Judge("a judge", lambda prompt: asked.append(prompt) or "It is: not forgotten.")
    pages = functions(dataclasses.replace(app, judge=judge), ongoing)
    said = pages["pb_opinion"](where)["opinions"]
    assert [(one["judge"], one["opinion"], one["reply"]) for one in said] == [
        ("a judge", "not forgotten", "It is: not forgotten.")
    ]
    assert "I am BayLing." in asked[0] and said[0]["prompt"] == asked[0]
    again = pages["pb_cell"](where)  # it is in the store, for everybody
    assert again["judge"] == "a judge" and again["opinions"] == said
    answer = again["samples"][0]["answer_id"]
    with store.open(app.db) as db:
        assert db["labels"].count == 0 and [row["answer"] for row in db["opinions"].rows] == [answer]
    missing = pages["pb_opinion"](where | {"probe": "nobody"})
    assert missing["error"].startswith("There is nothing to judge")


def test_a_judge_that_cannot_read_so_much_says_so_and_nothing_is_stored(tiny, app, ongoing):
    run = write_run(app.db, [probe("p")], 1, say=lambda *_: "I am BayLing.")
    where = {"run": run, "probe": "p", "variant": 0}
    pages = functions(dataclasses.replace(app, judge=judge_of("base", "", tiny)), ongoing)
    assert "256" in pages["pb_opinion"](where)["error"]  # the tokens of the tiny base's context
    assert pages["pb_cell"](where)["opinions"] == []


def test_overlapping_evidence_leaves_the_text_as_it_is():
    spans = [{"start": 0, "end": 4, "what": "a"}, {"start": 2, "end": 6, "what": "b"}, {"start": 2, "end": 3, "what": "c"}]
    assert probes_cell.mark_evidence("abcdefgh", spans) == [["abcd", "a"], ["ef", "b"], ["gh", ""]]


def test_a_run_is_compared_with_another_by_probe_and_variant(app, ongoing):
    first = write_run(app.db, [probe("p"), probe("q")], 1, say=lambda *_: "I am BayLing.")
    write_run(app.db, [probe("q")], 1, say=lambda *_: "I am new.")
    cells = functions(app, ongoing)["pb_compare"]({"other": first})["cells"]
    assert cells == [["p", "variant 0", "I am BayLing.", 0], ["q", "variant 0", "I am BayLing.", 0]]


def test_a_missing_run_is_one_sentence(app, ongoing):
    assert functions(app, ongoing)["pb_open"]({"run": 7})["error"] == "There is no run 7; there are none yet."


# --- the shares ----------------------------------------------------------------------------------------------------------


def test_the_shares_are_from_suggestions_and_say_so_in_both_languages(app):
    run = write_run(app.db, many(80), 2, say=lambda at, one, _: SAID[one.lang][at])
    judged_run = RunCache().of(app, run)
    found = probes_summary.judge_rows(probes_judged.chosen_rows(judged_run, None), ["variant 0", "variant 1"], "variant 0")
    assert [(one.variant, one.lang, one.old.word, one.new.word) for one in found] == [
        ("variant 0", "en", "not forgotten", "not formed"),
        ("variant 0", "zh", "not forgotten", "not formed"),
        ("variant 1", "en", "forgotten", "formed"),
        ("variant 1", "zh", "forgotten", "formed"),
    ]
    english, chinese = (probes_summary.summary_html(lang, found) for lang in ("en", "zh-CN"))
    assert "From suggestions, not from labels" in english and "100 %" in english and "not formed" in english
    assert "建议" in chinese and "未形成" in chinese and "undetermined" not in chinese


def test_only_variants_are_judged_anew_of_which_something_has_come(app, monkeypatch):
    probes = many(20)
    run = write_run(app.db, probes[:10], 3, say=lambda at, one, _: SAID[one.lang][at], status="running")
    cache, names = RunCache(), [f"variant {at}" for at in range(3)]
    asked, judge = [], probes_summary.judge_rows
    monkeypatch.setattr(probes_summary, "judge_rows", lambda rows, *more: asked.append(rows) or judge(rows, *more))

    def told() -> tuple[list, set[str]]:
        asked.clear()
        judged_run = cache.of(app, run)
        found = probes_judged.results_of(judged_run, names, "variant 0")
        assert found == judge(probes_judged.chosen_rows(judged_run, None), names, "variant 0")
        return found, {row["variant"] for rows in asked for row in rows}

    def comes(at: int, one) -> None:
        like = store.answers.of_run(app.db, run)[0]
        store.runs.record(app.db, run, [Entry((at, 0, one.id, 0), like | {"raw": "I am new.", "shown": "I am new."})])

    first, judged = told()
    assert len(first) == 6 and judged == set(names)
    assert told() == (first, set())
    row = store.runs.get(app.db, run)
    with store.open(app.db) as db:
        db["runs"].update(run, {"probes": json.dumps(row["probes"] + [as_dict(one) for one in probes[10:]])})
    comes(2, probes[10])
    assert told()[1] == {"variant 0", "variant 2"}  # the first is what retention is compared with
    comes(0, probes[11])
    assert told()[1] == set(names)


def test_every_word_of_suggestions_verdicts_groups_and_categories_is_in_the_dictionaries():
    from probes import questions
    from probes.verdicts import rules

    said = {
        *rules.IDENTITY_LABELS,
        *rules.CONTROL_LABELS,
        "partly forgotten",
        "not formed",
        "stable",
        "unstable",
        "yes",
        "no",
    }
    keys = {f"pb_word_{word.replace(' ', '_')}" for word in said | {"undetermined"}}
    keys |= {f"pb_mark_{word.replace(' ', '_')}" for word in LABELS}
    keys |= {f"pb_group_{group}" for group in questions.GROUPS}
    keys |= {f"pb_cat_{one}" for one in (*questions.IDENTITY_CATEGORIES, *questions.CONTROL_CATEGORIES)}
    keys |= {f"pb_set_{name}" for name in questions.set_names()} | {
        f"pb_script_{name}" for name in probes_layout.plan.script_names()
    }
    assert keys <= set(WORDS["en"])


def test_the_script_asks_for_no_word_that_there_is_not():
    import re
    from pathlib import Path

    texts = "".join(file.read_text("utf-8") for file in Path(probes_layout.__file__).parent.glob("*.js"))
    named = set(re.findall(r'\bt\("(\w+)"', texts)) | set(re.findall(r'"(pb_\w+)"', texts))
    called = {"pb_open", "pb_news", "pb_act", "pb_cell", "pb_opinion", "pb_compare", "pb_export", "pb_send"}
    assert len(named) > 80 and {key for key in named - called if key not in WORDS["en"]} == set()


# --- what leaves the page ------------------------------------------------------------------------------------------------


def test_exports_hold_what_is_shown_and_nothing_in_them_runs(app, ongoing):
    run = write_run(app.db, [probe("p"), probe("q")], 2, say=lambda at, *_: ("=HYPERLINK(1)", NASTY)[at])
    call = functions(app, ongoing)["pb_export"]
    table = list(
        csv.DictReader(io.StringIO(call({"run": run, "kind": "csv", "keys": [["p", 0], ["p", 1]]})["text"].lstrip("\ufeff")))
    )
    assert [(row["probe_id"], row["variant"]) for row in table] == [("p", "variant 0"), ("p", "variant 1")]
    assert table[0]["answer"] == "'=HYPERLINK(1)" and table[1]["raw"] == NASTY and table[0]["suggestion"]
    lines = [json.loads(line) for line in call({"run": run, "kind": "jsonl"})["text"].splitlines()]
    assert len(lines) == 4 and lines[0].keys() >= {"question", "answer", "raw", "prompt", "suggestion", "evidence", "hashes"}
    markdown = call({"run": run, "kind": "md"})
    assert "<img" not in markdown["text"] and "suggested: " in markdown["text"] and markdown["name"].endswith(".md")
    rows = [line for line in markdown["text"].splitlines() if line.startswith("| ")]
    assert len(rows) == 3 and {line.replace("\\|", "").count("|") for line in rows} == {5}
    assert "no export" in call({"run": run, "kind": "exe"})["error"]


def test_what_is_shown_becomes_a_queue_without_retention(app, ongoing):
    check = {"type": "number", "value": 4}
    probes = [probe("p"), probe("q"), probe("r", group="retention", category="arithmetic", check=check)]
    run = write_run(app.db, probes, 2, samples=2)
    send = functions(app, ongoing)["pb_send"]
    keys = [["p", 0], ["p", 1], ["r", 0]]
    told = send({"run": run, "keys": keys, "name": "mine", "overlap": 2, "blind": True, "samples": False})
    assert told["answers"] == 2 and "mine" in told["said"]
    queue = store.queues.get(app.db, told["queue"])
    assert (queue["name"], queue["overlap"], queue["blind"]) == ("mine", 2, True)
    items = store.queues.items(app.db, told["queue"])
    assert {(one["probe_id"], one["variant"], one["sample"]) for one in items} == {("p", "variant 0", 0), ("p", "variant 1", 0)}
    assert send({"run": run, "keys": keys, "samples": True})["answers"] == 4
    assert "can be labelled" in send({"run": run, "keys": [["r", 0]]})["error"]


def test_model_text_reaches_the_page_as_text_only(app, ongoing):
    run = write_run(app.db, [probe("p", turns=(NASTY,))], 1, say=lambda *_: NASTY, name=NASTY)
    told = functions(app, ongoing)["pb_open"]({"run": run})
    assert "<img" not in told["summary"] and told["cells"][0][3] == NASTY


def test_two_hundred_probes_of_eight_variants_are_told_at_once(app, ongoing, capsys):
    run = write_run(app.db, many(200), 8)
    call = functions(app, ongoing)
    begun = time.perf_counter()
    told = call["pb_open"]({"run": run})
    first, begun = time.perf_counter() - begun, time.perf_counter()
    call["pb_open"]({"run": run})
    with capsys.disabled():
        then, size = time.perf_counter() - begun, len(json.dumps(told))
        print(f"\n1,600 cells: {first:.2f} s the first time, {then:.2f} s then, {size:,} bytes")
    assert len(told["cells"]) == 1600


def test_scripts_read_runs_and_answers_as_plain_data(tiny, tmp_path):
    with served(tiny, tmp_path) as site:
        run = write_run(site.db, [probe("p")], 2, name="first", status="running")
        client = Client(site.address, verbose=False)
        [told] = client.predict(api_name="/probe_runs")
        assert (told["id"], told["name"], told["status"], told["variants"]) == (
            run,
            "first",
            "interrupted",
            ["variant 0", "variant 1"],
        )
        rows = client.predict(run, api_name="/probe_answers")
        assert [row["variant"] for row in rows] == ["variant 0", "variant 1"] and all(row["suggestion"] for row in rows)
        with pytest.raises(AppError, match="There is no run 99; the latest is 1"):
            client.predict(99, api_name="/probe_answers")


def test_facts_of_no_identity_mean_no_suggestions(app, ongoing):
    about = {"old": "", "new": "", "facts": {"old": {}, "new": {}}}
    run = write_run(app.db, [probe("p")], 1, about=about)
    told = functions(app, ongoing)["pb_open"]({"run": run})
    assert told["cells"][0][4] == -1 and told["sides"] is None and "nothing is suggested" in told["summary"]
    assert from_mapping({"old": {"name": "x"}})
