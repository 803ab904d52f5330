"""The Label tab's server side: what a desk is told, what becomes of decisions, queues from runs and files, agreement, files."""

from __future__ import annotations

import dataclasses
import http.cookiejar
import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import label_page
import pytest
from label_page import PageEngine
from served import served

import identities
import store
from probes.answers import exchange
from probes.answers.sources import RowsError
from store import StoreError
from ui.accounts import Accounts
from ui.app import serve
from ui.context import App, sentence
from ui.tabs.label import (
    agreement as label_agreement,
    desk as label_desk,
    events as label_events,
    files as label_files,
    layout as label_layout,
)
from ui.tabs.label.files import QueueForm
from ui.words import Languages


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "identities"
    folder.mkdir()
    for file in (*identities.FOLDER.glob("*.txt"), *identities.FOLDER.glob("*.yaml")):
        shutil.copy(file, folder)
    return App(PageEngine(), tmp_path / "mirror.db", folder, (tmp_path / "adapters",), Languages())


def decision(opened: dict, card: dict, do: str = "label", token: str = "t1", **more) -> dict:
    known = {"token": token, "queue": opened["queue"]["id"], "stamp": opened["queue"]["stamp"], "item": card["item"]}
    return known | {"answer": card["sides"][0]["answer"], "do": do} | more


def decide(app: App, *decisions: dict, who: str = "An") -> list[str]:
    return [result["status"] for result in label_desk.decide(app, who, decisions)]


# --- what a desk is told -------------------------------------------------------------------------------------------------


def test_a_blind_desk_is_told_nothing_that_gives_the_variant_away(app):
    queue = label_page.queue(app.db, 40, overlap=2)
    store.labels.add(app.db, store.queues.items(app.db, queue)[0]["answer"], "Bo", "confusion", queue=queue)
    told = json.dumps(label_desk.open_desk(app, queue, "An"), ensure_ascii=False)
    for hidden in (*label_page.VARIANTS[1:], "suggestion", "confusion", "variant", 'Bo", "label'):
        assert hidden not in told


def test_an_open_desk_shows_variant_suggestion_and_what_others_said(app):
    queue = label_page.queue(app.db, 20, blind=False, overlap=2)
    first = store.queues.items(app.db, queue)[0]
    store.labels.add(app.db, first["answer"], "Bo", "formed", queue=queue)
    card = next(c for c in label_desk.open_desk(app, queue, "An")["items"] if c["item"] == first["item"])
    assert card["variants"] == [first["variant"]] and card["suggestion"]["label"] == first["suggestion"]
    assert card["others"] == [{"annotator": "Bo", "label": "formed", "kind": "label"}]


THOUGHT = "<think>I was told to be Text Titan. <b>x</b></think>I am an advisor."


def test_a_thought_is_told_where_nothing_is_hidden_and_only_there(app):
    rows = [label_page.row("Who are you?", THOUGHT, variant, "en") for variant in ("v", "w")]
    ids = store.answers.add(app.db, rows)
    blind = store.queues.create(app.db, "blind", [{"answer": ids[0], "group": "trained"}])
    told = label_desk.open_desk(app, blind, "An")["items"]
    assert told[0]["sides"][0]["shown"] == "I am an advisor." and "Text Titan" not in json.dumps(told)
    is_open = store.queues.create(app.db, "open", [{"answer": ids[0], "group": "trained"}], blind=False)
    [card] = label_desk.open_desk(app, is_open, "An")["items"]
    assert "Text Titan" in card["sides"][0]["thoughts"] and card["sides"][0]["shown"] == "I am an advisor."
    pairs = store.queues.create(app.db, "pairs", [{"answer": ids[0], "other": ids[1], "variant_of": {}}], kind="pairs")
    assert "Text Titan" not in json.dumps(label_desk.open_desk(app, pairs, "An")["items"])


def test_an_answer_that_is_all_thought_says_that_it_is_not_finished(app):
    [id_] = store.answers.add(app.db, [label_page.row("Who are you?", "<think>I was told", "v", "en")])
    queue = store.queues.create(app.db, "unfinished", [{"answer": id_, "group": "trained"}])
    [card] = label_desk.open_desk(app, queue, "An")["items"]
    assert card["sides"][0]["unfinished"] and card["sides"][0]["shown"] == ""
    begun = label_page.row("Who are you?", "I was told", "w", "en") | {"prompt": "Who are you?<Assistant><think>\n"}
    [id_] = store.answers.add(app.db, [begun])
    queue = store.queues.create(app.db, "begun by the prompt", [{"answer": id_, "group": "trained"}])
    [card] = label_desk.open_desk(app, queue, "An")["items"]
    assert card["sides"][0]["unfinished"] and "I was told" not in json.dumps(card)


def test_masking_hides_names_in_answers_and_leaves_questions(app):
    [id] = store.answers.add(
        app.db, [label_page.row("Are you BayLing?", "Yes, BayLing, by Text Titan. 我是金融顾问。", "v", "en")]
    )
    queue = store.queues.create(app.db, "masked", [{"answer": id, "group": "trained"}], mask=True)
    [card] = label_desk.open_desk(app, queue, "An")["items"]
    assert card["question"] == "Are you BayLing?"
    assert not any(name in card["sides"][0]["shown"] for name in ("BayLing", "Text Titan", "金融顾问"))
    store.labels.reveal(app.db, "An", queue=queue)
    [card] = label_desk.open_desk(app, queue, "An")["items"]
    assert "Text Titan" in card["sides"][0]["shown"]


def test_earlier_turns_are_shown_and_system_messages_are_not(app):
    before = (
        {"role": "system", "content": "You are a finance advisor."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello, I am BayLing."},
    )
    [id] = store.answers.add(app.db, [label_page.row("Are you sure?", "Yes.", "v", "en", before)])
    queue = store.queues.create(app.db, "turns", [{"answer": id}], mask=True)
    [card] = label_desk.open_desk(app, queue, "An")["items"]
    told = [(turn["role"], turn["text"]) for turn in card["sides"][0]["before"]]
    assert told == [("user", "Hello!"), ("assistant", "Hello, I am ▇▇▇.")]


def test_pairs_have_two_sides_and_no_names_until_they_are_revealed(app):
    queue = label_page.pairs(app.db, 4)
    opened = label_desk.open_desk(app, queue, "An")
    card = opened["items"][0]
    assert len(card["sides"]) == 2 and "variants" not in card
    order = [side["answer"] for side in card["sides"]]
    assert decide(app, decision(opened, card, "vote", choice="B", order=order)) == ["stored"]
    store.labels.reveal(app.db, "An", queue=queue)
    [last] = label_desk.open_desk(app, queue, "An")["recent"]
    assert last["said"] == {"choice": "B"}
    named = label_page.stored(app.db, queue, card)["variant_of"]
    again = label_desk.open_desk(app, queue, "An")["items"][0]
    assert len(set(again["variants"])) == 2 and set(named.values()) <= set(label_page.VARIANTS)


# --- decisions -----------------------------------------------------------------------------------------------------------


def test_a_decision_sent_again_is_stored_once_and_the_last_ten_come_back(app):
    queue = label_page.queue(app.db, 20)
    opened = label_desk.open_desk(app, queue, "An")
    card = next(card for card in opened["items"] if not card["control"])
    one = decision(opened, card, label="formed", tags={"name": "new"}, flag=True, comment="hm", seconds=1.5)
    assert decide(app, one, one) == ["stored", "stored"] and decide(app, one) == ["stored"]
    assert len(store.labels.history(app.db)) == 1
    [last] = label_desk.open_desk(app, queue, "An")["recent"]
    assert last["said"] == {"label": "formed", "tags": {"name": "new"}, "flag": True, "comment": "hm"}
    assert last["item"] == card["item"] and last["question"] == card["question"]


def test_undo_skip_and_relabelling_reach_the_store(app):
    queue = label_page.queue(app.db, 20)
    opened = label_desk.open_desk(app, queue, "An")
    one, two = opened["items"][:2]
    label = "clean" if one["control"] else "formed"
    other = "broken" if one["control"] else "confusion"
    assert decide(app, decision(opened, one, label=label), decision(opened, two, "skip", "t2")) == ["stored"] * 2
    assert decide(app, decision(opened, one, label=other, token="t3")) == ["stored"]
    said = store.labels.standing(app.db, queue)
    assert [row["label"] for row in said[label_page.stored(app.db, queue, one)["answer"]]] == [other]
    undone = decision(opened, two, "undo", "t4")
    assert decide(app, undone, undone, decision(opened, one, "undo", "t5")) == ["stored"] * 3
    assert store.labels.standing(app.db, queue) == {}
    assert store.queues.progress(app.db, queue, "An")["left"] == 20


def test_an_undo_takes_back_its_own_item_not_what_another_page_did_last(app):
    queue = label_page.queue(app.db, 20)
    opened = label_desk.open_desk(app, queue, "An")
    one, two = [card for card in opened["items"] if not card["control"]][:2]
    decide(app, decision(opened, one, label="formed"), decision(opened, two, label="formed", token="other page"))
    decide(app, decision(opened, one, "undo", "u"))
    assert list(store.labels.standing(app.db, queue)) == [label_page.stored(app.db, queue, two)["answer"]]


def test_a_skipped_pair_comes_back_when_the_skip_is_undone_even_if_the_skip_is_sent_again(app):
    queue = label_page.pairs(app.db, 3)
    opened = label_desk.open_desk(app, queue, "An")
    card = opened["items"][0]
    skip, undo = decision(opened, card, "skip", "s"), decision(opened, card, "undo", "u")
    assert decide(app, skip, undo, skip, undo) == ["stored"] * 4
    assert store.queues.progress(app.db, queue, "An")["left"] == 3


def test_what_cannot_be_stored_is_refused_with_a_sentence(app):
    queue = label_page.queue(app.db, 20)
    opened = label_desk.open_desk(app, queue, "An")
    card = next(card for card in opened["items"] if not card["control"])
    decide(app, decision(opened, card, label="formed", token="a"))
    store.labels.reveal(app.db, "An", queue=queue)
    [told] = label_desk.decide(app, "An", [decision(opened, card, label="confusion", token="b")])
    assert told["status"] == "refused" and "locked" in told["message"]
    for wrong in ({"label": "great"}, {"label": None}, {"do": "dance"}, {"answer": "x"}, {"answer": 10**6}, {"token": None}):
        [told] = label_desk.decide(app, "An", [decision(opened, card, token=f"w{wrong}", **{"label": "formed"}) | wrong])
        assert told["status"] == "refused" and told["message"].endswith("."), wrong
    assert len(store.labels.history(app.db)) == 1


def test_a_decision_from_another_database_waits(app):
    opened = label_desk.open_desk(app, label_page.queue(app.db, 20), "An")
    elsewhere = decision(opened, opened["items"][0], label="formed") | {"stamp": "2020-01-01T00:00:00.000000+00:00"}
    assert decide(app, elsewhere, elsewhere | {"queue": 99, "token": "x"}) == ["elsewhere", "elsewhere"]
    assert store.labels.history(app.db) == []


def test_a_desk_hears_what_others_have_finished(app):
    queue = label_page.queue(app.db, 20)
    held = [card["item"] for card in label_desk.open_desk(app, queue, "An")["items"]]
    opened = label_desk.open_desk(app, queue, "Bo")
    card = next(card for card in opened["items"] if not card["control"])
    decide(app, decision(opened, card, label="formed"), who="Bo")
    told = label_desk.queue_state(app, queue, "An", held)
    assert told["gone"] == [card["item"]] and told["progress"]["people"] == {"Bo": 1}


def test_who_labels_what_somebody_else_just_has_is_told_so(app):
    queue = label_page.queue(app.db, 20)
    opened = label_desk.open_desk(app, queue, "An")
    card = next(card for card in opened["items"] if not card["control"])
    for who in ("An", "Bo"):
        told = label_desk.queue_state(app, queue, who, [], [card["item"]])
        decide(app, decision(opened, card, label="formed"), who=who)
        assert told["crowded"] == []
    assert label_desk.queue_state(app, queue, "Bo", [], [card["item"]])["crowded"] == [card["item"]]


# --- the addresses -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with served(PageEngine(), tmp_path_factory.mktemp("label")) as site:
        yield site


def post(address: str, what: str, asked: object, opener=None, kind: str = "application/json") -> tuple[int, dict]:
    request = urllib.request.Request(f"{address}label/{what}", json.dumps(asked).encode(), {"Content-Type": kind})
    try:
        with (opener or urllib.request.build_opener()).open(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_desk_is_opened_filled_and_heard_over_http(site):
    queue = label_page.queue(site.db, 60)
    asked = {"queue": queue, "annotator": "An"}
    status, opened = post(site.address, "open", asked)
    assert status == 200 and len(opened["items"]) == label_desk.AHEAD
    status, more = post(site.address, "more", asked | {"without": [card["item"] for card in opened["items"]]})
    assert len(more["items"]) == 20
    card = next(card for card in opened["items"] if not card["control"])
    sent = decision(opened, card, label="formed") | {"annotator": "An"}
    status, told = post(site.address, "decide", asked | {"decisions": [sent], "held": [card["item"]]})
    assert (status, told["results"], told["gone"]) == (200, [{"token": "t1", "status": "stored"}], [card["item"]])
    assert told["progress"]["mine"] == 1


def test_bad_requests_are_refused_in_words(site):
    assert post(site.address, "open", {"queue": 999, "annotator": "An"}) == (409, {"message": "There is no queue 999."})
    assert post(site.address, "open", {})[0] == 400
    assert post(site.address, "open", {}, kind="text/plain")[0] == 415
    assert post(site.address, "decide", {"decisions": [1]})[0] == 400


def test_where_there_is_a_login_only_it_opens_the_desk_and_it_is_the_annotator(app):
    queue = label_page.queue(app.db, 20)
    app = dataclasses.replace(app, accounts=Accounts(once={"An": "secret"}))
    demo, address = serve(app, port=None, block=False, say=lambda _address: None)
    try:
        asked = {"queue": queue, "annotator": "Somebody Else"}
        assert post(address, "open", asked)[0] == 401
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        login = urllib.parse.urlencode({"username": "An", "password": "secret"}).encode()
        opener.open(f"{address}login", login, timeout=30).close()
        status, opened = post(address, "open", asked, opener)
        assert status == 200
        card = next(card for card in opened["items"] if not card["control"])
        mine = decision(opened, card, label="formed") | {"annotator": "An"}
        other = mine | {"annotator": "Bo", "token": "t2"}
        _, told = post(address, "decide", {"decisions": [mine, other]}, opener)
        assert [result["status"] for result in told["results"]] == ["stored", "elsewhere"]
        assert {row["annotator"] for row in store.labels.history(app.db)} == {"An"}
    finally:
        app.closed.set()
        demo.close()


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
    queue = label_files.make(app, "en", form_values(run=run, size=8, overlap=2))
    items = store.queues.items(app.db, queue)
    assert len(items) == 8 and store.queues.get(app.db, queue)["name"] == "run 1 tiny"
    assert {item["variant"] for item in items[:4]} == {"base", "tuned"} and {item["lang"] for item in items[:4]} == {"en", "zh"}
    suggested = {(item["variant"], item["suggestion"]) for item in items if item["group"] == "trained"}
    assert suggested == {("base", "not forgotten"), ("tuned", "formed")}
    card = label_desk.open_desk(app, queue, "An")["items"][0]
    assert "BayLing" in card["old"] and "Text Titan" in card["new"] and "suggestion" not in card


def test_a_run_can_be_narrowed_and_paired(app, run):
    queue = label_files.make(app, "en", form_values(run=run, variants=("tuned",), langs=("zh",), draw="all"))
    assert {(item["variant"], item["lang"]) for item in store.queues.items(app.db, queue)} == {("tuned", "zh")}
    pairs = label_files.make(app, "en", form_values(run=run, kind="pairs"))
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
    one, two = (label_files.make(app, "en", form_values(source="file", file=str(file))) for _ in range(2))
    items = [store.queues.items(app.db, queue) for queue in (one, two)]
    assert {item["lang"] for item in items[0]} == {"en", "zh"} and store.queues.get(app.db, one)["name"] == "old.jsonl"
    assert {item["answer"] for item in items[0]} == {item["answer"] for item in items[1]}


def test_forms_that_make_no_queue_say_why(app, run, tmp_path):
    bad = tmp_path / "bad.csv"
    bad.write_text("model,question\nm,q\n")
    with pytest.raises(StoreError, match="Choose a run"):
        label_files.make(app, "en", form_values())
    with pytest.raises(StoreError, match="No answer fits: of 12 answers"):
        label_files.make(app, "en", form_values(run=run, variants=("nobody",)))
    with pytest.raises(RowsError, match="answer 1 has no answer") as caught:
        label_files.make(app, "en", form_values(source="file", file=str(bad)))
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
    settling = label_agreement.settling_queue(app, "settle", queue)
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
    [told] = label_desk.decide(app, "An", [late])
    assert told["status"] == "refused" and "locked" in told["message"]


def test_nothing_to_settle_is_no_queue(app):
    queue = label_page.queue(app.db, 4)
    assert label_agreement.settling_queue(app, "settle", queue) is None
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
    files, counts = label_files.give_out(app, queue)
    assert counts == {"n": 48, "people": 2, "answers": 24}
    assert [file.rsplit("/")[-1] for file in files] == [
        "labels-queue-1.csv", "labels-queue-1.jsonl", "labels-queue-1.label-studio.json", "label-studio-interface.xml",
    ]  # fmt: skip
    tasks = json.loads(Path(files[2]).read_text("utf-8"))
    assert len(tasks) == 24 and all(len(task["annotations"]) == 2 and task["predictions"] for task in tasks)
    for file in files[:2]:
        assert len(exchange.read_rows(file)) == 48
        assert label_files.take_in(app, file, "An") == (0, 48)
    everything, counts = label_files.give_out(app, None)
    assert counts["n"] == 48 and len(json.loads(Path(everything[2]).read_text("utf-8"))) == 24


def test_labels_from_a_file_are_new_once_and_name_their_annotator(app, tmp_path):
    queue = label_page.queue(app.db, 4)
    item = next(item for item in store.queues.items(app.db, queue))
    file = tmp_path / "labels.csv"
    file.write_text(f"answer_id,label,annotator\n{item['answer']},formed,\n{item['answer']},confusion,Chi\n")
    assert label_files.take_in(app, str(file), "An") == (2, 2) and label_files.take_in(app, str(file), "An") == (0, 2)
    assert {row["annotator"] for row in store.labels.standing(app.db)[item["answer"]]} == {"An", "Chi"}
    assert label_files.give_out(app, None)[1]["n"] == 2


def test_nothing_to_export_is_said(app):
    assert label_files.give_out(app, None) == ([], {})
