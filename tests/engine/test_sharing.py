"""One running batch for all who ask: nobody's words change, nobody starves, nobody waits behind a crowd."""

from __future__ import annotations

import itertools
import random
import threading
from collections import Counter

import pytest
import torch
from hypothesis import given, settings, strategies as st
from tiny import Letters

from engine import Decoding, EngineError, decode, sharing
from engine.fairness import AT_ONCE, Ask
from engine.sharing import PASS, Loop

VARIANTS = [{}, {"a": 1.0}, {"b": 0.5}, {"a": 0.6, "b": 0.6}]


def make_row(seed: int, new: int = 12, length: int | None = None, decoding: Decoding | None = None) -> decode.Row:
    numbers = random.Random(seed)
    ids = [numbers.randrange(3, 500) for _ in range(length or numbers.randrange(3, 40))]
    return decode.Row(seed, ids, VARIANTS[seed % 4], decoding or Decoding(), new, frozenset())


def make_ask(owner, rows, **callbacks) -> Ask:
    return Ask(rows, owner, threading.Event(), **callbacks)


@pytest.fixture
def loop(model, bank):
    made = []

    def make(slots: int = 8) -> Loop:
        made.append(Loop(model, Letters(), bank, lambda _longest: slots))
        return made[-1]

    yield make
    for one in made:
        one.end(EngineError("The test is over."))


def finished(loop: Loop, most: int = 2000) -> int:
    """Turns until nobody asks any more."""
    for turn in range(most):
        if not loop.busy:
            return turn
        loop.turn()
    raise AssertionError("somebody is never done")


def inside(loop: Loop) -> Counter:
    return Counter(loop.of[row].owner for row in loop.batch.rows)


ALONE: dict[tuple, list[int]] = {}


def alone(model, bank, seed: int, new: int) -> list[int]:
    """What a row says when nobody else is there."""
    if (seed, new) not in ALONE:
        row = make_row(seed, new)
        for _ in sharing.run(model, Letters(), bank, [row], slots=1, stop=threading.Event()):
            pass
        ALONE[seed, new] = row.new_ids
    return ALONE[seed, new]


ASKS = st.lists(
    st.tuples(
        st.integers(0, 12),  # the turn at which it comes
        st.integers(0, 3),  # whose it is
        st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, 3, 9])), min_size=1, max_size=7),  # rows: seed, tokens
        st.one_of(st.none(), st.integers(0, 8)),  # turns after which its asker leaves
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(ASKS, st.integers(1, 6))
def test_whatever_comes_and_goes_a_row_says_what_it_says_alone(model, bank, asks, slots):
    loop, came, ended = Loop(model, Letters(), bank, lambda _longest: slots), [], []
    coming = sorted(asks, key=lambda one: one[0])
    for turn in range(3000):
        while coming and coming[0][0] <= turn:
            _, owner, rows, stay = coming.pop(0)
            ask = make_ask(owner, [make_row(seed, new) for seed, new in rows], ended=ended.append)
            came.append((ask, None if stay is None else turn + stay))
            loop.add(ask)
        for ask, leaves in came:
            if leaves is not None and turn >= leaves:
                ask.stop.set()
        if not coming and not loop.busy:
            break
        loop.turn()
        assert len(loop.batch.rows) <= slots and sum(ask.inside for ask in loop.asks) == len(loop.batch.rows)
    assert ended == [None] * len(came)
    for ask, leaves in came:
        for row in ask.rows:
            said = alone(model, bank, row.index, row.max_new_tokens)
            if row.finish == "length":
                assert row.new_ids == said
            else:
                assert leaves is not None and row.finish == "stopped" and row.new_ids == said[: len(row.new_ids)]


def test_two_owners_have_as_many_rows_each_however_much_they_ask(loop):
    loop = loop(8)
    loop.add(make_ask("run", [make_row(at, new=10) for at in range(60)]))
    for _ in range(6):
        loop.turn()
    assert inside(loop) == {"run": 8}
    loop.add(make_ask("person", [make_row(at, new=10) for at in range(30)]))
    shares = []
    for _ in range(60):
        loop.turn()
        shares.append(inside(loop))
    both = [share for share in shares[12:] if share["run"] and share["person"]]
    mean = [sum(share[who] for share in both) / len(both) for who in ("run", "person")]
    assert len(both) > 30 and abs(mean[0] - mean[1]) < 1


def test_owners_share_and_not_requests(loop):
    """Ten requests of one owner weigh no more than one of another."""
    loop = loop(8)
    for at in range(10):
        loop.add(make_ask("many", [make_row(10 * at + one, new=40) for one in range(4)]))
    loop.add(make_ask("one", [make_row(at, new=40) for at in range(40)]))
    for _ in range(60):
        loop.turn()
    assert inside(loop) == {"many": 4, "one": 4}


def test_a_single_question_waits_for_a_few_turns_behind_anything(loop):
    loop = loop(8)
    loop.add(make_ask("run", [make_row(at, new=150) for at in range(100)]))
    loop.add(make_ask("person", [make_row(at, new=150) for at in range(50)]))
    for _ in range(12):
        loop.turn()
    assert len(loop.batch.rows) == 8
    news = []
    question = make_row(7, new=3)
    loop.add(make_ask("somebody", [question], tell=news.append))
    turns = 0
    while not question.finish:
        loop.turn()
        turns += 1
    assert turns <= 5 and len(news) == 3


def test_what_was_set_aside_goes_on_first_and_word_for_word(loop, model, bank):
    loop = loop(2)
    rows = [make_row(at, new=9) for at in range(4)]
    run = make_ask("run", rows)
    loop.add(run)
    for _ in range(4):
        loop.turn()
    loop.add(make_ask("somebody", [make_row(9, new=4)]))
    loop.turn()
    loop.turn()
    (part,) = run.aside
    assert inside(loop) == {"run": 1, "somebody": 1} and 0 < len(part.rows[0].new_ids) < 9 and part.cache.layers[0].length
    finished(loop)
    assert [row.new_ids for row in rows] == [alone(model, bank, at, 9) for at in range(4)]


def test_sampled_words_are_their_seeds_also_after_a_pause(loop, model, bank):
    def hot(at: int) -> decode.Row:
        return make_row(at, new=9, decoding=Decoding(temperature=1.5, top_p=0.95, seed=at, repetition_penalty=1.2))

    expected = []
    for at in range(3):
        row = hot(at)
        for _ in sharing.run(model, Letters(), bank, [row], slots=1, stop=threading.Event()):
            pass
        expected.append(row.new_ids)
    loop = loop(2)
    rows = [hot(at) for at in range(3)]
    loop.add(make_ask("run", rows))
    for at in range(40):
        loop.turn()
        if at == 3:
            loop.add(make_ask("somebody", [make_row(9, new=4)]))
    assert [row.new_ids for row in rows] == expected


def test_one_place_goes_round(loop):
    """With room for a single row nobody is set aside, and owners take turns answer by answer."""
    loop, order = loop(1), []
    for owner in "abc":
        loop.add(make_ask(owner, [make_row(at, new=2) for at in range(3)], tell=lambda rows, who=owner: order.append(who)))
    finished(loop)
    begun = [who for at, who in enumerate(order) if at % 2 == 0]
    assert begun == ["a", "b", "c"] * 3


def test_who_has_not_begun_is_told_the_place(loop):
    loop = loop(1)
    told: dict[str, list[int]] = {owner: [] for owner in "abcd"}
    for owner in "abcd":
        loop.add(make_ask(owner, [make_row(1, new=3)], placed=told[owner].append))
    finished(loop)
    assert told == {"a": [], "b": [1], "c": [2, 1], "d": [3, 2, 1]}


def test_a_cancelled_row_frees_its_place_at_once(loop):
    loop = loop(2)
    leaving, waiting = make_ask("a", [make_row(at, new=100) for at in range(2)]), make_row(5, new=2)
    loop.add(leaving)
    for _ in range(3):
        loop.turn()
    loop.add(make_ask("a", [waiting, make_row(6, new=2)]))
    leaving.stop.set()
    loop.turn()
    assert [row.finish for row in leaving.rows] == ["stopped"] * 2 and waiting in loop.batch.rows
    assert finished(loop) <= 3


def test_nobody_starves_in_a_stream_of_newcomers(loop):
    """Short questions come without end; the long request is answered all the same."""
    loop = loop(4)
    patient = make_ask("patient", [make_row(at, new=6) for at in range(12)])
    loop.add(patient)
    for turn in range(400):
        loop.add(make_ask(f"new {turn}", [make_row(turn % 30, new=2)]))
        loop.turn()
        if all(row.finish for row in patient.rows):
            return
    raise AssertionError(f"{sum(row.finish is None for row in patient.rows)} rows still wait")


def test_a_crowds_prompts_come_in_passes_with_steps_between_them(loop, model, monkeypatch):
    widths, forward = [], model.forward

    def counted(**named):
        widths.append(named["input_ids"].numel())
        return forward(**named)

    loop = loop(32)
    loop.add(make_ask("somebody", [make_row(1, new=30)]))
    loop.turn()
    monkeypatch.setattr(model, "forward", counted)
    loop.add(make_ask("crowd", [make_row(at, new=5, length=100) for at in range(20)]))
    finished(loop)
    prompts = [at for at, width in enumerate(widths) if width >= 100]
    assert max(widths) <= PASS and len(prompts) == 4
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(prompts))


def test_newcomers_have_their_first_word_in_the_middle_of_somebodys_pass(loop, model, bank):
    loop = loop(4)
    crowd = make_ask("crowd", [make_row(at, new=9) for at in range(4)])
    loop.add(crowd)
    loop.turn()
    late, seen = make_row(7, new=4), []
    layer = model.model.layers[1]

    def comes(*_):
        if not seen:
            seen.append(len(crowd.rows[0].new_ids))
            loop.add(make_ask("late", [late], tell=lambda rows: seen.append(len(crowd.rows[0].new_ids))))

    hooks = [layer.register_forward_pre_hook(comes)]
    hooks += [one.register_forward_pre_hook(lambda *_: loop.glance()) for one in sharing.layers(model)]
    try:
        loop.turn()
        assert late.new_ids and seen == [1, 1], "its first word comes before the pass it came into is over"
        finished(loop)
    finally:
        for hook in hooks:
            hook.remove()
    assert late.new_ids == alone(model, bank, 7, 4)
    assert [row.new_ids for row in crowd.rows] == [alone(model, bank, at, 9) for at in range(4)]


def test_a_failure_in_somebodys_prompt_is_theirs_alone(loop, model, bank, monkeypatch):
    loop, ended = loop(8), {"good": [], "bad": []}
    good = make_ask("good", [make_row(at, new=9) for at in range(2)], ended=ended["good"].append)
    loop.add(good)
    loop.turn()
    bad = make_ask("bad", [make_row(33, new=9, length=39)], ended=ended["bad"].append)
    loop.add(bad)
    forward = model.forward

    def fails(**named):
        if named["input_ids"].shape[1] == 39:
            raise torch.OutOfMemoryError("too large")
        return forward(**named)

    monkeypatch.setattr(model, "forward", fails)
    finished(loop)
    assert ended["good"] == [None] and isinstance(ended["bad"][0], torch.OutOfMemoryError)
    assert [row.new_ids for row in good.rows] == [alone(model, bank, at, 9) for at in range(2)]


def test_a_failure_while_newcomers_are_set_aside_is_theirs_alone(loop, model, bank, monkeypatch):
    loop, ended = loop(4), []
    crowd = make_ask("crowd", [make_row(at, new=9) for at in range(4)])
    loop.add(crowd)
    loop.turn()
    came = []

    def comes(*_):
        if not came:
            came.append(make_ask("late", [make_row(7, new=4)], ended=ended.append))
            loop.add(came[0])

    def full(_parts):
        raise MemoryError

    monkeypatch.setattr(loop, "hold", full)
    hooks = [model.model.layers[1].register_forward_pre_hook(comes)]
    hooks += [one.register_forward_pre_hook(lambda *_: loop.glance()) for one in sharing.layers(model)]
    try:
        finished(loop)
    finally:
        for hook in hooks:
            hook.remove()
    assert len(ended) == 1 and isinstance(ended[0], MemoryError)
    assert [row.new_ids for row in crowd.rows] == [alone(model, bank, at, 9) for at in range(4)]


def test_a_row_that_was_set_aside_has_begun_and_is_not_refused(loop, model, bank):
    loop, why = loop(2), []

    def check():
        if why:
            raise EngineError(why[0])

    crowd = make_ask("crowd", [make_row(at, new=9) for at in range(2)], check=check)
    loop.add(crowd)
    loop.turn()
    loop.add(make_ask("late", [make_row(7, new=4)]))
    for _ in range(20):
        loop.turn()
        if crowd.aside:
            break
    assert crowd.aside
    why.append("The base is parked.")
    finished(loop)
    assert [row.new_ids for row in crowd.rows] == [alone(model, bank, at, 9) for at in range(2)]


def test_who_has_come_is_always_somewhere(loop, monkeypatch):
    """The computing thread leaves when nobody asks: an ask that is in neither list for a moment would wait for ever."""
    loop, busy = loop(2), []
    ask = make_ask("a", [make_row(1, new=1)])
    loop.add(ask)
    length = sharing.own_length
    monkeypatch.setattr(sharing, "own_length", lambda row: busy.append(loop.busy) or length(row))
    loop.receive()
    assert busy and all(busy)
    finished(loop)


def test_a_failure_in_a_step_ends_those_in_the_batch_and_the_next_goes_on(loop, model, bank, monkeypatch):
    loop, ended = loop(2), []
    loop.add(make_ask("a", [make_row(at, new=9) for at in range(2)], ended=ended.append))
    loop.turn()
    loop.turn()
    monkeypatch.setattr(model, "forward", lambda **_: 1 / 0)
    loop.turn()
    monkeypatch.undo()
    assert len(ended) == 1 and isinstance(ended[0], ZeroDivisionError) and not loop.busy
    after = make_row(3, new=9)
    loop.add(make_ask("b", [after]))
    finished(loop)
    assert after.new_ids == alone(model, bank, 3, 9)


def test_what_may_not_begin_is_refused_and_what_has_begun_comes_to_its_end(loop):
    loop, ended, why = loop(2), [], []

    def check():
        if why:
            raise EngineError(why[0])

    ask = make_ask("a", [make_row(at, new=5) for at in range(2)], ended=ended.append, check=check)
    more = make_ask("b", [make_row(at, new=5) for at in range(9)], ended=ended.append, check=check)
    loop.add(ask)
    loop.turn()
    why.append("The base is parked.")
    loop.add(more)
    finished(loop)
    assert [row.finish for row in ask.rows] == ["length"] * 2
    assert sorted(map(str, ended)) == ["None", "The base is parked."]


def test_long_rows_wait_for_room_and_are_not_passed_over(model, bank):
    """Where memory holds few long rows: a long one comes when the batch has room for it, though short ones keep coming."""
    loop = Loop(model, Letters(), bank, lambda longest: 2 if longest > 60 else 8)
    loop.add(make_ask("short", [make_row(at, new=4) for at in range(40)]))
    for _ in range(4):
        loop.turn()
    long = make_row(50, new=6, length=100)
    loop.add(make_ask("long", [long]))
    for _ in range(40):
        loop.turn()
        assert long not in loop.batch.rows or len(loop.batch.rows) <= 2
    assert long.finish == "length"
    finished(loop)


def test_few_rows_need_not_wait_and_many_must(loop):
    loop = loop(16)
    loop.add(make_ask("run", [make_row(at, new=120) for at in range(40)]))
    for _ in range(3):
        loop.turn()
    loop.add(make_ask("columns", [make_row(at, new=120) for at in range(6)]))
    for _ in range(4):
        loop.turn()
    assert inside(loop) == {"run": 16 - AT_ONCE, "columns": AT_ONCE}
