"""An open page costs the server little, and a page that is gone costs nothing after a while."""

from __future__ import annotations

import asyncio

import gradio as gr
import httpx
import pytest
from label_page import PageEngine
from served import served

from ui import gradio_sessions
from ui.gradio_sessions import GONE, GONE_S, KEPT, KEPT_S, Memory
from ui.saved_pages import own_key


@pytest.fixture(scope="module")
def blocks():
    with gr.Blocks() as demo:
        demo.state = gr.State([])
        demo.text = gr.HTML("<p>one</p>")
        demo.choice = gr.Dropdown(["a"], value="a")
        demo.number = gr.Number(1, minimum=0, maximum=3)
    return demo


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def memory(blocks):
    memory = Memory(Clock())
    memory.set_blocks(blocks)
    return memory


def test_states_and_choices_are_a_sessions_own_and_the_rest_is_shared(blocks, memory):
    mine, other = memory["mine"], memory["other"]
    mine[blocks.state._id].append("said")
    assert mine[blocks.state._id] == ["said"] and other[blocks.state._id] == []
    mine[blocks.choice._id] = gr.Dropdown(["a", "b"], render=False)
    mine[blocks.number._id] = gr.Number(minimum=0, maximum=9, render=False)
    mine[blocks.text._id] = gr.HTML("<p>two</p>", render=False)
    assert [value for _, value in mine[blocks.choice._id].choices] == ["a", "b"]
    assert [value for _, value in other[blocks.choice._id].choices] == ["a"]
    assert (mine[blocks.number._id].maximum, other[blocks.number._id].maximum) == (9, 3)
    mine[blocks.choice._id] = gr.Dropdown(["a"], render=False)  # as it was built: shared again
    mine[blocks.number._id] = gr.Number(minimum=0, maximum=3, render=False)
    assert mine[blocks.choice._id] is blocks.choice
    assert mine[blocks.text._id] is blocks.text  # what it shows is with the browser
    assert blocks.choice._id in mine and 10**9 not in mine and mine.get(10**9, "none") == "none"


def test_the_browser_is_told_all_that_an_event_changes(memory):
    """Gradio tells it what the session's component says, once that is made anew: also what the session does not keep."""
    with gr.Blocks() as demo:
        box, choice, text = gr.Column(), gr.Dropdown(["a"]), gr.HTML()
        button = gr.Button()

        def act():
            classes = {"elem_classes": ["away"], "visible": False}
            return gr.update(**classes), gr.update(choices=["b"], label="Which?", interactive=False), gr.update(elem_id="x")

        button.click(act, None, [box, choice, text])
    memory.set_blocks(demo)
    for _ in range(2):
        told = asyncio.run(demo.postprocess_data(demo.fns[0], act(), memory["mine"]))
        assert (told[0]["elem_classes"], told[0]["visible"]) == (["away"], False)
        assert (told[1]["choices"], told[1]["label"], told[1]["interactive"]) == ([["b", "b"]], "Which?", False)
        assert told[2]["elem_id"] == "x"


def test_who_is_gone_is_forgotten_and_who_is_there_is_not(memory):
    path = gradio_sessions.HEARTBEAT + "here"
    with memory.alive(path):
        memory["here"], memory["gone"]
        memory.clock.now += KEPT_S + 1
        memory.delete_all_expired_state()
        assert "here" in memory and "gone" not in memory
    memory.clock.now += GONE_S - 1  # a laptop that slept through the night: its page opens no second heartbeat
    for number in range(1000):
        memory[f"call-{number}"]
    memory.delete_all_expired_state()
    assert "here" in memory
    memory.clock.now += 2 + KEPT_S
    memory.delete_all_expired_state()
    assert "here" not in memory and not memory.used and not memory.open and not memory.pages


def test_of_the_pages_that_are_gone_the_newest_are_kept(memory):
    for number in range(GONE + 50):
        with memory.alive(f"{gradio_sessions.HEARTBEAT}{number}"):
            memory[str(number)]
    memory.delete_all_expired_state()
    assert list(memory.session_data) == [str(number) for number in range(50, GONE + 50)]
    with memory.alive(gradio_sessions.HEARTBEAT + "never asked for anything"):
        pass
    assert memory.pages == set(memory.session_data)


def test_calls_of_scripts_do_not_add_up_nor_push_pages_out(memory):
    with memory.alive(gradio_sessions.HEARTBEAT + "page"):
        memory["page"]
        for number in range(1000):
            memory[f"call-{number}"]
        assert "page" in memory and len(memory.session_data) <= KEPT + 2


def test_pages_have_a_bound_too(memory, monkeypatch):
    monkeypatch.setattr(gradio_sessions, "MOST", 20)
    opened = [memory.alive(f"{gradio_sessions.HEARTBEAT}{number}") for number in range(40)]
    for number, page in enumerate(opened):
        page.__enter__()
        memory[str(number)]
    assert len(memory.session_data) == 20 and "39" in memory
    for page in opened:
        page.__exit__(None, None, None)


def test_the_served_page_keeps_its_sessions_there(tmp_path):
    with served(PageEngine(), tmp_path / "served", "en") as site:
        address = site.address.rstrip("/")
        for _ in range(3):
            event = httpx.post(f"{address}/gradio_api/call/identities", json={"data": []}).json()["event_id"]
            assert "event: complete" in httpx.get(f"{address}/gradio_api/call/identities/{event}", timeout=30).text
        memory = site.demo.app.state_holder
        assert isinstance(memory, Memory) and memory is site.demo.state_holder and 1 <= len(memory.session_data) <= 4
        with httpx.stream("GET", f"{address}/gradio_api/heartbeat/mine") as heart:
            assert heart.status_code == 200
            next(heart.iter_raw())
            assert memory.open["mine"] == 1


def test_a_conversation_is_its_persons_though_two_share_a_browser():
    mine = own_key("", "An")
    assert own_key(mine, "An") == mine and len({own_key("", "An"), own_key("", "An")}) == 2
    for known, who in ((mine, "Bo"), (mine, None), (mine, ""), (None, "An"), (["An/x"], "An"), ("a", "An")):
        assert own_key(known, who) != known
    assert own_key(own_key("", None), None) and own_key(own_key("", None), "An").startswith("An/")
