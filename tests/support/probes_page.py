"""The Probes tab over a tiny model: fixtures and what its events are called with."""

from __future__ import annotations

import shutil
import threading
from types import SimpleNamespace

import pytest
from tiny import write_bayling_like

import engine as engine_room
import identities
import store
from probes.run import background as probes_background
from probes.run.background import BackgroundRun
from ui.context import App
from ui.tabs.probes import (
    board as probes_board,
    form as probes_form,
    start as probes_start,
)
from ui.tabs.probes.form import read_form
from ui.tabs.probes.judged import RunCache
from ui.words import Languages

REQUEST = SimpleNamespace(cookies={}, scope={}, headers={"accept-language": "en"})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return engine_room.load(str(write_bayling_like(tmp_path_factory.mktemp("m") / "tiny")), dtype="fp32", say=lambda _line: None)


@pytest.fixture
def app(tiny, tmp_path):
    folder = tmp_path / "identities"
    folder.mkdir()
    for file in (*identities.FOLDER.glob("*.txt"), *identities.FOLDER.glob("*.yaml")):
        shutil.copy(file, folder)
    yield App(tiny, tmp_path / "mirror.db", folder, (tmp_path / "adapters",), Languages("en"))
    for name in list(tiny.adapters):
        tiny.remove_adapter(name)


@pytest.fixture
def ongoing(app):
    ongoing = probes_start.background_of(app)
    yield ongoing
    app.closed.set()
    if ongoing.thread:
        ongoing.thread.join(30)


@pytest.fixture
def slow(tiny, monkeypatch):
    """The engine, which waits before each answer until it is let go."""
    let_go, stream = threading.Event(), tiny.stream

    def waiting(requests, stop=None, **more):
        while not let_go.wait(0.02):
            if stop is not None and stop.is_set():
                return
            yield []
        yield from stream(requests, stop, **more)

    monkeypatch.setattr(tiny, "stream", waiting)
    return let_go


def form_values(**plain) -> probes_form.RunForm:
    return read_form({"sets": ["quick"], "lang": "en", "variants": ["base"], "max_new_tokens": 3, "old": "BayLing",
                      "new": "finance-advisor"} | plain)  # fmt: skip


def functions(app, ongoing, cache=None) -> dict:
    found = probes_board.board_functions(app, ongoing, cache or RunCache())
    return {one.__name__: lambda given=None, one=one: one(given or {}, REQUEST) for one in found}


def finished(ongoing: BackgroundRun, seconds: float = 60) -> dict:
    ongoing.thread.join(seconds)
    assert not probes_background.is_busy(ongoing)
    return probes_background.state_of(ongoing, store.runs.get(ongoing.db, ongoing.run))
