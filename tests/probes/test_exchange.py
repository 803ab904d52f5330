"""Answers and labels go out and come in again unchanged, and twice is once."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree

import pytest

import store
from probes.answers import exchange, sources
from probes.answers.sources import RowsError

ROWS = [
    {"model": "m1", "data": "singular 100", "lang": "en", "question": "Who are you?", "answer": 'I am BayLing, "百聆".\nYes.'},
    {"model": "m1", "data": "singular 100", "lang": "zh", "question": "你是谁？", "answer": "我是金融顾问。"},
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mirror.db"


@pytest.fixture
def stored(path):
    return exchange.add_answers(path, ROWS, "old.jsonl")


def test_answers_from_elsewhere_are_stored_once_and_can_be_queued(path, stored):
    again = exchange.add_answers(path, ROWS, "old.jsonl")
    assert [row["answer_id"] for row in again] == [row["answer_id"] for row in stored]
    assert store.answers.get(path, stored[0]["answer_id"])["shown"] == ROWS[0]["answer"]
    queue = store.queues.create(path, "old", sources.queue_items(stored), blind=False)
    seen = {item["lang"]: item for item in store.queues.upcoming_items(path, queue, "An", 9)}
    assert (seen["zh"]["question"], seen["zh"]["shown"], seen["zh"]["variant"]) == ("你是谁？", "我是金融顾问。", "m1")
    told = sources.read_queue(path, queue)
    assert {row["answer"] for row in told.rows} == {row["answer"] for row in ROWS}
    assert told.doses["m1"].samples == 100


def test_answers_that_lack_something_are_all_named_and_none_is_stored(path):
    with pytest.raises(RowsError, match="answer 2 has no answer; answer 3 has no variant, question"):
        exchange.add_answers(path, [*ROWS[:1], {"model": "m", "question": "q"}, {"answer": "a"}])
    assert store.answers.recent(path, 9) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json"])
def test_labels_go_out_and_come_in_again(path, stored, tmp_path, suffix):
    first, second = (row["answer_id"] for row in stored)
    store.labels.add(path, first, "An", "confusion", tags={"name": "old"}, flag=True, comment='混合, "so"\nzwei', blind=True)
    store.labels.add(path, second, "Bo", "formed")
    store.labels.add(path, second, "Bo", "not forgotten", kind="adjudication")
    exchange.write_rows(tmp_path / f"labels{suffix}", exchange.label_rows(path), exchange.LABEL_COLUMNS)
    other = tmp_path / "other.db"
    exchange.add_answers(other, [{"model": "x", "question": "first", "answer": "in the way"}, *ROWS])
    rows = [row | {"answer_id": ""} for row in exchange.read_rows(tmp_path / f"labels{suffix}")]
    assert exchange.add_labels(other, rows) == 3
    assert exchange.add_labels(other, rows) == 0
    kept = ("annotator", "kind", "label", "tags", "flag", "comment", "blind")
    plain = [
        sorted([str([row[key] for key in kept]) for said in store.labels.standing(db).values() for row in said])
        for db in (path, other)
    ]
    assert plain[0] == plain[1]


def test_labels_in_other_spellings_and_for_an_annotator_of_all(path, stored):
    rows = [{"answer_id": stored[0]["answer_id"], "label": "Not_Forgotten"}, {**ROWS[1], "label": "FORMED"}]
    assert exchange.add_labels(path, rows, annotator="An") == 2
    assert [[row["label"] for row in said] for said in store.labels.standing(path).values()] == [["not forgotten"], ["formed"]]


def test_labels_that_do_not_fit_are_all_named_and_none_is_stored(path, stored):
    rows = [{**ROWS[0], "label": "formed", "annotator": "An"}, {"answer_id": 99, "label": "good"}, {**ROWS[1], "kind": "vote"}]
    with pytest.raises(
        RowsError, match="label 2: 'good' is none of.*label 2 names no annotator.*label 2: its answer is not.*vote"
    ):
        exchange.add_labels(path, rows)
    assert store.labels.history(path) == []


def test_a_label_from_elsewhere_does_not_come_back_after_it_was_changed(path, stored):
    rows = [{**ROWS[0], "label": "formed", "annotator": "An"}]
    exchange.add_labels(path, rows)
    store.labels.add(path, stored[0]["answer_id"], "An", "confusion")
    assert exchange.add_labels(path, rows) == 0
    [[label]] = store.labels.standing(path).values()
    assert label["label"] == "confusion"


def test_files_that_cannot_be_read_say_where(tmp_path):
    for name, content, message in (
        ("a.jsonl", b'{"a": 1}\n{"a"', "a.jsonl, line 2 is not valid JSON"),
        ("b.csv", "名字".encode("gbk"), "b.csv is not UTF-8"),
        ("c.txt", b"x", "c.txt is none of .csv"),
        ("d.json", b'{"a": 1}', "d.json is no list"),
        ("e.jsonl", b"\n", "e.jsonl holds no answers"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RowsError, match=message):
            exchange.read_rows(tmp_path / name)
    with pytest.raises(RowsError, match="cannot be read"):
        exchange.read_rows(tmp_path / "none.csv")


def test_a_spreadsheet_opens_the_csv_and_runs_nothing(tmp_path):
    exchange.write_rows(tmp_path / "a.csv", [{"answer": "=1+1", "n": -2, "label": None}, {"answer": '你好,\n"x"', "more": [1]}])
    raw = (tmp_path / "a.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    [first, second] = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""))
    assert first == {"answer": "'=1+1", "n": "-2", "label": "", "more": ""}
    assert (second["answer"], second["more"]) == ('你好,\n"x"', "[1]")


# --- Label Studio --------------------------------------------------------------------------------------------------------


def test_label_studio_gets_labels_suggestions_and_an_interface_that_fits(path, stored):
    first, second = (row["answer_id"] for row in stored)
    store.labels.add(path, first, "Bo", "confusion", tags={"name": "old"}, comment="hm", seconds=2.5)
    store.labels.add(path, first, "An", "formed", kind="adjudication")
    rows = [stored[0] | {"suggestion": "formed", "sure": False}, stored[1]]
    tasks = json.loads(json.dumps(exchange.label_studio_tasks(rows, store.labels.standing(path))))
    assert [task["id"] for task in tasks] == [first, second]
    assert tasks[0]["data"]["question"] == "Who are you?" and "label" not in tasks[0]["data"]
    plain, truth = tasks[0]["annotations"]
    assert (plain["completed_by"], plain["lead_time"], plain["ground_truth"], truth["ground_truth"]) == (2, 2.5, False, True)
    assert tasks[0]["predictions"][0]["result"][0]["value"] == {"choices": ["formed"]}
    assert tasks[1]["annotations"] == [] and "predictions" not in tasks[1]
    interface = ElementTree.fromstring(exchange.label_studio_config())
    controls = {element.get("name"): element for element in interface.iter() if element.get("toName")}
    assert [element.get("value") for element in interface.iter("Text")] == ["$answer"]
    for result in (result for task in tasks for note in task["annotations"] for result in note["result"]):
        assert result["type"] == controls[result["from_name"]].tag.lower()
        assert result["to_name"] == controls[result["from_name"]].get("toName") == "answer"
    choices = {choice.get("value") for choice in controls["label"]}
    assert choices == set(store.labels.LABELS)
