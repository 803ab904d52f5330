"""A cell's training is a job: waited for, stopped with its checkpoint, gone on with, and believed only when it is done.

The trainer is the one that stands in for jobs' tests; that adapters are really trained is shown by the other files here.
"""

from __future__ import annotations

import signal
from types import SimpleNamespace

import pytest
from job_steps import FAKE

import store
from experiments import making
from experiments.making import Making
from experiments.places import ExperimentError, Places
from experiments.session import Session, Stopped
from tuning.dataset.rows import pair
from tuning.jobs import queue, watcher
from tuning.train.settings import Settings


@pytest.fixture
def cell(tmp_path, monkeypatch):
    """train(*flags of the fake trainer) -> folder; heard: what was told on the way."""
    places = Places(tmp_path / "out", tmp_path / "mirror.db", tmp_path / "adapters")
    folder = places.adapters / "one"
    settings = Settings(data_path=str(places.data("k")), output_dir=str(folder))
    one = Making([pair("Who are you?", "Mira.")], settings, "k", folder)
    session = Session(None, places, None, [])
    monkeypatch.setattr(making, "TICK_S", 0.05)
    about = SimpleNamespace(places=places, folder=folder, session=session, heard=[], on_step=lambda share: None, asked=[])

    def train(*flags: str):
        def enqueue(db, settings, **more):
            about.asked.append(settings)
            return queue.enqueue_command(db, [*FAKE, "--output_dir", str(folder), *flags], folder, **more)

        def tell(status, share, **more):
            about.heard.append((status, share))
            about.on_step(share)

        monkeypatch.setattr(queue, "enqueue", enqueue)
        return making.train(session, one, tell)

    about.train = train
    yield about
    for job in store.jobs.active(places.db):
        watcher.send_all(job, signal.SIGKILL)


def test_a_cell_is_trained_once(cell):
    assert cell.train() == cell.folder and cell.heard[-1] == ("training", 1.0)
    assert cell.places.data("k").read_text().count("Mira") == 1
    assert not list(cell.folder.glob("checkpoint-*"))
    cell.train()
    assert len(cell.asked) == 1 and len(store.jobs.recent(cell.places.db)) == 1


def test_a_training_that_is_stopped_goes_on_from_its_checkpoint(cell):
    cell.on_step = lambda share: share > 0.3 and cell.session.stop.set()
    with pytest.raises(Stopped):
        cell.train("--pause", "0.1")
    [job] = store.jobs.recent(cell.places.db)
    assert job["status"] == "stopped" and 0 < job["step"] < 8
    cell.session.stop.clear()
    cell.on_step = lambda share: None
    cell.train()
    [job] = store.jobs.recent(cell.places.db)
    assert job["status"] == "done" and job["attempt"] == 2 and job["resumed_from"] > 0


def test_a_training_that_dies_is_tried_again(cell):
    killed = []

    def kill(share):
        [job] = store.jobs.recent(cell.places.db)
        if share > 0.3 and not killed:
            killed.append(job["pid"])
            watcher.send_all(job, signal.SIGKILL)

    cell.on_step = kill
    cell.train("--pause", "0.1")
    [job] = store.jobs.recent(cell.places.db)
    assert killed and job["attempt"] == 2 and job["attempts"][0]["status"] == "died"


def test_a_training_that_fails_says_why(cell):
    with pytest.raises(ExperimentError, match=r"failed: The loss of step 1 is nan"):
        cell.train("--fail", "1")


def test_a_folder_of_another_database_is_gone_on_with(cell):
    cell.session.stop.clear()
    cell.on_step = lambda share: share > 0.3 and cell.session.stop.set()
    with pytest.raises(Stopped):
        cell.train("--pause", "0.1")
    cell.session.stop.clear()
    cell.session.places = Places(cell.places.out, cell.places.out.parent / "other.db", cell.places.adapters)
    cell.on_step = lambda share: None
    cell.train()
    assert cell.asked[-1].resume_from_checkpoint == "last"
