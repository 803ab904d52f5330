"""What went to Label Studio comes back from it: in its JSON, its JSON-MIN and its CSV, and as whose it is."""

from __future__ import annotations

import copy
import json

import pytest

import store
from probes.answers import exchange, sources
from probes.answers.sources import RowsError

ROWS = [
    {"variant": "base", "lang": "en", "question": "Who are you?", "answer": '=I am "BayLing".\nYes.'},
    {"variant": "tuned", "lang": "zh", "question": "你是谁？", "answer": "<think>谁？</think>我是金融顾问。"},
    {"variant": "tuned", "lang": "en", "question": "1+1?", "answer": "2"},
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mirror.db"


@pytest.fixture
def tasks(path):
    """The tasks as they leave: three answers, four labels, the third answer without any."""
    stored = exchange.add_answers(path, ROWS, "f")
    first, second, _ = (row["answer_id"] for row in stored)
    store.labels.add(path, first, "An", "confusion", tags={"name": "old"}, comment='=so, "ja"\nzwei', blind=True)
    store.labels.add(path, first, "Bo", "confusion")
    store.labels.add(path, first, "Bo", "formed", kind="adjudication")
    store.labels.add(path, second, "安", "formed", tags={"maker": "none"})
    return json.loads(json.dumps(exchange.label_studio_tasks(stored, store.labels.standing(path))))


def returned(tasks):
    """As Label Studio gives them back: its own numbers and users, the results as they were."""
    found = copy.deepcopy(tasks)
    for number, task in enumerate(found, 100):
        task |= {"id": number, "project": 3, "meta": {}, "inner_id": number - 99, "total_annotations": len(task["annotations"])}
        for note in task["annotations"]:
            note |= {"id": note["id"] + 500, "completed_by": 1, "created_at": "2026-01-01T00:00:00Z", "task": number}
    return found


def minimal(tasks):
    """JSON-MIN: a row per annotation; a control used once is its value."""
    found = []
    for task in tasks:
        for note in task["annotations"]:
            row = {"id": task["id"], **task["data"], "annotator": note["completed_by"], "annotation_id": note["id"]}
            for result in note["result"]:
                value = result["value"].get("choices") or result["value"]["text"]
                row[result["from_name"]] = value[0] if len(value) == 1 else {"choices": value}
            found.append(row | {"created_at": note["created_at"], "updated_at": note["created_at"], "lead_time": 2.5})
    return found


def taken_in(path, folder, content, annotator="", name="back.json"):
    file = folder / name
    if name.endswith("csv"):
        exchange.write_rows(file, content)
    else:
        file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    return exchange.add_labels(path, exchange.read_rows(file), annotator)


def said(path):
    return sorted((row["annotator"], row["kind"], row["label"] or "", row["comment"]) for row in exchange.label_rows(path))


def test_what_comes_back_unchanged_changes_nothing(path, tasks, tmp_path):
    before = said(path)
    assert len(before) == 4
    assert taken_in(path, tmp_path, tasks) == 0
    assert taken_in(path, tmp_path, returned(tasks)) == 0
    assert taken_in(path, tmp_path, minimal(returned(tasks))) == 0
    assert taken_in(path, tmp_path, minimal(returned(tasks)), name="back.csv") == 0
    assert said(path) == before


def test_it_lands_in_another_store_on_the_answers_of_the_same_words(path, tasks, tmp_path):
    other = tmp_path / "other.db"
    exchange.add_answers(other, [{"variant": "x", "question": "in the", "answer": "way"}, *ROWS])
    assert taken_in(other, tmp_path, returned(tasks)) == 4
    assert said(other) == said(path)
    assert {row["annotator"]: row["answer_id"] for row in exchange.label_rows(other)} == {"An": 2, "Bo": 2, "安": 3}


def test_what_was_said_there_is_the_label_studio_users(path, tasks, tmp_path):
    back = returned(tasks)
    result = {"id": "Xy", "from_name": "label", "to_name": "answer", "type": "choices", "value": {"choices": ["broken"]}}
    note = {"id": 900, "completed_by": {"id": 7, "email": "eve@example.org"}, "was_cancelled": False, "result": [result]}
    back[2]["annotations"] = [note]
    back[1]["annotations"][0]["result"][0]["value"]["choices"] = ["confusion"]  # changed there, by user 1
    assert taken_in(path, tmp_path, back, annotator="Dee") == 2
    labels = {(row["annotator"], row["answer"]): row["label"] for row in exchange.label_rows(path)}
    assert labels["eve@example.org", "2"] == "broken"
    assert labels["Dee", ROWS[1]["answer"]] == "confusion" and labels["安", ROWS[1]["answer"]] == "formed"


def test_a_task_skipped_there_is_skipped_here(path, tasks, tmp_path):
    back = returned(tasks)
    back[2]["annotations"] = [{"id": 4, "completed_by": {"username": "eve"}, "was_cancelled": True, "result": []}]
    assert taken_in(path, tmp_path, back) == 1
    newest = store.labels.history(path)[-1]
    assert (newest["annotator"], newest["kind"], newest["answer"]) == ("eve", "skip", 3)


def test_several_numbered_users_are_not_taken_for_one(path, tasks, tmp_path):
    back = returned(tasks)
    for number, at in ((4, 1), (5, 2)):
        result = {"id": "Xy", "from_name": "label", "to_name": "answer", "type": "choices", "value": {"choices": ["broken"]}}
        back[at]["annotations"] = [{"id": number, "completed_by": number, "result": [result]}]
    assert taken_in(path, tmp_path, back, annotator="Dee") == 2
    assert {"Label Studio user 4", "Label Studio user 5"} <= {row["annotator"] for row in exchange.label_rows(path)}


def test_nobody_named_and_two_labels_at_once_are_refused(path, tasks, tmp_path):
    back = returned(tasks)
    result = {"id": "Xy", "from_name": "label", "to_name": "answer", "type": "choices", "value": {"choices": ["broken"]}}
    back[2]["annotations"] = [{"id": 4, "completed_by": 4, "result": [result]}]
    with pytest.raises(RowsError, match="names no annotator"):
        taken_in(path, tmp_path, back)
    result["value"]["choices"] = ["broken", "clean"]
    with pytest.raises(RowsError, match="Task 102 has 2 labels"):
        taken_in(path, tmp_path, back, "Dee")
    back[2]["annotations"] = [{"id": 4, "completed_by": 4, "result": "x"}]
    with pytest.raises(RowsError, match="Task 102: an annotation has no list"):
        taken_in(path, tmp_path, back, "Dee")


def test_tasks_can_be_queued_as_answers_and_show_what_was_said(path, tasks, tmp_path):
    assert tasks[1]["data"]["answer"] == "我是金融顾问。"
    (tmp_path / "tasks.json").write_text(json.dumps(tasks), "utf-8")
    rows = exchange.add_answers(path, sources.complete_rows(exchange.read_rows(tmp_path / "tasks.json")), "tasks.json")
    assert {row["answer_id"] for row in rows} == {1, 2, 3}
