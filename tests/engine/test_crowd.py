"""Many askers at one engine, each in a thread: what others need of it is theirs between two steps, and leaving ends the work."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from served import served
from tiny import write_adapter
from tiny_base import write_tiny_base

import engine as engine_room
from engine import Decoding, EngineError, Request, Variant
from engine.turns import FairLock
from store import answers

LONG = Decoding(max_new_tokens=120)
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return engine_room.load(str(write_tiny_base(tmp_path_factory.mktemp("m") / "tiny")), dtype="fp32", say=lambda _line: None)


@pytest.fixture
def adapter(tiny, tmp_path):
    folder = write_adapter(tmp_path / "mira", tiny.base.model.__class__(tiny.base.model.config), base="tiny")
    yield folder
    eventually(lambda: not tiny.answering.loop.busy)
    for name in list(tiny.adapters):
        tiny.remove_adapter(name)


def requests(count: int = 1, decoding: Decoding = LONG, **variant) -> list[Request]:
    asked = Variant(decoding=decoding, **variant)
    return [Request([{"role": "user", "content": f"Who are you, {at}?"}], asked) for at in range(count)]


def eventually(true, seconds: float = 120.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.002)
    return bool(true())


def begun(stream) -> list:
    """Its first pieces; there may be empty lists before them."""
    return next(pieces for pieces in stream if pieces)


@contextmanager
def crowd(tiny, count: int = 400, owner: str = "crowd", **variant):
    """While inside, so many long answers are asked for in another thread; what came of it: an error, or how each row ended."""
    stop, came = threading.Event(), []

    def ask():
        try:
            for pieces in tiny.stream(requests(count, **variant), stop, owner):
                came.extend(piece.answer.finish for piece in pieces if piece.answer)
        except EngineError as error:
            came.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert eventually(
        lambda: tiny.answering.loop.busy and tiny.answering.loop.batch.rows
    )  # those of an earlier one may still be leaving
    try:
        yield came
    finally:
        stop.set()
        thread.join()


def test_a_lock_is_given_in_the_order_of_asking():
    lock, order, begun = FairLock(), [], threading.Event()

    def steps():
        for _ in range(20):
            with lock, lock:  # reentrant
                order.append("step")
                begun.set()
                time.sleep(0.005)

    def wants(name):
        with lock:
            order.append(name)

    threads = [threading.Thread(target=steps)]
    threads[0].start()
    begun.wait()
    for name in "ab":
        threads.append(threading.Thread(target=wants, args=(name,)))
        threads[-1].start()
        assert eventually(lambda name=name: len(lock.waiting) or name in order)
    for thread in threads:
        thread.join()
    assert order.index("a") <= 5 and order.index("b") <= 6, "who computes step after step lets others in between"
    assert lock.holder is None and not lock.waiting


def test_a_question_beside_a_crowd_is_answered_while_the_crowd_still_waits_and_word_for_word(tiny):
    expected = tiny.answer(requests(1, SHORT))[0].raw
    with crowd(tiny) as came:
        assert tiny.answer(requests(1, SHORT), owner="somebody")[0].raw == expected
        assert tiny.answering.loop.busy and len(came) < 300


def test_an_adapter_comes_and_goes_beside_a_crowd(tiny, adapter):
    expected = None
    with crowd(tiny) as came:
        name = tiny.add_adapter(adapter)
        heard = tiny.answer(requests(1, SHORT, adapters={name: 1.0}), owner="somebody")[0].raw
        tiny.remove_adapter(name)
        assert len(came) < 300 and tiny.answering.loop.busy and not tiny.adapters
        with pytest.raises(EngineError, match="'mira' is not loaded"):
            tiny.answer(requests(1, SHORT, adapters={name: 1.0}))
    tiny.add_adapter(adapter)
    expected = tiny.answer(requests(1, SHORT, adapters={name: 1.0}))[0].raw
    assert heard == expected != tiny.answer(requests(1, SHORT))[0].raw


def test_answers_that_have_begun_keep_their_adapter_to_the_end_and_the_others_are_refused(tiny, adapter):
    name = tiny.add_adapter(adapter)
    alone = tiny.answer(requests(2, adapters={name: 1.0}))
    done: dict = {}
    stream = tiny.stream(requests(2, adapters={name: 1.0}), owner="a")
    begun(stream)
    with crowd(tiny, adapters={name: 1.0}) as came:
        remover = threading.Thread(target=tiny.remove_adapter, args=(name,))
        remover.start()
        for pieces in stream:
            done |= {piece.row: piece.answer for piece in pieces if piece.answer}
        remover.join()
        assert eventually(lambda: came and isinstance(came[-1], EngineError))
        assert "'mira' is not loaded" in str(came[-1])
    assert [done[at].raw for at in (0, 1)] == [one.raw for one in alone]
    assert done[0].hashes == alone[0].hashes and name not in tiny.bank.adapters


def test_parking_waits_for_what_has_begun_and_not_for_the_crowd(tiny, monkeypatch):
    moved = []
    monkeypatch.setattr(tiny, "move", lambda device: moved.append((device, list(tiny.answering.loop.batch.rows))))
    try:
        stream = tiny.stream(requests(1), owner="somebody")
        begun(stream)
        with crowd(tiny) as came:
            tiny.park("The base is away.")
            assert [str(one[0]) for one in moved] == ["cpu"] and moved[0][1] == []
            last = [piece for pieces in stream for piece in pieces][-1]
            assert last.answer.finish in ("stop", "length"), "it had begun"
            assert eventually(lambda: came and str(came[-1]) == "The base is away.")
        with pytest.raises(EngineError, match="The base is away"):
            tiny.answer(requests(1))
    finally:
        tiny.unpark()
    assert tiny.answer(requests(1, SHORT))


def test_whoever_takes_the_lock_comes_between_two_steps(tiny):
    with crowd(tiny) as came:
        for _ in range(5):
            with tiny.lock, tiny.bank.hearing([{}]):  # as a margin is measured
                pass
        assert len(came) < 300 and tiny.answering.loop.busy


def test_whoever_computes_at_length_lets_others_have_as_long(tiny):
    began = time.monotonic()
    tiny.give_way(60)
    assert time.monotonic() - began < 30, "there is nobody"
    with crowd(tiny):
        began = time.monotonic()
        tiny.give_way(0.2)
        assert time.monotonic() - began >= 0.2 and tiny.answering.loop.busy


def test_the_computing_thread_leaves_when_nobody_asks_and_comes_back(tiny):
    tiny.answer(requests(1, SHORT))
    assert eventually(lambda: not tiny.answering.working)
    assert not [thread for thread in threading.enumerate() if thread.name == "answering"]
    assert all(group.mask is None for group in tiny.bank.groups)
    tiny.answer(requests(1, SHORT))


# over the wire


@pytest.fixture(scope="module")
def site(tiny, tmp_path_factory):
    with served(tiny, tmp_path_factory.mktemp("app")) as site:
        yield site


@pytest.fixture
def slow(tiny):
    """A model that takes as long as a real one, so that somebody can leave in mid-answer."""
    hook = tiny.base.model.model.layers[0].register_forward_pre_hook(lambda *_: time.sleep(0.05))
    yield
    hook.remove()


def call(site, name: str, *data) -> str:
    sent = httpx.post(f"{site.address}gradio_api/call/{name}", json={"data": data}, timeout=120)
    return f"{site.address}gradio_api/call/{name}/{sent.raise_for_status().json()['event_id']}"


def told(address: str):
    """(event, what the endpoint yielded) as they come."""
    with httpx.stream("GET", address, timeout=120) as events:
        for line in events.iter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data = json.loads(line.removeprefix("data: "))
                yield event, data[0] if isinstance(data, list) else data  # one value each


LONG_ONES = json.dumps([{"name": f"v{at}", "decoding": {"max_new_tokens": 150}} for at in range(20)])


@pytest.mark.parametrize(
    "name, data", [("ask", ("Who are you?", LONG_ONES, "[]")), ("try_identity", ("You are Mira.", "system", "en", 150))]
)
def test_a_script_that_leaves_is_noticed_and_its_rows_stop(site, tiny, slow, name, data):
    stored = len(answers.recent(site.db, 100))
    stream = told(call(site, name, *data))
    next(stream)
    assert eventually(
        lambda: tiny.answering.loop.busy and tiny.answering.loop.batch.rows
    )  # those of an earlier one may still be leaving
    stream.close()
    left = time.monotonic()
    assert eventually(lambda: not tiny.answering.loop.busy, 60)
    assert time.monotonic() - left < 5, "150 steps of 0.05 s would take longer"
    assert len(answers.recent(site.db, 100)) == stored


def test_an_endpoint_tells_the_place_then_how_far_it_is_and_last_the_answers(site, tiny, slow, monkeypatch):
    monkeypatch.setattr(tiny, "max_rows", 1)
    long = told(call(site, "ask", "Who?", '[{"decoding": {"max_new_tokens": 60}}]', "[]"))
    next(long)
    events = list(told(call(site, "ask", "Who are you?", '[{"decoding": {"max_new_tokens": 5}}]', "[]")))
    list(long)
    assert [{"before_you": 1}] in [data for event, data in events if event == "generating"]
    event, [answer] = events[-1]
    assert event == "complete" and answer["new_tokens"] <= 5 and answers.get(site.db, answer["id"])["raw"] == answer["raw"]
