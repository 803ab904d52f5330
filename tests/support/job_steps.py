"""Steps that tests of jobs have in common."""

from __future__ import annotations

import time

import store
from tuning.jobs import queue

FAKE = ["-m", "tests.support.fake_trainer"]


def get(db, id):
    return store.jobs.get(db, id)


def until(db, id, *statuses, tick=queue.tick):
    """Ticks until the job is in one of these states; the deadline only keeps a broken test from hanging."""
    return wait(lambda: (job := get(db, id))["status"] in statuses and job, lambda: tick(db))


def wait(true, meanwhile=lambda: None):
    deadline = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < deadline, "waited in vain"
        meanwhile()
        time.sleep(0.05)
    return found
