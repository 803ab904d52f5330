"""One question to all columns: one batch, every answer stored, every failure a sentence."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
from stand_in import StandIn

import identities
from engine.types import EngineError, Piece
from store import answers
from ui import answering
from ui.context import App
from ui.conversation import Page
from ui.variants import Picked
from ui.words import Languages, say


@pytest.fixture
def app(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "FRAME_S", 0.0)
    return App(StandIn(), tmp_path / "mirror.db", identities.FOLDER, (), Languages())


def page_of(*picks: Picked) -> Page:
    page = Page(shown=list(range(len(picks))))
    page.picks[: len(picks)] = picks
    return page


def ask(app, page, question="Who are you?", stop=None):
    return list(answering.ask(app, page, question, "en", stop or threading.Event(), "session"))


def test_all_columns_go_into_one_batch_and_grow_together(app):
    page = page_of(Picked(), Picked(identity="museum-guide"), Picked(identity="BayLing"))
    seen = ask(app, page)
    assert len(app.engine.asked) == 1 and len(app.engine.asked[0]) == 3
    assert [text.split()[0] for text in seen[0]] == ["base", "museum-guide", "BayLing"]
    assert all(len(earlier[0]) <= len(later[0]) for earlier, later in itertools.pairwise(seen))
    stored = answers.recent(app.db, 10)
    assert {row["variant_name"] for row in stored} == {"base", "museum-guide", "BayLing"}
    assert {row["session"] for row in stored} == {"session"}
    assert sorted(turns[-1].stored for turns in page.turns[:3]) == sorted(row["id"] for row in stored)


def test_each_column_carries_its_own_conversation(app):
    page = page_of(Picked(), Picked(identity="BayLing"))
    ask(app, page, "one")
    ask(app, page, "two")
    said = [request.messages for request in app.engine.asked[1]]
    assert [messages[1]["content"] for messages in said] == ["base answers one", "BayLing answers one"]
    assert all(messages[-1]["content"] == "two" for messages in said)


def test_a_failure_keeps_what_was_finished_and_the_next_question_works(app):
    page = page_of(Picked(), Picked(identity="museum-guide"))
    failing = replace(app, engine=StandIn(fail_at=1))
    ask(failing, page)
    assert [turns[-1].error for turns in page.turns[:2]] == ["Out of memory; ask fewer columns."] * 2
    assert failing.engine.closed == 1
    ask(app, page, "again?")
    assert page.turns[0][-1].answer.raw == "base answers again?"
    assert len(app.engine.asked[0][0].messages) == 1, "the failed turn is not part of the conversation"


def test_an_unforeseen_failure_is_a_sentence_too(app, caplog):
    page = page_of(Picked(), Picked())
    ask(replace(app, engine=StandIn(fail_at=0, error=RuntimeError("shape mismatch\nat line 3"))), page)
    assert "RuntimeError: shape mismatch" in page.turns[0][-1].error and "line 3" not in page.turns[0][-1].error
    assert "unforeseen" in caplog.text


def test_a_deleted_identity_fails_before_anything_is_computed(app):
    page = page_of(Picked(), Picked(identity="gone"))
    ask(app, page)
    assert not app.engine.asked and "no identity 'gone'" in page.turns[1][-1].error


def test_answers_that_cannot_be_stored_are_shown_all_the_same(app, tmp_path):
    blocked = tmp_path / "folder.db"
    blocked.mkdir()
    page = page_of(Picked(), Picked())
    news = ask(replace(app, db=blocked), page)
    assert isinstance(news[-1], str) and "folder" in news[-1]
    assert page.turns[0][-1].answer is not None and page.turns[0][-1].stored is None


def test_stop_keeps_and_stores_the_words_so_far(app):
    page, stop = page_of(Picked(), Picked()), threading.Event()
    stream = answering.ask(app, page, "one two three four five", "en", stop, "s")
    next(stream)
    stop.set()
    list(stream)
    assert [turns[-1].answer.finish for turns in page.turns[:2]] == ["stopped", "stopped"]
    assert {row["finish"] for row in answers.recent(app.db, 5)} == {"stopped"}


def test_who_waits_is_told_the_place_and_then_shown_the_words(app, monkeypatch):
    stream, owners = app.engine.stream, []

    def crowded(requests, stop=None, owner=None):
        owners.append(owner)
        yield [Piece(at, "", "", before=2) for at in range(len(requests))]
        yield []
        yield from stream(requests, stop)

    monkeypatch.setattr(app.engine, "stream", crowded)
    page = page_of(Picked(), Picked())
    news = list(answering.ask(app, page, "Who are you?", "en", threading.Event(), "session", "ann"))
    assert news[:2] == [2, 2] and isinstance(news[2], list) and news[-1][0].startswith("base answers")
    assert owners == ["ann"] and page.turns[0][-1].answer.raw == "base answers Who are you?"
    assert "2 before you" in say("en", "before_you", number=2) and "2" in say("zh-CN", "before_you", number=2)


def test_a_request_is_its_logins_else_its_pages_and_a_scripts_its_machines():
    def request(username=None, session_hash=None, host="10.0.0.7"):
        return SimpleNamespace(username=username, session_hash=session_hash, client=SimpleNamespace(host=host))

    assert answering.owner_of(request("ann", "page 1")) == answering.owner_of(request("ann", "page 2")) == "ann"
    assert answering.owner_of(request("ann", "page 1"), script=True) == "ann"
    assert answering.owner_of(request(None, "page 1")) == "page 1"
    assert answering.owner_of(request(None, "call 1"), script=True) == answering.owner_of(request(None, "call 2"), script=True)
    assert answering.owner_of(request(), script=True) != answering.owner_of(request(host="10.0.0.8"), script=True)


def test_leaving_closes_the_stream(app):
    stop = threading.Event()
    stream = answering.ask(app, page_of(Picked(), Picked()), "one two three", "en", stop, "s")
    next(stream)
    stream.close()
    assert stop.is_set() and app.engine.closed == 1


def test_engine_errors_are_never_swallowed_by_frames(app):
    with pytest.raises(EngineError):
        list(
            answering.stream_frames(
                replace(app, engine=StandIn(fail_at=0)),
                [answering.Request([{"role": "user", "content": "x"}])],
                threading.Event(),
            )
        )
