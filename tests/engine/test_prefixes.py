"""Prompts that begin alike are computed in part once, and nobody can tell from the answers."""

from __future__ import annotations

import random
import threading

from tiny import Letters

from engine import Decoding, decode, prefixes, sharing


def rows(count: int = 24, shared: int = 60) -> list[decode.Row]:
    """Rows of four variants; those of one variant share their first tokens. Some prompts are nothing but the shared part."""
    numbers = random.Random(0)
    variants = [({}, 3), ({"a": 1.0}, 4), ({"b": 0.5}, 5), ({}, 6)]
    openings = [[first, *(numbers.randrange(3, 500) for _ in range(shared - 1 + 10 * first))] for _, first in variants]
    made = []
    for at in range(count):
        adapters, _ = variants[at % 4]
        ids = openings[at % 4] + [numbers.randrange(3, 500) for _ in range((at * 7) % 30)]
        made.append(decode.Row(at, ids, adapters, Decoding(), 12, frozenset()))
    return made


def run(model, bank, batch, slots=10) -> list[list[int]]:
    for _ in sharing.run(model, Letters(), bank, batch, slots=slots, stop=threading.Event()):
        pass
    return [row.new_ids for row in batch]


def test_answers_are_the_same_as_without_sharing(model, bank, monkeypatch):
    shared = run(model, bank, rows())
    monkeypatch.setattr(prefixes, "WORTH", 10**9)
    assert shared == run(model, bank, rows())
    assert shared[5] == run(model, bank, [rows()[5]])[0]


def test_shared_beginnings_are_computed_once(model, bank, monkeypatch):
    seen, forward = [], model.forward

    def counted(**named):
        seen.append(named["input_ids"].numel())
        return forward(**named)

    monkeypatch.setattr(model, "forward", counted)
    run(model, bank, rows())
    shared = sum(seen)
    seen.clear()
    monkeypatch.setattr(prefixes, "WORTH", 10**9)
    run(model, bank, rows())
    assert shared < sum(seen) * 0.6


def test_only_rows_that_hear_the_same_share(model, bank):
    batch = rows()
    prefixes.share_prefixes(batch)
    assert len({id(row.prefix) for row in batch if row.prefix}) == 4
    assert all(row.prefix.adapters == row.adapters and row.ids[: len(row.prefix.ids)] == row.prefix.ids for row in batch)
    assert all(len(row.prefix.ids) < len(row.ids) for row in batch)


def test_few_or_unlike_prompts_share_nothing(model, bank):
    batch = rows(4)
    prefixes.share_prefixes(batch)
    assert not any(row.prefix for row in batch)
    assert [len(ids) for ids in run(model, bank, batch)] == [12] * 4
