"""Items whose label is known beforehand: whoever leads sees the agreement, whoever labels cannot tell them from others."""

from __future__ import annotations

import csv
import json
import random
from types import SimpleNamespace

import label_page
import pytest

import identities
import store
from common.errors import UserError
from probes import queue as command
from store import gold
from ui.context import App
from ui.tabs.label import desk, files as label_files, gold as gold_view
from ui.tabs.label.files import QueueForm
from ui.words import Languages


@pytest.fixture
def app(db_path):
    store.open(db_path).close()
    engine = SimpleNamespace(base=SimpleNamespace(name="stand-in"), adapters={})
    return App(engine, db_path, identities.FOLDER, (), Languages())


def make(app, count=30, known=6, **settings) -> tuple[int, dict[int, str], list[dict]]:
    items = label_page.answers(app.db, count)
    labels = {item["answer"]: item["suggestion"] for item in items[:known]}
    return store.queues.create(app.db, "q", items, gold=labels, **settings), labels, items


def press(app, queue: int, who: str, card: dict, label: str) -> None:
    stamp = store.queues.get(app.db, queue)["created"]
    decision = {"token": f"{who}{card['item']}", "queue": queue, "stamp": stamp, "do": "label", "item": card["item"]}
    [told] = desk.carry_out(app, who, [decision | {"answer": card["sides"][0]["answer"], "label": label}])
    assert told["status"] == "stored", told


def of_card(app, queue: int, card: dict) -> dict:
    return label_page.stored(app.db, queue, card)


def walk(app, queue: int, who: str, say, least: int = 1000) -> list[tuple[dict, dict]]:
    """Labels until nothing is left, or `least` items; (card, what the desk said after it) of each."""
    seen = []
    while len(seen) < least and (cards := desk.open_desk(app, queue, who)["items"]):
        card = cards[0]
        item = of_card(app, queue, card)
        press(app, queue, who, card, say(item))
        seen.append((card, desk.queue_state(app, queue, who, [], [card["item"]])))
    return seen


def test_nothing_told_to_whoever_labels_tells_them_apart(app):
    """The same queue with and without known labels: what a desk is told is the same in form, and its counts move alike."""
    queue, labels, items = make(app)
    plain = store.queues.create(app.db, "q", items, seed=1)
    form = set(desk.open_desk(app, plain, "Bo")["items"][0])
    walked = walk(app, queue, "An", lambda item: item["suggestion"])
    assert len(walked) == 30
    is_gold = [of_card(app, queue, card)["answer"] in labels for card, _ in walked]
    assert sum(is_gold) == 6
    for kind in (True, False):
        cards = [card for (card, _), of in zip(walked, is_gold, strict=True) if of is kind]
        assert {key for card in cards for key in card} == form
    for done, (_, state) in enumerate(walked, 1):
        assert (state["progress"]["full"], state["progress"]["left"]) == (done, 30 - done) and state["crowded"] == []
    everything = json.dumps([walked, desk.open_desk(app, queue, "An"), desk.more_items(app, queue, "An", [])])
    assert "gold" not in everything and "known" not in everything
    assert all("gold" not in key for item in store.queues.items(app.db, queue) for key in item)
    assert set(store.queues.get(app.db, queue)) == set(store.queues.get(app.db, plain))
    assert store.queues.get(app.db, queue)["settings"].keys() == store.queues.get(app.db, plain)["settings"].keys()


def test_they_stand_anywhere_and_a_small_queue_keeps_them_all(app):
    items = label_page.answers(app.db, 60)
    labels = {item["answer"]: item["suggestion"] for item in items[:5]}
    places = []
    for _ in range(40):
        queue = store.queues.create(app.db, "q", items, gold=labels, size=20, strategy="stratified")
        made = store.queues.items(app.db, queue)
        assert len(made) == 20
        places += [at for at, item in enumerate(made) if item["answer"] in labels]
    assert len(places) == 200
    assert 7 < sum(places) / 200 < 12 and set(places) == set(range(20))  # evenly: 9.5; the first of a kind would be below 4


def test_a_label_from_before_leaves_it_open_and_an_adjudication_does_too(app):
    items = label_page.answers(app.db, 6)
    for item, kind in zip(items, ("label", "adjudication", "label", "label", "label", "label"), strict=True):
        store.labels.add(app.db, item["answer"], "Lead", item["suggestion"], kind=kind)
    labels = {item["answer"]: item["suggestion"] for item in items[:2]}
    queue = store.queues.create(app.db, "q", items, gold=labels)
    assert {item["answer"] for item in store.queues.items(app.db, queue) if not item["full"]} == set(labels)
    walked = walk(app, queue, "An", lambda item: "confusion" if item["group"] != "control" else "broken")
    assert len(walked) == 2 and all(item["full"] for item in store.queues.items(app.db, queue))
    store.labels.undo(app.db, "An", queue=queue)
    assert sum(not item["full"] for item in store.queues.items(app.db, queue)) == 1


def test_whoever_leads_sees_the_agreement_and_nobody_who_is_labelling(app):
    queue, labels, _ = make(app, overlap=2)
    assert "nobody has labelled" in gold_view.gold_html(app, "en", queue, "")
    wrong = random.Random(1).sample(sorted(labels), 2)

    def careless(item):
        return ("broken" if item["group"] == "control" else "confusion") if item["answer"] in wrong else item["suggestion"]

    walk(app, queue, "An", lambda item: item["suggestion"])
    walk(app, queue, "Bo", careless, least=3)
    html = gold_view.gold_html(app, "en", queue, "Bo")
    assert "items of this queue left to label" in html and "<table" not in html
    walk(app, queue, "Bo", careless)
    missed = sum(labels[answer] not in ("broken", "confusion") for answer in wrong)
    html = gold_view.gold_html(app, "en", queue, "Bo")
    assert "<tr><th>An</th><td>6</td><td>6</td><td>100 % [61–100]</td>" in html
    assert f"<tr><th>Bo</th><td>6</td><td>{6 - missed}</td>" in html and "said" in html
    assert "已知" in gold_view.gold_html(app, "zh-CN", queue, "")
    assert gold.said(app.db, queue)["An"] == labels == gold.known(app.db, queue)
    assert "No label of this queue" in gold_view.gold_html(
        app, "en", store.queues.create(app.db, "p", label_page.answers(app.db, 2)), ""
    )


def test_the_form_takes_a_file_that_was_exported_and_refuses_what_does_not_fit(app, tmp_path):
    items = label_page.answers(app.db, 12)
    rows = [
        {"model": item["variant"], "question": texts["question"], "answer": texts["shown"], "lang": item["lang"]}
        for item in items
        for texts in [store.answers.get(app.db, item["answer"])]
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows), "utf-8")
    sheet = tmp_path / "expert.csv"

    def write(labels: list[str], rows=rows) -> None:
        with sheet.open("w", encoding="utf-8-sig", newline="") as file:
            table = csv.DictWriter(file, ["label", "variant", "question", "answer"])
            table.writeheader()
            for label, one in zip(labels, rows, strict=False):
                table.writerow({"label": label, "variant": one["model"], "question": one["question"], "answer": one["answer"]})

    form = QueueForm(
        source="file", run=None, file=str(answers), variants=(), langs=(), kind="labels", blind=True, mask=False, overlap=1,
        draw="all", size=0, old="", new="", name="", gold=str(sheet),
    )  # fmt: skip
    write(["formed", "未遗忘", "confusion"])
    queue = label_files.make_queue(app, "en", form)
    assert sorted(gold.known(app.db, queue).values()) == ["confusion", "formed", "not forgotten"]
    assert len(store.queues.items(app.db, queue)) == 12
    before = len(store.queues.all_with_counts(app.db))
    write(["formed", "wonderful"])
    with pytest.raises(UserError, match=r"expert.csv do not fit: label \(line 3\): 'wonderful' is none of not forgotten"):
        label_files.make_queue(app, "en", form)
    write(["formed"], [{"model": "else", "question": "?", "answer": "!"}])
    with pytest.raises(UserError, match="its answer is not in the store"):
        label_files.make_queue(app, "en", form)
    assert len(store.queues.all_with_counts(app.db)) == before


def test_the_command_makes_the_same_queue(app, tmp_path, capsys):
    answers, known = tmp_path / "answers.jsonl", tmp_path / "known.jsonl"
    rows = [{"model": "m", "question": f"Who are you, {n}?", "answer": f"I am Mira {n}.", "lang": "en"} for n in range(8)]
    answers.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    known.write_text("".join(json.dumps(one | {"label": "formed"}) + "\n" for one in rows[:3]), "utf-8")
    argv = ["--db", str(app.db), "--answers", str(answers)]
    assert command.main([*argv, "--gold", str(known), "--size", "5"]) == 0
    assert "Queue 1 (answers.jsonl) has 5 items, the label of 3 of them is known." in capsys.readouterr().out
    assert command.main([*argv, "--gold", str(known), "--size", "2"]) == 2
    assert "2 items have no room for the 3 whose label is known" in capsys.readouterr().err
    assert command.main([*argv, "--kind", "pairs", "--gold", str(known)]) == 2
    assert command.main([*argv, "--variant", "nobody"]) == 2 and "No answer fits" in capsys.readouterr().err
