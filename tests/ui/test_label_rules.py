"""Labels are their annotator's: imports, what a blind page is told, names, and that a decision is about an item of its queue."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import sqlite3

import label_page
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from label_page import PageEngine

import identities
import store
from probes.answers import exchange
from probes.answers.sources import RowsError
from store import StoreError, names
from store.migrations import LEAST_DRAWN, migrations
from ui.context import App
from ui.tabs.label import desk as label_desk, events as label_events, files as label_files
from ui.words import Languages

FEW = settings(
    max_examples=120, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def app(tmp_path):
    folder = tmp_path / "identities"
    folder.mkdir()
    shutil.copy(identities.FOLDER / "BayLing.yaml", folder)
    return App(PageEngine(), tmp_path / "mirror.db", folder, (tmp_path / "adapters",), Languages())


def bring(app: App, rows: list[dict], who: str, role: str | None, tmp_path) -> int:
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return label_files.import_labels(app, str(file), who, role)[0]


def said(app: App) -> list[tuple]:
    return [(row["annotator"], row["kind"], row["label"], row["superseded_by"]) for row in store.labels.history(app.db)]


# --- imports ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["labeler", "viewer"])
def test_nobody_writes_supersedes_or_settles_as_somebody_else(app, tmp_path, role):
    queue = label_page.queue(app.db, 8, overlap=2)
    [one, two, *_] = [item["answer"] for item in store.queues.items(app.db, queue)]
    store.labels.add(app.db, one, "Bo", "formed", queue=queue, blind=True)
    before = said(app)
    for row, why in (
        ({"annotator": "Bo", "label": "confusion"}, "is Bo's, and you are An"),
        ({"annotator": "Ｂｏ", "label": "confusion"}, "is Bo's"),
        ({"annotator": " Bo ", "label": "formed"}, "is Bo's"),  # not even what Bo said: it would tell whether Bo did
        ({"annotator": "boss", "label": "formed", "kind": "adjudication"}, "is boss's"),
        ({"annotator": "An", "label": "formed", "kind": "adjudication"}, "is an adjudication"),
        ({"label": "formed", "kind": "adjudication"}, "is an adjudication"),
        ({"annotator": "Bo", "kind": "skip"}, "is Bo's"),
    ):
        with pytest.raises(RowsError, match=why):
            bring(app, [{"answer_id": two, "label": "formed"}, row | {"answer_id": one}], "An", role, tmp_path)
    assert said(app) == before
    assert bring(app, [{"answer_id": one, "label": "confusion"}], "An", role, tmp_path) == 1
    assert said(app) == [*before, ("An", "label", "confusion", None)]


@pytest.mark.parametrize("role", [None, "researcher"])
def test_the_local_user_and_a_researcher_bring_in_what_several_said(app, tmp_path, role):
    queue = label_page.queue(app.db, 8)
    [one, *_] = [item["answer"] for item in store.queues.items(app.db, queue)]
    rows = [
        {"answer_id": one, "annotator": "Bo", "label": "formed", "blind": True},
        {"answer_id": one, "annotator": "Chi", "label": "confusion"},
        {"answer_id": one, "annotator": "Bo", "label": "formed", "kind": "adjudication"},
    ]
    assert bring(app, rows, "An", role, tmp_path) == 3
    assert {row[0] for row in said(app)} == {"Bo", "Chi"}


def test_an_import_is_blind_only_where_a_queue_was(app, tmp_path):
    [open_, *_] = [item["answer"] for item in store.queues.items(app.db, label_page.queue(app.db, 4, blind=False))]
    [blind, *_] = [item["answer"] for item in store.queues.items(app.db, label_page.queue(app.db, 4))]
    row = {"label": "formed", "blind": True}
    with pytest.raises(RowsError, match="given blind, and its answer is in no blind queue"):
        bring(app, [row | {"answer_id": open_}], "An", "labeler", tmp_path)
    assert bring(app, [row | {"answer_id": blind}], "An", "labeler", tmp_path) == 1


def test_what_was_said_blind_stays_locked_for_imports_too(app, tmp_path):
    queue = label_page.queue(app.db, 4)
    [one, *_] = [item["answer"] for item in store.queues.items(app.db, queue)]
    store.labels.add(app.db, one, "An", "formed", queue=queue, blind=True)
    store.labels.reveal(app.db, "An", queue=queue)
    with pytest.raises(RowsError, match="locked"):
        bring(app, [{"answer_id": one, "label": "confusion"}], "An", "labeler", tmp_path)


def test_who_is_logged_in_without_a_known_role_brings_in_their_own_only(app):
    from types import SimpleNamespace

    assert label_events.role_of(app, SimpleNamespace(username=None)) is None
    guarded = dataclasses.replace(app, accounts=SimpleNamespace(role={"Bo": "researcher"}.get))
    assert label_events.role_of(guarded, SimpleNamespace(username="An")) == "labeler"
    assert label_events.role_of(guarded, SimpleNamespace(username="Bo")) == "researcher"


# --- what a blind page is told ----------------------------------------------------------------------------------------------


def numbers(told: object) -> set[int]:
    """Every whole number in what a page is told."""
    if isinstance(told, dict):
        return {n for value in told.values() for n in numbers(value)}
    if isinstance(told, list):
        return {n for value in told for n in numbers(value)}
    return {told} if type(told) is int else set()


def ids_of(cards: list[dict]) -> set[int]:
    return {card["item"] for card in cards} | {side["answer"] for card in cards for side in card["sides"]}


@pytest.mark.parametrize("kind", ["labels", "pairs"])
def test_a_blind_page_never_sees_a_stored_number(app, kind):
    label_page.answers(app.db, 300)  # so that stored numbers are no counts
    queue = (label_page.pairs if kind == "pairs" else label_page.queue)(app.db, 12)
    items = store.queues.items(app.db, queue)
    real = {item["answer"] for item in items} | {item["other"] for item in items} - {None}
    opened = label_desk.open_desk(app, queue, "An")
    more = label_desk.more_items(app, queue, "An", [card["item"] for card in opened["items"][:3]])
    assert len(more["items"]) == len(opened["items"]) - 3
    shown = ids_of(opened["items"])
    assert all(LEAST_DRAWN <= id < 2 * LEAST_DRAWN for id in shown)
    assert len(shown) == len(opened["items"]) * (3 if kind == "pairs" else 2)
    assert not real & (numbers(opened["items"]) | numbers(more["items"]))
    store.labels.reveal(app.db, "An", queue=queue)
    assert ids_of(label_desk.open_desk(app, queue, "An")["items"]) == {item["item"] for item in items} | real


def test_the_same_answers_have_other_numbers_in_every_queue_and_keep_them(app):
    items = label_page.answers(app.db, 10)
    one, two = (store.queues.create(app.db, "q", items) for _ in range(2))
    seen = [ids_of(label_desk.open_desk(app, queue, "An")["items"]) for queue in (one, two, one)]
    assert seen[0] == seen[2] and not seen[0] & seen[1]


def test_the_order_of_ids_and_sides_and_places_tells_nothing_of_the_variant(app):
    """The first variant of every pair has the lower stored number; of what the page is told each half of the pairs says so."""
    earlier = {"lower": 0, "left": 0}
    queue = label_page.pairs(app.db, 120)
    first = {item["item"]: item["answer"] for item in store.queues.items(app.db, queue)}
    cards = label_desk.open_desk(app, queue, "An")["items"]
    cards += label_desk.more_items(app, queue, "An", [card["item"] for card in cards])["items"]
    cards += label_desk.more_items(app, queue, "An", [card["item"] for card in cards])["items"]
    assert len(cards) == 120
    for card in cards:
        item = label_page.stored(app.db, queue, card)
        drawn = item["drawn"]["answers"][first[item["item"]]]
        left, right = (side["answer"] for side in card["sides"])
        earlier["lower"] += drawn == min(left, right)
        earlier["left"] += drawn == left
    assert all(35 < count < 85 for count in earlier.values()), earlier  # 4.5 standard deviations


def test_a_queue_is_drawn_with_a_seed_nobody_knows(app):
    items = label_page.answers(app.db, 60)
    orders, seeds = set(), set()
    for strategy in ("all", "stratified"):
        for _ in range(2):
            queue = store.queues.create(app.db, "q", items, strategy=strategy)
            orders.add(tuple(item["answer"] for item in store.queues.items(app.db, queue)))
            seeds.add(store.queues.get(app.db, queue)["settings"]["seed"])
    assert len(orders) == 4 and len(seeds) == 4 and not seeds & set(range(1000))
    variants = [item["variant"] for item in store.queues.items(app.db, queue) if item["group"] == "trained"]
    turns = {tuple(variants[at : at + 4]) for at in range(0, 40, 4)}
    assert len(turns) > 2  # no variant always comes after the same other one


def test_a_blind_desk_takes_drawn_numbers_and_no_stored_ones(app):
    queue = label_page.queue(app.db, 8)
    opened = label_desk.open_desk(app, queue, "An")
    card = next(card for card in opened["items"] if not card["control"])
    item = label_page.stored(app.db, queue, card)
    known = {"queue": queue, "stamp": opened["queue"]["stamp"], "do": "label", "label": "formed"}
    drawn = {"item": card["item"], "answer": card["sides"][0]["answer"]}
    other = next(one for one in opened["items"] if one is not card)
    for at, wrong in enumerate((
        {"item": item["item"], "answer": item["answer"]},
        {"item": item["item"]},
        {"answer": item["answer"]},
        {"item": other["item"]},
        {"answer": other["sides"][0]["answer"]},
    )):  # fmt: skip
        [told] = label_desk.carry_out(app, "An", [known | drawn | wrong | {"token": f"w{at}"}])
        assert told["status"] == "refused" and str(item["answer"]) not in told["message"].replace(str(wrong), ""), wrong
    assert store.labels.history(app.db) == []
    assert label_desk.queue_state(app, queue, "An", [item["item"]], [item["item"]])["gone"] == []
    late = known | drawn | {"token": "t"}
    store.labels.reveal(app.db, "An", queue=queue)  # on another page: what was decided before is still taken
    assert label_desk.carry_out(app, "An", [late])[0]["status"] == "stored"
    assert label_desk.queue_state(app, queue, "An", [card["item"], item["item"]])["gone"] == [card["item"], item["item"]]


def test_a_vote_is_about_the_two_it_was_shown_and_comes_back_as_it_was_seen(app):
    queue = label_page.pairs(app.db, 6)
    opened = label_desk.open_desk(app, queue, "An")
    card, other = opened["items"][:2]
    known = {"queue": queue, "stamp": opened["queue"]["stamp"], "item": card["item"], "do": "vote", "choice": "A"}
    left, right = [side["answer"] for side in card["sides"]]
    foreign = other["sides"][0]["answer"]
    for at, order in enumerate(([left, foreign], [left], [left, left], [right, left, foreign], [1, 2])):
        [told] = label_desk.carry_out(app, "An", [known | {"token": f"w{at}", "order": order}])
        assert told["status"] == "refused", order
    # sides that were shown the other way round, as pages from before may hold them
    assert label_desk.carry_out(app, "An", [known | {"token": "t", "order": [right, left]}])[0]["status"] == "stored"
    [last] = label_desk.open_desk(app, queue, "An")["recent"]
    assert [side["answer"] for side in last["sides"]] == [right, left] and last["said"] == {"choice": "A"}


# --- a decision and its queue -----------------------------------------------------------------------------------------------


def test_a_label_belongs_to_an_item_of_its_queue(app):
    items = label_page.answers(app.db, 9)
    first, second, settling = (
        store.queues.create(app.db, "q", part, kind=kind)
        for part, kind in ((items[:3], "labels"), (items[3:6], "labels"), (items[6:], "settle"))
    )
    both = [items[0]["answer"], items[1]["answer"]]
    pairs = store.queues.create(app.db, "p", [{"answer": both[0], "other": both[1]}], kind="pairs")
    for answer, queue, kind, why in (
        (items[3]["answer"], first, "label", f"no item of queue {first}"),
        (items[0]["answer"], second, "skip", f"no item of queue {second}"),
        (items[0]["answer"], first, "adjudication", "takes no adjudication"),
        (items[6]["answer"], settling, "label", "takes no label"),
        (both[0], pairs, "label", "takes no label"),
        (both[1], 99, "label", "no queue 99"),
    ):
        with pytest.raises(StoreError, match=why):
            store.labels.add(app.db, answer, "An", None if kind == "skip" else "formed", kind=kind, queue=queue)
    assert said(app) == []
    skipped = store.labels.add(app.db, items[6]["answer"], "An", kind="skip", queue=settling)
    store.labels.change(app.db, skipped, label="formed")
    assert [row[1] for row in said(app)] == ["skip", "adjudication"]


# --- names ------------------------------------------------------------------------------------------------------------------


def test_names_that_look_the_same_are_the_same_and_what_is_no_name_is_refused(app):
    queue = label_page.queue(app.db, 6)
    [one, two, *_] = [item["answer"] for item in store.queues.items(app.db, queue)]
    for name in ("Ann Li", "Ａｎｎ Li", " Ann\u00a0 Li ", "𝐀nn Li"):
        store.labels.add(app.db, one, name, "formed", queue=queue)
        assert len(store.labels.recent(app.db, name)) == 1
    assert {row["annotator"] for row in store.labels.history(app.db)} == {"Ann Li"}
    assert store.queues.count_per_person(app.db, queue) == {"Ann Li": 1}
    for name in ("x" * 81, "a\0b", "a\u202eb", "a\u200bb", "An\x1bn", "\ud800", "ﷺ" * 80, 7):
        with pytest.raises(StoreError) as refused:
            store.labels.add(app.db, two, name, "formed", queue=queue)
        str(refused.value).encode()
        assert len(str(refused.value)) < 700
        with pytest.raises(StoreError):
            store.queues.create(app.db, name * 3 if isinstance(name, str) else name, [{"answer": one}])
    assert len(store.labels.history(app.db)) == 4
    assert store.votes.add(app.db, one, two, "A", annotator="Ｂｏ") and store.votes.tally(app.db)[0]["people"] == {"Bo": 1}


@FEW
@given(st.text(max_size=400))
def test_a_name_is_kept_in_one_spelling_or_refused_in_a_sentence(name):
    try:
        plain = names.person(name)
    except StoreError as refused:
        str(refused).encode()
        assert len(str(refused)) < 700
        return
    assert len(plain) <= names.LONGEST and plain == plain.strip() and names.person(plain) == plain
    assert plain.isprintable()


def test_a_queue_from_before_is_labelled_on_and_old_names_are_found_again(tmp_path):
    path = tmp_path / "mirror.db"
    connection = sqlite3.connect(path)
    old = store.db.Database(connection)
    migrations.apply(old, stop_before="m010_drawn_ids")
    ids = store.answers.add(old, [label_page.row("Who?", f"I am {at}.", f"v{at % 2}", "en") for at in range(8)])
    plain = {"created": "2026-01-01T00:00:00.000000+00:00", "overlap": 2, "blind": 1, "mask": 0, "settings": "{}"}
    old["queues"].insert_all([plain | {"name": "old", "kind": "labels"}, plain | {"name": "pairs", "kind": "pairs"}])
    old["queue_items"].insert_all(
        [{"queue": 1, "position": at, "answer": id, "meta": "{}", "have": 0, "full": 0} for at, id in enumerate(ids)]
        + [{"queue": 2, "position": 0, "answer": ids[0], "other": ids[1], "meta": "{}", "have": 1, "full": 0}]
    )
    said_of = {"answer": ids[0], "queue": 1, "kind": "label", "label": "formed", "tags": "{}", "flag": 0, "comment": ""}
    names_of_old = ("Ａnn", "Bo", "Ｂo", "x" * 300)
    old["labels"].insert_all([said_of | {"annotator": name, "blind": 1, "created": plain["created"]} for name in names_of_old])
    vote = {"annotator": "Ａnn", "answer_a": ids[1], "answer_b": ids[0], "choice": "A", "shown_order": f"[{ids[1]}, {ids[0]}]"}
    old["votes"].insert(vote | {"created": plain["created"], "blind": 1})
    old["queue_marks"].insert({"queue": 2, "annotator": "Ａnn", "item": 9, "skip": 0, "vote": 1, "full": 0})
    connection.commit()
    connection.close()

    folder = tmp_path / "identities"
    folder.mkdir()
    app = App(PageEngine(), path, folder, (tmp_path / "adapters",), Languages())
    assert [row["answer"] for row in store.labels.recent(path, "Ann")] == [ids[0]]
    assert {row["annotator"] for row in store.labels.history(path)} == {"Ann", "Bo", "Ｂo", "x" * 300}
    opened = label_desk.open_desk(app, 1, "Chi")
    assert len(opened["items"]) == 8 and all(id >= LEAST_DRAWN for id in ids_of(opened["items"]))
    assert len(ids_of(opened["items"])) == 16
    decision = {"token": "t", "queue": 1, "stamp": plain["created"], "do": "label", "label": "formed"}
    card = opened["items"][0]
    told = label_desk.carry_out(app, "Chi", [decision | {"item": card["item"], "answer": card["sides"][0]["answer"]}])
    assert told == [{"token": "t", "status": "stored"}]
    [seen] = label_desk.open_desk(app, 2, "Ann")["recent"]
    assert [side["shown"] for side in seen["sides"]] == ["I am 1.", "I am 0."] and seen["said"] == {"choice": "A"}


# --- whatever comes in ------------------------------------------------------------------------------------------------------

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([10**30, 2**63, "9" * 400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("token", "queue", "stamp", "item", "answer", "do", "label", "tags", "flag", "comment", "seconds", "choice", "order")


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    root = tmp_path_factory.mktemp("payloads")
    app = App(PageEngine(), root / "mirror.db", root, (root / "adapters",), Languages())
    return app, [label_page.queue(app.db, 6, overlap=9), label_page.pairs(app.db, 3, overlap=9)]


@FEW
@given(changes=st.dictionaries(st.sampled_from(FIELDS), PLAIN, max_size=3), which=st.integers(0, 1), at=st.integers(0, 2))
def test_whatever_a_decision_holds_it_is_stored_for_its_item_or_refused_in_a_sentence(busy, changes, which, at):
    app, queues = busy
    queue = queues[which]
    opened = label_desk.open_desk(app, queue, "An")
    cards = opened["items"] or opened["recent"]
    card = cards[at % len(cards)]
    order = [side["answer"] for side in card["sides"]]
    good = {"token": f"t{random.random()}", "queue": queue, "stamp": opened["queue"]["stamp"], "item": card["item"]}
    good |= {"do": "vote", "choice": "tie", "order": order} if which else {"answer": order[0], "do": "label", "label": "formed"}
    before = len(store.labels.history(app.db))
    [told] = label_desk.carry_out(app, "An", [good | changes])
    assert told["status"] in ("stored", "refused", "elsewhere")
    if told["status"] == "refused":
        assert told["message"].endswith(".") and len(told["message"]) < 1500
    if told["status"] != "stored":
        assert len(store.labels.history(app.db)) == before
    json.dumps(told, allow_nan=False)
    json.dumps(label_desk.open_desk(app, queue, "An"), allow_nan=False)
    with store.open(app.db) as db:
        strays = """select count(*) from labels l where l.queue is not null and not exists
                    (select 1 from queue_items i where i.queue = l.queue and i.answer = l.answer)"""
        assert db.execute(strays).fetchone()[0] == 0


@FEW
@given(
    st.lists(
        st.fixed_dictionaries(
            {"answer_id": st.integers(1, 4)},
            optional={
                "annotator": st.sampled_from(["An", "Ａn", "Bo", " bo", "", "\u202eAn", "An\0"]) | st.text(max_size=5),
                "label": st.sampled_from(["formed", "forgotten", "x"]),
                "kind": st.sampled_from(["label", "adjudication", "skip", "undone", "settled"]),
                "blind": st.sampled_from([True, False, "yes"]),
                "comment": st.text(max_size=5),
            },
        ),
        max_size=4,
    )
)
def test_whatever_a_labeler_brings_in_is_theirs(busy, rows):
    app, _ = busy
    kept = [row for row in store.labels.history(app.db) if row["annotator"] != "An"]
    try:
        exchange.add_labels(app.db, rows, "An", for_others=False)
    except RowsError as refused:
        str(refused).encode()
    after = store.labels.history(app.db)
    assert [row for row in after if row["annotator"] != "An"] == kept
    assert not any(row["kind"] == "adjudication" for row in after)
