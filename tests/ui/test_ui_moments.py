"""The moments of a training on its page: what is drawn of them, asked together, kept; and the dial."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_base import write_rows, write_tiny_base

import store
from engine import EngineError, load
from store import answers as stored_answers
from tuning.train import moments, run as training_run
from tuning.train.moments import About, Line, Moment
from tuning.train.settings import Settings
from tuning.train.speaking import Asked, Question
from ui.context import App
from ui.tabs.chat import picker
from ui.tabs.finetune import moments as events, moments_view
from ui.words import Languages

REQUEST = SimpleNamespace(username=None, session_hash="page", client=None, headers={}, cookies={})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("spoken")
    write_tiny_base(root / "base")
    settings = Settings(
        base_model=str(root / "base"), data_path=str(write_rows(root / "rows.json")), output_dir=str(root / "adapters" / "otter"),
        identity="finance-advisor", prompt_template_name="bayling", batch_size=4, max_steps=2, learning_rate=5e-3, dtype="fp32",
        device="cpu", moments=2, moments_share=10,
    )  # fmt: skip
    asked = Asked((Question("who", "trained", "name", "en", "Who are you?"),), lambda _question, _said: "formed")
    training_run.run(settings, say=lambda _: None, questions=lambda _settings, _langs: asked)
    return root


@pytest.fixture
def app(trained, tmp_path, monkeypatch):
    engine = load(str(trained / "base"), format="bayling", device="cpu", dtype="fp32", say=lambda _: None)
    db, shelf = tmp_path / "mirror.db", tmp_path / "shelf"
    store.open(db).close()
    monkeypatch.setattr(events, "moments_of", lambda _app, _chosen: (JOB, *moments.read_all(trained / "adapters" / "otter")))
    monkeypatch.setattr(events.roles, "record_deed", lambda *_: None)
    monkeypatch.setattr(events.training, "name_problems", lambda _app, _name: [])
    return App(engine, db, tmp_path, (shelf,), Languages("en"))


ACTS = SimpleNamespace(running={})
JOB = {"name": "otter", "status": "done", "settings": {}}


def test_all_moments_answer_one_question_and_their_adapters_go_again(app):
    offered: list[list[str]] = []
    for html in events.ask_moments(app, ACTS, REQUEST, "1", "Who are you?"):
        offered.append([value for _, value in picker.choices(app, "en")["adapter"]])
        assert "mt-failed" not in html
    assert html.count("<tr>") == 4 and "After step 1 of 2" in html and "Before the first step" in html  # a head, the base, two
    assert all(names == [""] for names in offered) and not app.engine.adapters  # nobody else was offered them
    assert len(stored_answers.recent(app.db, 10, "moments")) == 3
    [said] = events.ask_moments(app, ACTS, REQUEST, "1", "  ")
    assert "The question is empty" in said


def test_what_is_asked_for_a_page_that_is_left_ends_with_it(app, monkeypatch):
    """The question to all moments, the dial, the map; another page that is left changes nothing."""
    question = {"question": "Who are you?", "group": "trained", "lang": "en"}
    monkeypatch.setattr(events, "identity_asked", lambda _job: ([question], lambda _asked, _said: "formed"))
    stream, stops = events.stream_frames, []

    def watched(app, requests, stop, *more, **named):
        stops.append(stop)
        yield [""] * len(requests), [None] * len(requests), 0  # as at the beginning of an answer
        assert stop.is_set(), "goes on though its page is left"
        yield from stream(app, requests, stop, *more, **named)

    monkeypatch.setattr(events, "stream_frames", watched)
    for frames in (events.ask_moments(app, ACTS, REQUEST, "1", "Who are you?"), events.turn_dial(app, ACTS, REQUEST, "1", 1)):
        next(frames)
        assert list(ACTS.running) == ["page"]
        events.leave(ACTS, "another")
        assert not stops[-1].is_set()
        events.leave(ACTS, "page")
        assert all("mt-failed" not in html for html in frames)
        assert not ACTS.running and not app.engine.adapters
    assert len(stops) == 2 and not any(row["raw"] for row in stored_answers.recent(app.db, 10, "moments"))
    monkeypatch.setattr(events, "mean_margins", lambda *_: [0.0] * len(events.HEAT_STRENGTHS))
    monkeypatch.setitem(JOB, "settings", {"identity": "finance-advisor", "margin_against": "BayLing"})
    frames = events.draw_heat(app, ACTS, REQUEST, "1")
    assert all("mt-failed" not in html for html in (next(frames), next(frames)))
    events.leave(ACTS, "page")
    assert list(frames) == [] and not ACTS.running and not app.engine.adapters


def test_a_moment_is_kept_as_an_adapter_of_its_own(app):
    said, _ = events.keep_moment(app, REQUEST, "1", 1, " young ")
    assert "Kept as young" in said and app.engine.adapters["young"].card["name"] == "young"
    assert app.engine.adapters["young"].card["steps"] == 1
    with pytest.raises(EngineError, match="already"):
        events.keep_moment(app, REQUEST, "1", 1, "young")
    with pytest.raises(EngineError, match="it is the base itself"):
        events.keep_moment(app, REQUEST, "1", 0, "base")


def test_a_moment_opens_as_a_column(app):
    opened = []
    events.open_moment(app, (), lambda page, adapter, lang: opened.append(adapter), REQUEST, None, "1", 2)
    assert opened == ["otter-step-2"] and list(app.engine.adapters) == ["otter-step-2"]


def test_what_is_drawn_says_what_changed_and_is_escaped():
    def moment(step, answer):
        line = Line(probe_id="a", group="trained", category="name", lang="en", question="<b>?", answer=answer, raw=answer)
        about = About(step=step, of=8, asked=1, questions=16, why="less", formed={"en": [1, 1]}, margin={"margin": 0.5})
        return Moment(Path(), about, (line.model_copy(update={"suggestion": "formed"}),), True)

    for lang, after in (("en", "After step 4 of 8"), ("zh-CN", "第 4 步之后，共 8 步")):
        html = moments_view.said_html(lang, [moment(0, "I am <i>it</i>"), moment(4, "Finn"), moment(8, "Finn")], ["one is torn"])
        assert after in html and html.count("mt-changed") == 1 and "<i>" not in html and "<b>" not in html
        assert html.count("<section") == 3 and "one is torn" in html


def test_the_dial_says_where_a_question_flips():
    strengths = (0.0, 0.5, 1.0, 1.5)
    assert moments_view.flip(strengths, ["forgotten", "formed", "formed", "confusion"]) == 0.5
    assert moments_view.flip(strengths, ["formed", "forgotten", "formed", "formed"]) == 1.0
    assert moments_view.flip(strengths, ["formed", "formed", "confusion", "formed"]) is None
    assert moments_view.flip((0.0, 0.9, 1.05, 1.2), ["forgotten", "forgotten", "formed", "broken"]) == 1.05
    questions = [{"question": "Who?"}, {"question": "你是谁？"}]
    grid = {(at, place): ("said", "formed" if place >= 1 + at else "forgotten") for at in range(2) for place in range(4)}
    html = moments_view.dial_html("en", questions, strengths, grid)
    assert "From strength 1 on" in html and html.count("mt-cell-formed") == 5
    assert "7 of 8 answers." in moments_view.dial_html("en", questions, strengths, dict(list(grid.items())[:7]))
