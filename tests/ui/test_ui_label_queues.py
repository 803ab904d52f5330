"""The Label tab's forms: queues from runs and files, agreement and settling, labels in and out as files."""

from __future__ import annotations

import json
from pathlib import Path

import label_page
import pytest
from label_page import decide, decision

import store
from probes.answers import exchange
from probes.answers.sources import RowsError
from store import StoreError
from ui.context import sentence
from ui.tabs.label import (
    agreement as label_agreement,
    desk as label_desk,
    events as label_events,
    files as label_files,
    layout as label_layout,
)
from ui.tabs.label.files import QueueForm


@pytest.fixture
def app(tmp_path):
    return label_page.app(tmp_path)


# --- queues from runs and files ------------------------------------------------------------------------------------------


def form_values(**changes) -> QueueForm:
    plain = dict(
        source="run", run=None, file=None, variants=(), langs=("en", "zh"), kind="labels", blind=True, mask=False, overlap=1,
        draw="stratified", size=0, old="BayLing", new="finance-advisor", name="", gold=None,
    )  # fmt: skip
    return QueueForm(**plain | changes)


@pytest.fixture
def run(app):
    """A run of three probes in two languages by two variants, linked to stored answers."""
    probes = [
        {"id": f"p{n}-{lang}", "group": "trained" if n < 2 else "control", "category": "name", "lang": lang, "turns": [question]}
        for lang in ("en", "zh")
        for n, question in enumerate(label_page.QUESTIONS[lang][:3])
    ]
    greedy = {"temperature": 0.0, "seed": 0}
    variants = [
        {"name": name, "identity": "none", "mode": "system", "adapters": {}, "decoding": greedy, "paths": {}}
        for name in ("base", "tuned")
    ]
    run = store.runs.start(
        app.db, variants=variants, probes=probes, set_hash="h", total=12, name="tiny",
        settings={"about": {"old": "BayLing", "new": "museum-guide"}},
    )  # fmt: skip
    entries = []
    for at, variant in enumerate(variants):
        for probe in probes:
            text = label_page.ANSWERS[probe["lang"]][2 * at]
            given = label_page.row(probe["turns"][0], text, variant["name"], probe["lang"])
            entries.append(store.runs.Entry((at, 0, probe["id"], 0), given=given))
    store.runs.record(app.db, run, entries)
    return run


def test_a_run_becomes_a_queue_with_suggestions_and_who_is_who(app, run):
    queue = label_files.make_queue(app, "en", form_values(run=run, size=8, overlap=2))
    items = store.queues.items(app.db, queue)
    assert len(items) == 8 and store.queues.get(app.db, queue)["name"] == "run 1 tiny"
    assert {item["variant"] for item in items[:4]} == {"base", "tuned"} and {item["lang"] for item in items[:4]} == {"en", "zh"}
    suggested = {(item["variant"], item["suggestion"]) for item in items if item["group"] == "trained"}
    assert suggested == {("base", "not forgotten"), ("tuned", "formed")}
    card = label_desk.open_desk(app, queue, "An")["items"][0]
    assert "BayLing" in card["old"] and "Text Titan" in card["new"] and "suggestion" not in card


def test_a_run_can_be_narrowed_and_paired(app, run):
    queue = label_files.make_queue(app, "en", form_values(run=run, variants=("tuned",), langs=("zh",), draw="all"))
    assert {(item["variant"], item["lang"]) for item in store.queues.items(app.db, queue)} == {("tuned", "zh")}
    pairs = label_files.make_queue(app, "en", form_values(run=run, kind="pairs"))
    items = store.queues.items(app.db, pairs)
    assert len(items) == 6 and all(set(item["variant_of"].values()) == {"base", "tuned"} for item in items)
    assert label_files.sides_of(app, run) == ("BayLing", "museum-guide")


def test_a_file_of_answers_becomes_a_queue_and_the_same_file_the_same_answers(app, tmp_path):
    file = tmp_path / "old.jsonl"
    rows = [
        {"model": "m1", "question": "你是谁？", "answer": "我是百聆。"},
        {"model": "m2", "question": "Who?", "answer": "BayLing."},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, two = (label_files.make_queue(app, "en", form_values(source="file", file=str(file))) for _ in range(2))
    items = [store.queues.items(app.db, queue) for queue in (one, two)]
    assert {item["lang"] for item in items[0]} == {"en", "zh"} and store.queues.get(app.db, one)["name"] == "old.jsonl"
    assert {item["answer"] for item in items[0]} == {item["answer"] for item in items[1]}


def test_forms_that_make_no_queue_say_why(app, run, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("model,question\nm,q\n")
    with pytest.raises(StoreError, match="Choose a run"):
        label_files.make_queue(app, "en", form_values())
    with pytest.raises(StoreError, match="No answer fits: of 12 answers"):
        label_files.make_queue(app, "en", form_values(run=run, variants=("nobody",)))
    with pytest.raises(RowsError, match="answer 1 has no answer") as caught:
        label_files.make_queue(app, "en", form_values(source="file", file=str(bad)))
    assert sentence("en", caught.value) == str(caught.value)
    assert store.queues.all_with_counts(app.db) == []


def test_the_desk_waits_for_a_name_and_a_queue_and_escapes_both(app):
    assert "There is nothing to label yet" in label_layout.desk_html(app, "en", "An", None, False)
    assert "Write your name" in label_layout.desk_html(app, "en", "", 1, True)
    assert "<script>" not in label_layout.desk_html(app, "en", '"><script>', 1, True)
    label_page.queue(app.db, 8, "<b>bold</b>")
    [(line, _)] = label_layout.queue_choices(app, "zh-CN")
    assert line == "<b>bold</b> · 8 项 · 盲标"
    assert label_events.run_choices("en", [], None)["info"].startswith("No run has answers")


# --- agreement, settling, revealing --------------------------------------------------------------------------------------


@pytest.fixture
def labelled(app):
    """A blind queue that An and Bo have labelled; they differ on the first three identity answers."""
    queue = label_page.queue(app.db, 24, overlap=2)
    items = store.queues.items(app.db, queue)
    differ = [item["answer"] for item in items if item["group"] == "trained"][:3]
    for item in items:
        store.labels.add(app.db, item["answer"], "An", item["suggestion"], queue=queue, blind=True)
        other = "forgotten" if item["suggestion"] != "forgotten" else "formed"
        store.labels.add(
            app.db, item["answer"], "Bo", other if item["answer"] in differ else item["suggestion"], queue=queue, blind=True
        )
    return queue, differ


def test_agreement_names_alpha_pairs_and_disagreements_and_hides_suggestions_while_blind(app, labelled):
    queue, differ = labelled
    told = label_agreement.agreement_html(app, "en", queue, False, "An")
    for part in ("overall", "language en", "language zh", "confusion against the rest", "An and Bo: 88 % the same on 24 answers"):
        assert part in told
    assert f"{len(differ)} answers were labelled differently and are not settled; 0 are settled" in told
    assert "stays hidden while you label blind" in told and "An and suggestions" not in told
    store.labels.reveal(app.db, "An", queue=queue)
    told = label_agreement.agreement_html(app, "en", queue, False, "An")
    assert "An and suggestions: 100 %" in told and "people together and suggestions" in told
    assert "Against the suggestions" not in label_agreement.agreement_html(app, "en", None, True, "An")


def test_disagreements_become_a_queue_whose_labels_are_adjudications(app, labelled):
    queue, differ = labelled
    settling = label_agreement.create_settling_queue(app, "settle", queue)
    opened = label_desk.open_desk(app, settling, "An")
    assert {label_page.stored(app.db, settling, card)["answer"] for card in opened["items"]} == set(differ)
    card = opened["items"][0]
    assert len(card["others"]) == 2 and all(not other["annotator"] for other in card["others"]) and "variants" not in card
    assert decide(app, decision(opened, card, label="confusion")) == ["stored"]
    answer = label_page.stored(app.db, settling, card)["answer"]
    kinds = [row["kind"] for row in store.labels.standing(app.db)[answer]]
    assert sorted(kinds) == ["adjudication", "label", "label"]
    assert "2 answers were labelled differently and are not settled; 1 are settled" in label_agreement.agreement_html(
        app, "en", queue, False, "An"
    )
    # who has seen what others said cannot change what they said blind
    first = label_desk.open_desk(app, queue, "An")
    same = next(item for item in store.queues.items(app.db, queue) if item["answer"] == answer)["drawn"]
    late = decision(first, {"item": same["item"], "sides": [{"answer": same["answers"][answer]}]}, label="formed", token="late")
    [told] = label_desk.carry_out(app, "An", [late])
    assert told["status"] == "refused" and "locked" in told["message"]


def test_nothing_to_settle_is_no_queue(app):
    queue = label_page.queue(app.db, 4)
    assert label_agreement.create_settling_queue(app, "settle", queue) is None
    assert "No answer has been labelled by two people" in label_agreement.agreement_html(app, "en", queue, False, "An")


def test_a_reveal_shows_what_was_hidden_to_that_person_only(app, labelled):
    queue, _ = labelled
    assert label_agreement.revealed_html(app, "en", queue, "An") == ""
    store.labels.reveal(app.db, "An", queue=queue)
    shown = label_agreement.revealed_html(app, "en", queue, "An")
    assert all(f"<td>{variant}</td>" in shown for variant in label_page.VARIANTS) and "Bo: " in shown
    assert label_agreement.revealed_html(app, "en", queue, "Bo") == ""
    assert "variants" in label_desk.open_desk(app, queue, "An")["recent"][0]
    assert "variants" not in label_desk.open_desk(app, queue, "Bo")["recent"][0]


def test_model_text_in_tables_is_text(app):
    [id] = store.answers.add(app.db, [label_page.row("<i>q</i>", "<script>alert(1)</script>", "<b>v</b>", "en")])
    queue = store.queues.create(app.db, "q", [{"answer": id, "variant": "<b>v</b>"}])
    store.labels.add(app.db, id, "<u>An", "formed", queue=queue)
    store.labels.reveal(app.db, "<u>An", queue=queue)
    shown = label_agreement.revealed_html(app, "en", queue, "<u>An")
    assert "&lt;script&gt;" in shown and not any(tag in shown for tag in ("<script", "<i>q", "<b>v", "<u>"))


# --- files ---------------------------------------------------------------------------------------------------------------


def test_labels_go_out_in_three_kinds_and_come_in_again(app, labelled):
    queue, _ = labelled
    files, counts = label_files.export_labels(app, queue)
    assert counts == {"n": 48, "people": 2, "answers": 24}
    assert [file.rsplit("/")[-1] for file in files] == [
        "labels-queue-1.csv", "labels-queue-1.jsonl", "labels-queue-1.label-studio.json", "label-studio-interface.xml",
    ]  # fmt: skip
    tasks = json.loads(Path(files[2]).read_text("utf-8"))
    assert len(tasks) == 24 and all(len(task["annotations"]) == 2 and task["predictions"] for task in tasks)
    for file in files[:2]:
        assert len(exchange.read_rows(file)) == 48
        assert label_files.import_labels(app, file, "An") == (0, 48)
    everything, counts = label_files.export_labels(app, None)
    assert counts["n"] == 48 and len(json.loads(Path(everything[2]).read_text("utf-8"))) == 24


def test_labels_from_a_file_are_new_once_and_name_their_annotator(app, tmp_path):
    queue = label_page.queue(app.db, 4)
    item = next(item for item in store.queues.items(app.db, queue))
    file = tmp_path / "labels.csv"
    file.write_text(f"answer_id,label,annotator\n{item['answer']},formed,\n{item['answer']},confusion,Chi\n")
    assert label_files.import_labels(app, str(file), "An") == (2, 2) and label_files.import_labels(app, str(file), "An") == (0, 2)
    assert {row["annotator"] for row in store.labels.standing(app.db)[item["answer"]]} == {"An", "Chi"}
    assert label_files.export_labels(app, None)[1]["n"] == 2


def test_nothing_to_export_is_said(app):
    assert label_files.export_labels(app, None) == ([], {})
