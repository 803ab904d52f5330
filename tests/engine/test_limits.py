"""What one request may hold: said in one sentence, in both languages, and far above what people need."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st
from probe_runs import probe
from stand_in import StandIn, answer
from tiny import user

import identities
import store
from engine import Decoding, EngineError, Piece, Request, Variant, limits
from engine.limits import SENTENCES, TooMuch
from probes import second_opinion
from probes.run.runner import run
from ui import answering
from ui.api import chat
from ui.context import App, sentence
from ui.conversation import Page
from ui.words import WORDS, Languages

SHORT = Decoding(max_new_tokens=4)


@pytest.fixture
def app(tmp_path):
    store.open(tmp_path / "mirror.db").close()
    return App(StandIn(), tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages())


SAID = [{"role": role, "content": "x"} for _ in range(limits.MESSAGES // 2 + 1) for role in ("user", "assistant")]
HUGE = "x" * (limits.CHARACTERS // 2)
OVER = {
    "limit_rows": [Request(user("q"))] * (limits.ROWS + 1),
    "limit_messages": [Request([*SAID, *user("q")])],
    "limit_characters": [Request(user("x" * (limits.CHARACTERS + 1)))],
    "limit_all_messages": [Request([*SAID[:20_000], *user("q")])] * 101,
    "limit_all_characters": [Request(user(HUGE))] * 51,
    "limit_new_tokens": [Request(user("q"), Variant(decoding=Decoding(max_new_tokens=10**30)))],
}


@pytest.mark.parametrize("key", OVER)
def test_a_request_that_is_too_much_is_one_sentence_before_anything_is_computed(tiny, monkeypatch, key):
    monkeypatch.setattr(tiny.answering, "news", None)  # nothing gets there
    for ask in (tiny.answer, tiny.outcomes, tiny.stream):
        with pytest.raises(TooMuch) as said:
            ask(OVER[key])
        assert said.value.key == key and f"{said.value.most:,}" in str(said.value) and "\n" not in str(said.value)
    assert sentence("en", said.value) == str(said.value)
    chinese = sentence("zh-CN", said.value)
    assert chinese != str(said.value) and f"{said.value.most:,}" in chinese and f"{said.value.count:,}" in chinese


@pytest.mark.parametrize("key", ["limit_messages", "limit_characters", "limit_new_tokens"])
def test_a_preview_has_the_same_bounds(tiny, key):
    with pytest.raises(TooMuch):
        tiny.render(OVER[key][0])


def test_an_identity_counts(tiny):
    with pytest.raises(TooMuch, match="4,000,001 characters"):
        tiny.answer([Request(user("q"), Variant(prompt="x" * limits.CHARACTERS))])


def test_the_page_says_what_the_engine_says():
    assert {key: WORDS["en"][key] for key in SENTENCES} == SENTENCES
    assert all("{count:,}" in WORDS["zh-CN"][key] and "{most:,}" in WORDS["zh-CN"][key] for key in SENTENCES)


def test_what_people_and_probe_sets_need_is_below_every_bound():
    probes_and_answers = [one for _ in range(1500) for one in (*user("x" * 400), {"role": "assistant", "content": "x" * 900})]
    limits.check([Request([*probes_and_answers, *user("q")])] * 32)
    limits.check([Request(user("q"))] * 1500)
    assert limits.VARIANTS >= 200


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "input", "x"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_messages_of_any_shape_are_answered_or_refused(tiny, message):
    messages = [message, *user("q")] if not isinstance(message, list) else [*message, *user("q")]
    try:
        assert tiny.answer([Request(messages, Variant(decoding=SHORT))])
    except EngineError as error:
        assert "\n" not in str(error)


def test_an_engine_of_many_rows_is_asked_in_pieces(tiny, monkeypatch):
    """A run hands over no more than one request may hold, whatever the batch's size."""
    monkeypatch.setattr(limits, "ROWS", 5)
    monkeypatch.setattr(tiny, "max_rows", 32)
    probes = [probe(str(at)) for at in range(12)]
    variant = Variant(decoding=Decoding(max_new_tokens=2))
    last = list(run(tiny, [variant], probes))[-1]
    assert (last.status, last.done, last.failed) == ("done", 12, 0)


def test_a_judge_of_1500_prompts_is_asked_in_pieces():
    class Judge:
        pieces: list[int] = []  # noqa: RUF012

        def answer(self, requests):
            self.pieces.append(len(requests))
            return [answer(request.messages[0]["content"]) for request in requests]

    judge = Judge()
    asked = [f"prompt {at}" for at in range(1500)]
    assert second_opinion.ask_base(judge, asked) == asked
    assert sum(judge.pieces) == 1500 and max(judge.pieces) <= limits.ROWS // 4


def ask_of(app: App):
    """The endpoint itself, as Gradio registers it."""
    found = {}
    original = chat.gr.api
    chat.gr.api = lambda endpoint, **_named: found.setdefault(endpoint.__name__, endpoint)
    try:
        chat.build_api(app)
    finally:
        chat.gr.api = original
    return found["ask"]


class Half(StandIn):
    """Every variant called "mad" computes no numbers."""

    def outcomes(self, requests):
        return [
            EngineError("Variant 'mad' has no answer.") if one.variant.name == "mad" else answer("I am.", variant=one.variant)
            for one in requests
        ]

    def stream(self, requests, stop=None, owner=None):
        yield [Piece(0, "", "", before=2)]
        for at, request in enumerate(requests):
            if request.variant.name == "mad" or request.variant.decoding.temperature:
                yield [Piece(at, "I", "I"), Piece(at, "I", "I", None, "Variant 'mad' has no answer.")]
            else:
                yield [Piece(at, "I am.", "I am.", answer("I am.", variant=request.variant))]


def test_the_api_says_how_many_variants_it_takes_and_answers_for_those_that_can(app):
    endpoint = ask_of(app)

    def ask(question: str, variants: list) -> list:
        script = SimpleNamespace(username=None, client=None, headers={}, cookies={})
        *_, last = endpoint(script, question, variants)
        return last

    with pytest.raises(chat.gr.Error, match="goes to 257 variants, at most 256"):
        ask("q", [{}] * 257)
    object.__setattr__(app, "engine", Half())
    kind, mad = ask("q", [{"name": "kind"}, {"name": "mad"}])
    assert kind["raw"] == "I am." and kind["id"] is not None
    assert mad == {"name": "mad", "problem": "Variant 'mad' has no answer."}
    with pytest.raises(chat.gr.Error, match="'mad' has no answer"):
        ask("q", [{"name": "mad"}])


def test_a_column_that_fails_has_its_sentence_and_the_others_their_answers(app):
    object.__setattr__(app, "engine", Half())
    page = Page(shown=[0, 1])
    page.picks[1] = page.picks[1].__class__(temperature=0.5)
    assert list(answering.ask(app, page, "q", "en", threading.Event(), "s"))
    left, right = page.turns[0][0], page.turns[1][0]
    assert left.answer.raw == "I am." and left.error == "" and left.stored is not None
    assert right.answer is None and right.error == "Variant 'mad' has no answer." and right.stored is None


def test_a_run_records_a_row_that_fails_alone_and_goes_on(tmp_path):
    class Engine(Half):
        max_rows = 4

        def __init__(self):
            super().__init__()
            self.base.hash, self.base.number_format = "h", "float32"
            self.base.named = lambda name: name

        def resolve(self, variant):
            return SimpleNamespace(hashes={})

    db = tmp_path / "mirror.db"
    store.open(db).close()
    probes = [probe(str(at)) for at in range(3)]
    events = list(run(Engine(), [Variant("kind"), Variant("mad")], probes, db=db))
    assert (events[-1].status, events[-1].done, events[-1].failed) == ("done", 6, 3)
    replies = [reply for event in events for reply in event.new]
    assert {reply.problem for reply in replies} == {None, "Variant 'mad' has no answer."}
    assert sum(reply.answer is not None for reply in replies) == 3
