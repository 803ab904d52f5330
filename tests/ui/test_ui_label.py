"""The Label tab's desk on the server: what it is told, what becomes of decisions, and its addresses."""

from __future__ import annotations

import dataclasses
import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request

import label_page
import pytest
from label_page import PageEngine, decide, decision
from served import served

import store
from ui.accounts import Accounts
from ui.app import serve
from ui.tabs.label import (
    desk as label_desk,
)


@pytest.fixture
def app(tmp_path):
    return label_page.app(tmp_path)


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
    (app.identities / "shy.txt").write_text("Say little.\n")
    (app.identities / "shy.yaml").write_text("about: {en: has no name to hide}\n")
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
    [told] = label_desk.carry_out(app, "An", [decision(opened, card, label="confusion", token="b")])
    assert told["status"] == "refused" and "locked" in told["message"]
    for wrong in ({"label": "great"}, {"label": None}, {"do": "dance"}, {"answer": "x"}, {"answer": 10**6}, {"token": None}):
        [told] = label_desk.carry_out(app, "An", [decision(opened, card, token=f"w{wrong}", **{"label": "formed"}) | wrong])
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
