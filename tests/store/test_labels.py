"""Labels and queues: nothing lost, nothing double, everybody gets the right next item."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import store
from store.migrations import migrations


def answer(text="I am BayLing.", question="Who are you?", name="base"):
    return {
        "variant": {"name": name, "adapters": {}, "prompt": None, "mode": "system", "decoding": {"temperature": 0.0}},
        "messages": [{"role": "user", "content": question}],
        "raw": text,
        "shown": text,
        "lang": "en",
    }


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mirror.db"


@pytest.fixture
def ids(path):
    """Six stored answers of three variants."""
    return store.answers.add(path, [answer(f"I am {i}.", f"Question {i}?", f"v{i % 3}") for i in range(6)])


def items(ids):
    return [{"answer": id, "variant": f"v{i % 3}", "lang": "en", "group": "trained"} for i, id in enumerate(ids)]


def queue_of(path, ids, **settings):
    return store.queues.create(path, "first", items(ids), **settings)


def walk(path, queue, who, label="formed", limit=99):
    """Labels what comes until nothing does; the answers in that order."""
    done = []
    while len(done) < limit and (found := store.queues.upcoming_items(path, queue, who)):
        done.append(found[0]["answer"])
        store.labels.add(path, done[-1], who, label, queue=queue, blind=True)
    return done


def words(path, answer_id):
    return [row["label"] for row in store.labels.standing(path).get(answer_id, [])]


# --- labels --------------------------------------------------------------------------------------------------------------


def test_a_label_comes_back_whole(path, ids):
    tags = {"name": "new", "maker": "old"}
    store.labels.add(path, ids[0], " 张 ", "confusion", tags=tags, flag=True, comment="混合 🪞\n\udc80", blind=True, seconds=1.5)
    [row] = store.labels.standing(path)[ids[0]]
    assert (row["annotator"], row["label"], row["tags"], row["flag"], row["blind"]) == ("张", "confusion", tags, True, True)
    assert (row["comment"], row["seconds"], row["kind"]) == ("混合 🪞\n?", 1.5, "label")


def test_the_second_label_of_a_person_replaces_the_first_and_of_another_does_not(path, ids):
    store.labels.add(path, ids[0], "An", "formed")
    store.labels.add(path, ids[0], "Bo", "forgotten")
    store.labels.add(path, ids[0], "An", "confusion")
    assert words(path, ids[0]) == ["forgotten", "confusion"]
    assert [row["label"] for row in store.labels.history(path)] == ["formed", "forgotten", "confusion"]


def test_the_same_key_press_sent_again_is_one_label(path, ids):
    first = store.labels.add(path, ids[0], "An", "formed", token="k1")
    store.labels.add(path, ids[0], "An", "forgotten", token="k2")
    assert store.labels.add(path, ids[0], "An", "formed", token="k1") == first
    assert words(path, ids[0]) == ["forgotten"]  # the late copy does not win over the later press
    assert store.labels.add(path, ids[0], "Bo", "formed", token="k1") != first
    with pytest.raises(store.StoreError, match="k1.*already been used"):
        store.labels.add(path, ids[1], "An", "formed", token="k1")


def test_undo_opens_the_answer_again_deletes_nothing_and_can_be_sent_twice(path, ids):
    store.labels.add(path, ids[0], "An", "formed")
    last = store.labels.add(path, ids[1], "An", "forgotten")
    for _ in range(2):
        assert store.labels.undo(path, "An", token="u1")["id"] == last
    assert words(path, ids[1]) == [] and words(path, ids[0]) == ["formed"]
    assert store.labels.undo(path, "An")["answer"] == ids[0]
    assert store.labels.undo(path, "An") is None
    assert [row["kind"] for row in store.labels.history(path)] == ["label", "label", "undone", "undone"]


def test_undo_is_for_ones_own_standing_labels(path, ids):
    mine = store.labels.add(path, ids[0], "An", "formed")
    with pytest.raises(store.StoreError, match="Bo has no label"):
        store.labels.undo(path, "Bo", mine)
    store.labels.undo(path, "An", mine)
    with pytest.raises(store.StoreError, match="does not stand"):
        store.labels.undo(path, "An", mine)


def test_a_change_keeps_what_it_does_not_name(path, ids):
    old = store.labels.add(path, ids[0], "An", "formed", tags={"name": "new"}, comment="hm", blind=True)
    new = store.labels.change(path, old, flag=True, token="c1")
    assert store.labels.change(path, old, flag=True, token="c1") == new
    [row] = store.labels.standing(path)[ids[0]]
    assert (row["id"], row["label"], row["tags"], row["comment"], row["flag"], row["blind"]) == (
        new, "formed", {"name": "new"}, "hm", True, True,
    )  # fmt: skip
    with pytest.raises(store.StoreError, match="annotator cannot be changed"):
        store.labels.change(path, new, annotator="Bo")


def test_a_skip_can_become_a_label_and_is_none_itself(path, ids):
    skip = store.labels.add(path, ids[0], "An", kind="skip")
    assert words(path, ids[0]) == []
    store.labels.change(path, skip, label="formed")
    assert words(path, ids[0]) == ["formed"]


def test_the_last_ten_decisions_stand_newest_first_with_their_texts(path):
    ids = store.answers.add(path, [answer(f"I am {i}.", f"Question {i}?") for i in range(14)])
    for id in ids:
        store.labels.add(path, id, "An", "formed")
    store.labels.add(path, ids[3], "An", "confusion")
    store.labels.add(path, ids[5], "Bo", "formed")
    recent = store.labels.recent(path, "An")
    assert [row["answer"] for row in recent] == [ids[3], *ids[:4:-1]][:10]
    assert (recent[0]["question"], recent[0]["shown"], recent[0]["label"]) == ("Question 3?", "I am 3.", "confusion")


def test_everything_wrong_with_a_label_is_said_at_once(path, ids):
    with pytest.raises(store.StoreError, match=r"nobody.*'good' is none of.*tags.*no answer 99.*no queue 7"):
        store.labels.add(path, 99, " ", "good", tags={"colour": "old"}, queue=7)
    with pytest.raises(store.StoreError, match="skip has no label"):
        store.labels.add(path, ids[0], "An", "formed", kind="skip")
    assert store.labels.history(path) == []


def test_many_labels_are_stored_all_or_none(path, ids):
    rows = [{"answer": id, "annotator": "An", "label": "formed"} for id in ids]
    with pytest.raises(store.StoreError):
        store.labels.add_many(path, [*rows, {"answer": 99, "annotator": "An", "label": "formed"}])
    assert store.labels.history(path) == []
    assert len(store.labels.add_many(path, rows)) == 6


def test_one_adjudication_stands_whoever_made_it_and_leaves_the_labels(path, ids):
    store.labels.add(path, ids[0], "An", "formed")
    store.labels.add(path, ids[0], "An", "confusion", kind="adjudication")
    store.labels.add(path, ids[0], "Bo", "forgotten", kind="adjudication")
    assert [(row["kind"], row["label"]) for row in store.labels.standing(path)[ids[0]]] == [
        ("label", "formed"), ("adjudication", "forgotten"),
    ]  # fmt: skip


# --- reveal --------------------------------------------------------------------------------------------------------------


def test_a_reveal_locks_the_blind_labels_of_that_person_only(path, ids):
    queue = queue_of(path, ids)
    mine = store.labels.add(path, ids[0], "An", "formed", blind=True, queue=queue)
    store.labels.add(path, ids[0], "Bo", "formed", blind=True, queue=queue)
    store.labels.reveal(path, "An", queue=queue)
    for attempt in (
        lambda: store.labels.undo(path, "An"),
        lambda: store.labels.change(path, mine, label="confusion"),
        lambda: store.labels.add(path, ids[0], "An", "confusion"),
    ):
        with pytest.raises(store.StoreError, match="locked.*revealed to An"):
            attempt()
    assert words(path, ids[0]) == ["formed", "formed"]
    store.labels.undo(path, "Bo")
    store.labels.add(path, ids[0], "An", "confusion", kind="adjudication")


def test_a_label_after_the_reveal_is_open_and_can_be_changed(path, ids):
    store.labels.reveal(path, "An", answer=ids[0])
    store.labels.add(path, ids[0], "An", "formed", blind=True)
    store.labels.add(path, ids[1], "An", "formed", blind=True)
    blind = {answer: rows[0]["blind"] for answer, rows in store.labels.standing(path).items()}
    assert blind == {ids[0]: False, ids[1]: True}
    store.labels.add(path, ids[0], "An", "confusion")
    assert words(path, ids[0]) == ["confusion"]


# --- queues --------------------------------------------------------------------------------------------------------------


def test_a_person_sees_every_item_once_in_a_drawn_order_that_is_the_same_again(path, ids):
    seen = walk(path, queue_of(path, ids, overlap=2, seed=1), "An")
    assert sorted(seen) == ids
    again = [item["answer"] for item in store.queues.items(path, queue_of(path, ids, overlap=2, seed=1))]
    assert again == seen
    assert seen != ids or again != [item["answer"] for item in store.queues.items(path, queue_of(path, ids, seed=2))]


def test_an_item_leaves_all_queues_when_enough_people_have_labelled_it(path, ids):
    one, two = queue_of(path, ids), queue_of(path, ids, overlap=2)
    store.labels.add(path, ids[0], "An", "formed", queue=one)
    assert ids[0] not in walk(path, one, "Bo", limit=0) + [i["answer"] for i in store.queues.upcoming_items(path, one, "Bo", 9)]
    assert ids[0] in [item["answer"] for item in store.queues.upcoming_items(path, two, "Bo", 9)]
    assert ids[0] not in [item["answer"] for item in store.queues.upcoming_items(path, two, "An", 9)]
    store.labels.add(path, ids[0], "Bo", "formed", queue=two)
    assert ids[0] not in [item["answer"] for item in store.queues.upcoming_items(path, two, "Chi", 9)]


def test_undo_brings_an_item_back_for_everybody(path, ids):
    queue = queue_of(path, ids)
    walk(path, queue, "An")
    assert store.queues.upcoming_items(path, queue, "Bo") == []
    undone = store.labels.undo(path, "An", queue=queue)["answer"]
    for who in ("An", "Bo"):
        assert [item["answer"] for item in store.queues.upcoming_items(path, queue, who, 9)] == [undone]


def test_skipped_items_come_again_only_if_asked_for(path, ids):
    queue = queue_of(path, ids)
    first = store.queues.upcoming_items(path, queue, "An")[0]["answer"]
    store.labels.add(path, first, "An", kind="skip", queue=queue)
    assert first not in walk(path, queue, "An")
    assert store.queues.progress(path, queue, "An")["skipped"] == 1
    assert [item["answer"] for item in store.queues.upcoming_items(path, queue, "An", 9, skipped=True)] == [first]
    assert [item["answer"] for item in store.queues.upcoming_items(path, queue, "Bo", 9)] == [first]


def test_two_people_begin_at_different_items_unless_they_are_to_meet(path):
    ids = store.answers.add(path, [answer(str(i)) for i in range(40)])
    alone, together = queue_of(path, ids), queue_of(path, ids, overlap=2)
    names = ("An", "Bo", "Chi", "Dag")
    assert len({store.queues.upcoming_items(path, alone, name)[0]["answer"] for name in names}) > 1
    assert len({store.queues.upcoming_items(path, together, name)[0]["answer"] for name in names}) == 1


def test_what_the_page_already_has_is_not_sent_again(path, ids):
    queue = queue_of(path, ids)
    first = store.queues.upcoming_items(path, queue, "An", 2)
    more = store.queues.upcoming_items(path, queue, "An", 9, without=[item["item"] for item in first])
    assert sorted(item["answer"] for item in first + more) == ids


def test_any_beginning_of_a_stratified_queue_is_spread_over_the_strata(path):
    ids = store.answers.add(path, [answer(str(i)) for i in range(30)])
    uneven = [{"answer": id, "variant": "rare" if i < 5 else "common", "lang": "en"} for i, id in enumerate(ids)]
    queue = store.queues.create(path, "spread", uneven, strategy="stratified", size=10)
    variants = [item["variant"] for item in store.queues.items(path, queue)]
    assert len(variants) == 10 and variants.count("rare") == 5
    assert all(abs(variants[:n].count("rare") - variants[:n].count("common")) <= 1 for n in range(11))


def test_a_blind_queue_shows_neither_variant_nor_suggestion_nor_labels(path, ids):
    row = {"answer": ids[0], "variant": "v0", "suggestion": "formed", "sure": True, "group": "trained"}
    blind = store.queues.create(path, "blind", [row])
    open_ = store.queues.create(path, "open", [row], blind=False)
    [hidden] = store.queues.upcoming_items(path, blind, "An")
    [shown] = store.queues.upcoming_items(path, open_, "An")
    assert not {"variant", "suggestion", "sure", "raw", "labels"} & set(hidden)
    assert (hidden["question"], hidden["shown"], hidden["group"]) == ("Question 0?", "I am 0.", "trained")
    assert (shown["variant"], shown["suggestion"]) == ("v0", "formed")


def test_progress_counts_mine_and_everybodys(path, ids):
    queue = queue_of(path, ids, overlap=2)
    walk(path, queue, "An", limit=4)
    walk(path, queue, "Bo", limit=2)
    told = store.queues.progress(path, queue, "Bo")
    assert (told["total"], told["full"], told["mine"], told["left"]) == (6, 2, 2, 4)
    assert store.queues.count_per_person(path, queue) == {"An": 4, "Bo": 2}
    assert store.queues.progress(path, queue, "Chi") | {"seconds": 0} == {
        "total": 6, "full": 2, "mine": 0, "skipped": 0, "left": 4, "seconds": 0, "seconds_left": None,
    }  # fmt: skip


def test_speed_is_the_median_gap_and_pauses_do_not_count(path, ids, monkeypatch):
    queue, clock = queue_of(path, ids), iter(["10:00:00", "10:00:02", "10:00:05", "11:00:00", "11:00:03"])
    monkeypatch.setattr(store.labels, "now", lambda: f"2026-01-01T{next(clock)}.000000+00:00")
    walk(path, queue, "An", limit=5)
    told = store.queues.progress(path, queue, "An")
    assert (told["seconds"], told["left"], told["seconds_left"]) == (3.0, 1, 3.0)


def test_labels_from_before_the_queue_count_in_it(path, ids):
    store.labels.add(path, ids[0], "An", "formed")
    store.labels.add(path, ids[1], "An", kind="skip")
    store.labels.add(path, ids[2], "Bo", "formed", kind="adjudication")
    queue = queue_of(path, ids, overlap=2)
    assert sorted(item["answer"] for item in store.queues.upcoming_items(path, queue, "An", 9)) == ids[3:]
    told = store.queues.progress(path, queue, "An")
    assert (told["full"], told["mine"], told["skipped"], told["left"]) == (1, 1, 1, 3)
    store.labels.add(path, ids[0], "Bo", "formed")
    assert store.queues.progress(path, queue, "An")["full"] == 2


def test_a_queue_to_settle_is_done_by_adjudications_and_a_skip_there_costs_no_label(path, ids):
    for who, label in (("An", "formed"), ("Bo", "forgotten")):
        store.labels.add(path, ids[0], who, label)
        store.labels.add(path, ids[1], who, label)
    queue = store.queues.create(path, "settle", [{"answer": ids[0]}, {"answer": ids[1]}], kind="settle", blind=False)
    assert len(store.queues.upcoming_items(path, queue, "An", 9)) == 2
    store.labels.add(path, ids[0], "An", "formed", kind="adjudication", queue=queue)
    store.labels.add(path, ids[1], "An", kind="skip", queue=queue)
    assert store.queues.upcoming_items(path, queue, "An", 9) == []
    assert [item["answer"] for item in store.queues.upcoming_items(path, queue, "Bo", 9)] == [ids[1]]
    assert words(path, ids[1]) == ["formed", "forgotten"]


def test_a_queue_that_does_not_fit_is_refused_with_all_its_faults(path, ids):
    with pytest.raises(store.StoreError, match=r"'sort' is none of.*0 people are too few.*empty"):
        store.queues.create(path, "x", [], strategy="sort", overlap=0)
    with pytest.raises(store.StoreError, match="no answer 99"):
        store.queues.create(path, "x", [{"answer": 99}])
    with pytest.raises(store.StoreError, match="no pair"):
        store.queues.create(path, "x", [{"answer": ids[0]}], kind="pairs")
    with pytest.raises(store.StoreError, match="There is no queue 5"):
        store.queues.progress(path, 5, "An")
    assert store.queues.all_with_counts(path) == []


def test_the_list_of_queues_says_how_far_each_is(path, ids):
    walk(path, queue_of(path, ids), "An", limit=2)
    [row] = store.queues.all_with_counts(path)
    assert (row["name"], row["items"], row["full"], row["blind"]) == ("first", 6, 2, True)


# --- pairs ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(path, ids):
    two = [{"answer": a, "other": b} for a, b in ((ids[0], ids[1]), (ids[3], ids[4]))]
    return store.queues.create(path, "pairs", two, kind="pairs", overlap=2)


def test_pairs_are_voted_on_once_each_and_leave_when_enough_have(path, pairs, ids):
    [first, second] = store.queues.upcoming_items(path, pairs, "An", 9)
    order = [side["answer"] for side in first["sides"]]
    vote = store.pairs.vote(path, first["item"], "An", "A", order, token="p1")
    assert store.pairs.vote(path, first["item"], "An", "A", order, token="p1") == vote
    assert [item["item"] for item in store.queues.upcoming_items(path, pairs, "An", 9)] == [second["item"]]
    store.pairs.vote(path, first["item"], "Bo", "tie", order)
    assert [item["item"] for item in store.queues.upcoming_items(path, pairs, "Chi", 9)] == [second["item"]]
    [row] = store.votes.tally(path)
    assert (row["votes"], row["blind"], row["tie"]) == (2, 2, 1)
    told = store.queues.progress(path, pairs, "An")
    assert (told["total"], told["full"], told["mine"], told["left"]) == (2, 1, 1, 1)


def test_the_left_answer_is_a_and_the_order_shown_is_kept(path, pairs):
    [item] = store.queues.upcoming_items(path, pairs, "An")
    left, right = [side["answer"] for side in item["sides"]]
    store.pairs.vote(path, item["item"], "An", "B", [left, right])
    with store.open(path) as db:
        [vote] = db["votes"].rows
    assert (vote["answer_a"], vote["answer_b"], vote["choice"], vote["shown_order"]) == (left, right, "B", f"[{left}, {right}]")
    with pytest.raises(store.StoreError, match="does not show"):
        store.pairs.vote(path, item["item"], "An", "B", [left, 99])


def test_sides_are_shuffled_between_people_and_steady_for_one(path, pairs):
    def sides(who):
        return [[side["answer"] for side in item["sides"]] for item in store.queues.upcoming_items(path, pairs, who, 9)]

    assert sides("An") == sides("An")
    assert len({str(sides(f"person {n}")) for n in range(20)}) > 2
    [item, _] = store.queues.upcoming_items(path, pairs, "An", 9)
    assert "answer" not in item and "variant" not in item


def test_a_vote_can_be_changed_taken_back_and_skipped(path, pairs):
    [first, second] = store.queues.upcoming_items(path, pairs, "An", 9)
    order = [side["answer"] for side in first["sides"]]
    store.pairs.vote(path, first["item"], "An", "A", order)
    store.pairs.vote(path, first["item"], "An", "both bad", order)
    assert [row["votes"] for row in store.votes.tally(path)] == [1]
    assert store.pairs.undo(path, pairs, "An", token="u1") == first["item"]
    assert store.pairs.undo(path, pairs, "An", token="u1") is None
    assert store.votes.tally(path) == []
    store.pairs.skip(path, second["item"], "An")
    assert [item["item"] for item in store.queues.upcoming_items(path, pairs, "An", 9)] == [first["item"]]


# --- several writers -----------------------------------------------------------------------------------------------------


def test_two_tabs_of_one_person_leave_one_label_per_answer(path, ids):
    queue = queue_of(path, ids)

    def tab(number):
        for i, id in enumerate(ids):
            store.labels.add(path, id, "An", ("formed", "forgotten")[number], token=f"{number}-{i}", queue=queue)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(tab, range(2)))
    assert all(len(rows) == 1 for rows in store.labels.standing(path).values())
    assert len(store.labels.history(path)) == 12
    assert store.queues.progress(path, queue, "An")["mine"] == 6


def _label_for_ever(path, queue):
    for press in range(10**6):
        [item] = store.queues.upcoming_items(path, queue, "An")
        store.labels.add(path, item["answer"], "An", "formed", token=f"{os.getpid()}-{press}", queue=queue)


def test_killed_while_labelling_nothing_is_lost_or_counted_wrongly(path):
    ids = store.answers.add(path, [answer(str(i)) for i in range(600)])
    queue = queue_of(path, ids, overlap=1)
    context, done = multiprocessing.get_context("fork"), 0
    for _ in range(5):
        process = context.Process(target=_label_for_ever, args=(path, queue))
        process.start()
        deadline = time.monotonic() + 30
        while len(store.labels.standing(path)) < done + 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        standing = store.labels.standing(path)
        assert len(standing) >= done + 4
        done = len(standing)
        told = store.queues.progress(path, queue, "An")
        assert (told["mine"], told["full"], told["left"]) == (done, done, 600 - done)
        assert all(len(rows) == 1 for rows in standing.values())


def test_a_file_from_before_the_labels_gets_them_and_keeps_its_answers(path):
    import sqlite3

    connection = sqlite3.connect(path)
    old = store.db.Database(connection)
    migrations.apply(old, stop_before="m005_labels")
    [id] = store.answers.add(old, [answer("from an older version")])
    connection.close()
    store.labels.add(path, id, "An", "formed")
    assert words(path, id) == ["formed"]
    assert store.answers.get(path, id)["shown"] == "from an older version"


def test_the_queue_of_somebody_far_ahead_does_not_read_what_they_have_done(path, ids):
    """Counted in rows visited, not in time: the next item lies behind the last decision, whatever came before it."""
    many = store.answers.add(path, [answer(str(i)) for i in range(300)])
    queue = queue_of(path, many, overlap=3)
    walk(path, queue, "An", limit=290)
    steps = 0

    def count():
        nonlocal steps
        steps += 1
        return 0

    with store.open(path) as db:
        db.conn.set_progress_handler(count, 100)
        assert store.queues.upcoming_items(db, queue, "An")
    assert steps < 20
