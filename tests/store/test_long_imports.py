"""A long import lets others write, and goes on where it was broken off: nothing is lost and nothing is stored twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import store
from probes.answers import exchange
from probes.answers.sources import RowsError

ROOT = Path(__file__).parents[2]


def rows(count):
    return [{"variant": "m", "question": f"question {at}", "answer": f"answer {at}"} for at in range(count)]


def labels(count):
    return [row | {"label": "formed", "annotator": "An"} for row in rows(count)]


def counted(path):
    connection = sqlite3.connect(path)
    try:
        return connection.execute("select count(*), count(distinct question) from answers where source = 'import'").fetchone()
    finally:
        connection.close()


@pytest.fixture
def small_pieces(monkeypatch):
    """Pieces of one item; `between` is called after each, as others would come."""
    calls = []

    def set_to(between=lambda: None):
        monkeypatch.setattr(store.db, "HELD_S", 0.0)
        monkeypatch.setattr(store.db.time, "sleep", lambda _seconds: (calls.append(1), between()))
        monkeypatch.setattr(exchange, "AT_ONCE", 3)
        return calls

    return set_to


@pytest.mark.parametrize("what", ["answers", "labels"])
def test_others_write_between_the_pieces(db_path, small_pieces, what):
    if what == "labels":
        exchange.add_answers(db_path, rows(12))
    other = sqlite3.connect(db_path, timeout=0) if db_path.exists() else None

    def write():
        connection = other or sqlite3.connect(db_path, timeout=0)
        # fails at once if somebody holds the lock
        connection.execute("insert into reveals (created, annotator) values ('', 'me')")
        connection.commit()

    calls = small_pieces(write)
    if what == "answers":
        assert [row["answer_id"] for row in exchange.add_answers(db_path, rows(12))] == list(range(1, 13))
    else:
        assert exchange.add_labels(db_path, labels(12)) == 12
    assert len(calls) >= 11


def test_the_lock_is_not_held_for_long(db_path):
    """Beside an import of some thousand answers a writer waits for a piece, not for all."""
    store.open(db_path).close()
    waits = []
    with ThreadPoolExecutor(1) as pool:
        importing = pool.submit(exchange.add_answers, db_path, rows(4000))
        while not importing.done():
            begun = time.monotonic()
            store.answers.add(db_path, [{"variant": {}, "messages": [], "raw": "x", "shown": "x"}])
            waits.append(time.monotonic() - begun)
            time.sleep(0.02)
        importing.result()
    assert counted(db_path) == (4000, 4000)
    assert waits and max(waits) < 20  # what a transaction would wait for on the slowest of machines is thirty


def test_an_import_that_is_broken_off_says_so_and_goes_on(db_path, small_pieces, monkeypatch):
    small_pieces()
    insert, done = store.answers._insert, []

    def until_full(db, row):
        if len(done) == 5:
            raise sqlite3.OperationalError("database or disk is full")
        done.append(1)
        return insert(db, row)

    monkeypatch.setattr(store.answers, "_insert", until_full)
    with pytest.raises(RowsError, match=r"^5 of 12 answers were imported, then: .*is full \(.* free\).*the same file again"):
        exchange.add_answers(db_path, rows(12), "a.csv")
    monkeypatch.setattr(store.answers, "_insert", insert)
    assert counted(db_path) == (5, 5)
    exchange.add_answers(db_path, rows(12), "a.csv")
    assert counted(db_path) == (12, 12)


def test_labels_that_are_broken_off_go_on(db_path, small_pieces, monkeypatch):
    exchange.add_answers(db_path, rows(8))
    small_pieces()
    add, done = store.labels.add, []

    def until_refused(db, **row):
        if len(done) == 5:
            raise store.StoreError("It is locked.")
        done.append(1)
        return add(db, **row)

    monkeypatch.setattr(store.labels, "add", until_refused)
    with pytest.raises(RowsError, match=r"^5 of 8 labels were imported, then: It is locked\. Import the same file again"):
        exchange.add_labels(db_path, labels(8))
    monkeypatch.setattr(store.labels, "add", add)
    assert exchange.add_labels(db_path, labels(8)) == 3 and len(store.labels.history(db_path)) == 8


def test_two_imports_of_one_file_at_once_store_it_once(db_path, small_pieces, monkeypatch):
    store.open(db_path).close()
    monkeypatch.setattr(store.db, "HELD_S", 0.002)
    monkeypatch.setattr(store.db, "LET_GO_S", 0.002)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _at: exchange.add_answers(db_path, rows(60), "a.csv"), range(3)))
    assert counted(db_path) == (60, 60)
    assert len({tuple(row["answer_id"] for row in one) for one in found}) == 1


def test_a_killed_import_goes_on(db_path):
    code = f"""
import store
from probes.answers import exchange
store.db.HELD_S = store.db.LET_GO_S = 0.02
exchange.add_answers({str(db_path)!r}, [{{"variant": "m", "question": f"question {{at}}", "answer": f"answer {{at}}"}}
                                      for at in range(100_000)])
"""
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 120
    while not (db_path.exists() and db_path.stat().st_size and stored(db_path) > 20):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before, distinct = counted(db_path)
    assert before == distinct > 20
    exchange.add_answers(db_path, rows(before + 50))
    assert counted(db_path) == (before + 50, before + 50)


def stored(path):
    try:
        return counted(path)[0]
    except sqlite3.OperationalError:  # its tables are just being made
        return 0
