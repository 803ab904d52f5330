"""Which conversations of a run are asked next: the right ones, and found without looking at all of them."""

from __future__ import annotations

import random
from itertools import islice
from types import SimpleNamespace

from probe_runs import many

from engine.types import Answer, Piece, Timings, Variant
from probes.run import line, plan, runner
from probes.run.line import Line, request_size
from probes.run.plan import Conversation, PlannedTurn


def conversations(count: int, draw: random.Random) -> list[Conversation]:
    return [
        Conversation(0, 0, [PlannedTurn((0, 0, str(at), 0), None, "w" * draw.randrange(9)) for _ in range(draw.randrange(1, 4))])
        for at in range(count)
    ]


def test_the_order_is_that_of_everything_sorted_each_time():
    draw = random.Random(3)
    there = conversations(60, draw)
    waiting = Line(there)
    while waiting.open:
        left = [one for one in there if one.turns]
        wanted = sorted(left, key=lambda one: (one.running, bool(one.said), len(one.turns), request_size(one)), reverse=True)
        taken = list(islice(waiting.taken(), 7))
        assert taken == wanted[:7]
        for one in taken:
            if draw.random() < 0.8:  # else it was stopped before it was answered
                one.said.append({"role": "user", "content": one.turns.pop(0).text})
            waiting.moved(one)
    assert not any(one.turns for one in there) and not waiting.unlooked and list(waiting.taken()) == []


class Answering:
    """Answers everything at once, two rows at a time."""

    def __init__(self):
        self.base = SimpleNamespace(name="stand-in", spec="stand-in", hash="b", number_format="float32", named=str)
        self.max_rows, self.adapters = 4, {}

    def resolve(self, variant):
        return SimpleNamespace(hashes={"base": "b", "dtype": "float32", "format": "f", "adapters": {}})

    def stream(self, requests, owner=None):
        for first in range(0, len(requests), 2):
            yield [Piece(at, "", "", self.answer(requests[at])) for at in range(first, min(first + 2, len(requests)))]

    def answer(self, request):
        timings = Timings(0.0, 0.1, 0.2)
        return Answer(request.variant, "Yes.", "Yes.", "p", "f", "stop", 3, 2, -0.5, 0, timings, self.resolve(None).hashes)


def test_a_run_looks_at_each_conversation_a_few_times_however_many_there_are(monkeypatch):
    looks = []
    monkeypatch.setattr(line, "need", lambda one, need=line.need: looks.append(one) or need(one))
    probes, variants = many(40), [Variant(f"v{at}") for at in range(20)]
    *_, last = runner.run(Answering(), variants, probes, at_once=8)
    assert (last.status, last.done) == ("done", 800)
    assert len(looks) <= 2 * 800


def test_the_same_request_waits_for_the_one_that_is_asked(tmp_path):
    twins = [Variant("one"), Variant("two")]
    *_, last = runner.run(Answering(), twins, many(6), db=tmp_path / "m.db", at_once=12)
    assert (last.done, last.reused) == (12, 6)


def test_what_was_planned_is_all_asked():
    planned = plan.plan_conversations(many(10), 3, 2)
    assert list(Line(planned).open) == planned and len(list(Line(planned).taken())) == 60
