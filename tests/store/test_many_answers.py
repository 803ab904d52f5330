"""What is asked of a store with many answers reads what it is about, and not all the others."""

from __future__ import annotations

import pytest
from probe_runs import many, probe, write_run

import store
from store import answers, runs
from store.runs import Entry


@pytest.fixture
def db(tmp_path):
    return tmp_path / "m.db"


def given(text: str) -> dict:
    return {"variant": {"name": "v"}, "messages": [{"role": "user", "content": "?"}], "raw": text, "shown": text}


def begin(db) -> int:
    return runs.start(db, variants=[{"name": "v"}], probes=[], set_hash="s", total=9)


def test_the_news_of_a_run_are_whole_probes_and_nothing_from_before(db, monkeypatch):
    run, other = begin(db), begin(db)
    runs.record(db, run, [Entry((0, 0, "first", 0), given("a")), Entry((0, 0, "two turns", 0), given("b"))])
    seen, there = runs.news_by_place(db, run, 0)
    assert there == runs.answers_by_place(db, run) and len(there) == 2
    runs.record(db, other, [Entry((0, 0, "first", 0), given("of another run"))])
    runs.record(db, run, [Entry((0, 0, "two turns", 1), given("c")), Entry((0, 0, "failed", 0), problem="too long")])
    read = []
    monkeypatch.setattr(answers, "of_ids", lambda db, ids, whole=answers.of_ids: read.extend(ids) or whole(db, ids))
    last, there = runs.news_by_place(db, run, seen)
    assert [place[2:] for place in there] == [("two turns", 0), ("two turns", 1), ("failed", 0)]
    assert [one.get("raw") for one in there.values()] == ["b", "c", None] and len(read) == 2
    assert there[0, 0, "failed", 0] == {"reused": False, "problem": "too long"}
    assert runs.news_by_place(db, run, last) == (last, {})


def test_the_answers_to_a_probe_in_all_runs_are_the_newest_ones(db):
    written = [write_run(db, [probe("p"), probe("q")], 2, samples=2, say=lambda at, *_: f"variant {at}") for _ in range(3)]
    failed = begin(db)
    runs.record(db, failed, [Entry((0, 0, "p", 0), problem="too long")])
    found = runs.of_probe(db, "p")
    assert [one["run"] for one in found] == [run for run in reversed(written) for _ in range(4)]
    assert [(one["run_variant"], one["sample"]) for one in found[:4]] == [(f"variant {at}", s) for at in (0, 1) for s in (0, 1)]
    assert all(one["shown"] == one["run_variant"] and one["set_name"] == "written" for one in found)
    assert [one["id"] for one in runs.of_probe(db, "p", 5)] == [one["id"] for one in found[:5]]
    assert runs.of_probe(db, "nobody asked") == []


def test_they_are_found_by_an_index(db):
    with store.open(db) as opened:
        asked = []
        opened.conn.set_trace_callback(asked.append)
        runs.of_probe(opened, "p")
        runs.news_by_place(opened, begin(db), 7)
        opened.conn.set_trace_callback(None)
        read = [sql for sql in asked if "run_answers" in sql]
        plans = [row[3] for sql in read for row in opened.execute(f"explain query plan {sql}")]
    assert len(read) == 3 and not [line for line in plans if line.startswith("SCAN") and "run_answers" in line], plans


def test_a_queue_is_counted_to_its_end_whatever_is_done(db):
    write_run(db, many(10), 1)
    items = [{"answer": id, "lang": "en", "variant": "v", "category": "name"} for id in range(1, 11)]
    queue = store.queues.create(db, "ten", items, strategy="all", seed=1)
    order = [item["answer"] for item in store.queues.items(db, queue)]
    for done, answer in enumerate([order[-1], *order[:-1]], 1):
        store.labels.add(db, answer, "An", "formed", queue=queue)
        [row] = store.queues.all_with_counts(db)
        assert (row["items"], row["full"]) == (10, done)
        assert store.queues.progress(db, queue, "Bo")["total"] == 10
