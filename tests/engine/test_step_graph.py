"""Recorded decode steps: the same words as the usual way, whoever joins or leaves, and the usual way wherever they fail.

Without a GPU a "graph" here runs the recorded computation anew at every replay, over the same fixed tensors; what CUDA itself
makes of it is checked on a GPU by `python -m bench.gpu`.
"""

from __future__ import annotations

import copy
import random
import threading

import pytest
import torch
from tiny import Letters, tiny_llama, write_adapter

from engine import Decoding, EngineError, decode, step_graph
from engine.adapters import read_adapter
from engine.bank import Bank
from engine.fairness import Ask
from engine.sharing import Loop
from engine.step_graph import StepGraphs, length_bucket, rows_bucket

VARIANTS = [{}, {"a": 1.0}, {"b": 0.5}, {"a": 0.6, "b": 0.6}]


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    model = tiny_llama()
    bank = Bank(model)
    for seed, name in enumerate("ab", 1):
        folder = write_adapter(tmp_path_factory.mktemp("adapters") / name, copy.deepcopy(model), seed=seed)
        bank.add(name, read_adapter(folder)[1])
    return bank


class Recorder:
    """In CUDA's place: a replay sets the masks as they stood while recording, computes, and puts them back."""

    def __init__(self, bank: Bank) -> None:
        self.bank, self.recorded, self.replays = bank, 0, 0

    def __call__(self, forward, advance, pool):
        self.recorded += 1
        fixed = [(group.mask, group.heard) for group in self.bank.groups]
        logits = forward().clone()

        def replay() -> None:
            self.replays += 1
            before = [(group.mask, group.heard) for group in self.bank.groups]
            self.put(fixed)
            logits.copy_(forward())
            advance()
            self.put(before)

        return replay, logits

    def put(self, masks) -> None:
        for group, (mask, heard) in zip(self.bank.groups, masks, strict=True):
            group.mask, group.heard, group.input, group.result = mask, heard, None, None


def make_rows(count: int, new: int = 40) -> list[decode.Row]:
    """Prompts and answers of many lengths, so that rows leave one by one; some sample."""
    rows = []
    for seed in range(count):
        numbers = random.Random(seed)
        ids = [numbers.randrange(3, 500) for _ in range(numbers.randrange(3, 40))]
        decoding = Decoding(temperature=0.8, seed=seed) if seed % 3 == 2 else Decoding()
        rows.append(decode.Row(seed, ids, VARIANTS[seed % 4], decoding, new - 3 * seed % 17, frozenset()))
    return rows


def answers(bank: Bank, graphs: StepGraphs | None, waves=((0, 5), (5, 9)), slots: int = 6) -> list[list[int]]:
    """The second wave comes while the first is being answered."""
    loop = Loop(bank.model, Letters(), bank, lambda _longest: slots)
    loop.batch.graphs = graphs
    rows, errors = make_rows(9), []
    for first, last in waves:
        loop.add(Ask(rows[first:last], first, threading.Event(), ended=errors.append))
        for _ in range(12):
            loop.turn()
    while loop.busy:
        loop.turn()
    assert errors == [None] * len(waves)
    return [row.new_ids for row in rows]


@pytest.fixture
def narrow(monkeypatch):
    """Buckets so small that a batch goes through several."""
    monkeypatch.setattr(step_graph, "length_bucket", lambda columns: -(-columns // 24) * 24)


def test_the_words_are_the_same_while_rows_come_and_go(bank, narrow):
    record = Recorder(bank)
    graphs = StepGraphs(bank.model, bank, record)
    assert answers(bank, graphs) == answers(bank, None)
    assert not graphs.why_not
    assert 3 <= record.recorded < record.replays / 3  # several shapes, each used again


def test_a_shape_that_was_recorded_is_not_recorded_again(bank):
    record = Recorder(bank)
    graphs = StepGraphs(bank.model, bank, record)
    first = answers(bank, graphs, waves=((0, 4), (4, 4)))
    recorded = record.recorded
    assert answers(bank, graphs, waves=((0, 4), (4, 4))) == first
    assert record.recorded == recorded


def test_an_adapter_that_comes_lays_the_weights_elsewhere_and_steps_are_recorded_anew(bank, tmp_path):
    record = Recorder(bank)
    graphs = StepGraphs(bank.model, bank, record)
    expected = answers(bank, graphs)
    before = record.recorded
    bank.add("late", read_adapter(write_adapter(tmp_path / "late", tiny_llama(), seed=7))[1])
    try:
        assert answers(bank, graphs) == expected
        assert record.recorded > before
    finally:
        bank.remove("late")


def test_what_nobody_hears_is_another_shape(bank):
    record = Recorder(bank)
    graphs = StepGraphs(bank.model, bank, record)

    def told(variant) -> list[int]:
        loop = Loop(bank.model, Letters(), bank, lambda _longest: 4)
        loop.batch.graphs = graphs
        row = decode.Row(0, [5, 6, 7], variant, Decoding(), 8, frozenset())
        loop.add(Ask([row], "one", threading.Event()))
        while loop.busy:
            loop.turn()
        return row.new_ids

    base, adapted = told({}), told({"a": 1.0})
    assert base != adapted
    assert told({}) == base
    assert told({"a": 1.0}) == adapted
    assert record.recorded == 2


def fail(_forward, _advance, _pool):
    raise RuntimeError("operation not permitted when stream is capturing")


def test_a_step_that_cannot_be_recorded_is_computed_the_usual_way_and_the_log_says_why(bank, caplog):
    graphs = StepGraphs(bank.model, bank, fail)
    assert answers(bank, graphs) == answers(bank, None)
    assert "stream is capturing" in graphs.why_not
    assert caplog.text.count("without CUDA graphs") == 1
    assert graphs.arena is None


def test_a_recording_that_computes_something_else_is_not_used(bank, caplog):
    record = Recorder(bank)

    def differ(forward, advance, pool):
        return record(lambda: forward() * 1.1, advance, pool)

    graphs = StepGraphs(bank.model, bank, differ)
    assert answers(bank, graphs) == answers(bank, None)
    assert "logits differ" in graphs.why_not


def test_without_room_for_the_buckets_steps_are_computed_the_usual_way(bank, monkeypatch):
    def full(_self, _batch, _shape):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(StepGraphs, "place", full)
    graphs = StepGraphs(bank.model, bank, Recorder(bank))
    assert answers(bank, graphs) == answers(bank, None)
    assert not graphs.why_not  # a smaller batch may fit


def test_a_failing_batch_gives_the_memory_back_and_the_next_is_answered(bank):
    graphs = StepGraphs(bank.model, bank, Recorder(bank))
    loop = Loop(bank.model, Letters(), bank, lambda _longest: 4)
    loop.batch.graphs = graphs
    ended = []
    rows = make_rows(3)
    loop.add(Ask(rows[:2], "first", threading.Event(), ended=ended.append))
    for _ in range(6):
        loop.turn()
    assert graphs.arena is not None
    loop.batch.next_ids = [10**6] * len(loop.batch.rows)  # no such token
    loop.turn()
    assert isinstance(ended[0], Exception)
    assert graphs.arena is None
    loop.add(Ask(rows[2:], "second", threading.Event(), ended=ended.append))
    while loop.busy:
        loop.turn()
    assert ended[1] is None
    assert len(rows[2].new_ids) == rows[2].max_new_tokens
    loop.end(EngineError("The test is over."))


def test_buckets_hold_what_they_are_for_and_waste_little():
    for rows in range(1, 65):
        assert rows <= rows_bucket(rows) <= max(rows * 3 / 2, rows + 1)
    for columns in range(1, 9000, 37):
        assert columns <= length_bucket(columns) < columns + 512
