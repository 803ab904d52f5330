"""What the browser gets of the page at first, what comes with a tab when that is opened, and with a box when that is seen."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from label_page import PageEngine
from starlette.testclient import TestClient

import identities
import store
from ui import app as program, assets
from ui.context import App
from ui.late_tabs import LateBlocks, Place
from ui.tab_loading import FILLED, notice
from ui.words import Languages

TABS = ("probes", "label", "results", "identity", "finetune", "experiment", "adapters")
VISITOR = SimpleNamespace(session_hash="s", headers={}, cookies={}, username=None)


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> LateBlocks:
    folder = tmp_path_factory.mktemp("page")
    store.open(folder / "mirror.db").close()
    return program.build(App(PageEngine(), folder / "mirror.db", identities.FOLDER, (folder / "adapters",), Languages("en")))


def test_the_page_and_its_late_tabs_together_are_the_whole(demo):
    config = demo.get_config_file()
    page = config["page"][""]
    parts = list(demo.late.values())
    assert {demo.blocks[one["render_id"]].elem_id for one in parts} == {f"tab-{name}" for name in TABS} | {"later-columns"}
    late = {one["id"] for part in parts for one in part["components"]}
    unseen = {one["id"] for one in config["components"] if one["type"] == "api"}
    assert set(page["components"]) | late | unseen == {one["id"] for one in config["components"]}
    # a tab and its notice are there from the beginning, and the box of the later columns, and nothing else twice
    twice = [demo.blocks[one].elem_id for one in set(page["components"]) & late]
    assert sorted(twice) == sorted(["later-columns", *(f"{kind}-{name}" for name in TABS for kind in ("tab", "notice"))])
    came = [one["id"] for part in parts for one in part["dependencies"]]
    endpoints = [fn._id for fn in demo.fns.values() if not fn.targets]
    assert sorted([*page["dependencies"], *came, *endpoints]) == sorted(demo.fns)
    assert len(page["components"]) < len(config["components"]) / 2


def test_no_event_reads_what_is_not_there_yet(demo):
    """What a listener of the page or of one tab reads or writes stands there, or in the tab that comes with it, or in the columns
    that are not shown at first, of which nothing is said until they are."""
    demo.get_config_file()
    part_of = {one["id"]: tab for tab, part in demo.late.items() for one in part["components"]}
    page = demo.config["page"][""]
    hidden = {one["id"] for box in demo.hidden for one in demo.late[box]["components"]}
    for one in page["dependencies"]:
        fn = demo.fns[one]
        chain = fn
        while chain.trigger_after is not None and chain._id not in demo.openings:
            chain = demo.fns[chain.trigger_after]
        comes = demo.openings.get(chain._id) or (chain.targets and demo.blocks.get(chain.targets[0][0]),)
        allowed = getattr(comes[0], "_id", None)
        strangers = [
            b.elem_id
            for b in (*fn.inputs, *fn.outputs)
            if b._id not in {*page["components"], *hidden} and part_of[b._id] != allowed
        ]
        assert not strangers, f"{fn.name}: {strangers}"
    for tab, part in demo.late.items():
        for one in part["dependencies"]:
            fn = demo.fns[one["id"]]
            near = {*page["components"], *hidden, *(component["id"] for component in part["components"])}
            assert not [b.elem_id for b in (*fn.inputs, *fn.outputs) if b._id not in near], (
                f"{demo.blocks[tab].elem_id}: {fn.name}"
            )


def small_page(fill) -> tuple[LateBlocks, Place, gr.Textbox]:
    app = SimpleNamespace(language=Languages("en"))
    with LateBlocks() as demo, gr.Tabs(), gr.Tab("two") as tab:
        place = Place(demo, tab, notice("two"))
        box, read, told = gr.Textbox("plain", label="box"), gr.Number(3), gr.Textbox("a")
        kept = gr.State(1)
        place.opened(app, lambda request: fill(box, kept), None, [box, kept])
        read.change(lambda value: "", read, told)
    return demo, place, box


def opened(demo: LateBlocks, place: Place) -> dict:
    [event] = demo.openings
    demo.get_config_file()
    return asyncio.run(demo.process_api(demo.fns[event], [], None, VISITOR))


def test_a_tab_comes_with_the_values_that_were_found_for_it():
    demo, place, box = small_page(lambda box, kept: {box: gr.update(value="found", visible=False), kept: 2})
    answer = opened(demo, place)
    came = {one["id"]: one["props"] for one in answer["render_config"]["components"]}
    assert came[box._id]["value"] == "found" and came[box._id]["visible"] is False and came[box._id]["label"] == "box"
    assert came[place.notice._id]["value"] == FILLED
    # nothing is told twice, and what is the server's alone stays where it is
    assert answer["data"] == [{"__type__": "update"}, None, {"__type__": "update"}]
    read, told = (next(props for props in came.values() if props.get("value") == value) for value in (3, "a"))
    assert read["interactive"] is True and told["interactive"] is False
    assert [one["targets"][0][1] for one in answer["render_config"]["dependencies"]] == ["change"]


def test_a_tab_that_cannot_be_filled_does_not_come_and_is_tried_again():
    tries = []

    def fill(box, kept):
        tries.append(1)
        if len(tries) == 1:
            raise KeyError("losses")
        return {box: "found"}

    demo, place, _ = small_page(fill)
    first = opened(demo, place)
    assert first["render_config"] is None and "KeyError" in first["data"][-1]
    assert opened(demo, place)["render_config"]["render_id"] == place.tab._id


def test_a_box_comes_with_the_answer_that_first_shows_a_part_of_it():
    with LateBlocks() as demo:
        with gr.Column() as box:
            with gr.Column(visible=False) as part:
                inside = gr.Textbox("plain")
            other = gr.Column(visible=False)
        act = gr.Button("act")
        read: list[str] = []

        def shows(how: str, said: str) -> dict:
            read.append(said)
            return {part: gr.update(visible=how == "show"), inside: how}

        event = act.click(shows, [act, inside], [part, inside])
        demo.comes_when_shown(box, [part, other])
    page = demo.get_config_file()["page"][""]
    assert box._id in page["components"] and not {part._id, inside._id} & set(page["components"])

    def answer(state: SessionState | None, how: str) -> dict:
        return asyncio.run(demo.process_api(demo.fns[event["id"]], [how, None], state, VISITOR))

    one, two = SessionState(demo), SessionState(demo)
    nothing = {"__type__": "update"}
    hidden = answer(one, "hide")
    assert hidden["render_config"] is None and hidden["data"] == [nothing, nothing]
    came = answer(one, "show")
    assert came["render_config"]["render_id"] == box._id and came["data"] == [nothing, nothing]
    props = {one["id"]: one["props"] for one in came["render_config"]["components"]}
    assert props[part._id]["visible"] is True and props[inside._id]["value"] == "show"
    assert read == ["plain", "plain"]
    again = answer(one, "hide")  # from here on it is told like everything else
    assert (
        again["render_config"] is None
        and again["data"] == [{"visible": False, "__type__": "update"}, "hide"]
        and read[-1] is None
    )
    assert answer(two, "show")["render_config"]["render_id"] == box._id  # another page
    assert answer(None, "show")["data"] == [{"visible": True, "__type__": "update"}, "show"]  # a script, which sees everything


def test_the_fault_in_gradios_client_is_there_to_be_mended():
    """Fails when another Gradio is installed: look whether its client still notes down what every event reads."""
    name, text = assets.gradio_client()
    assert name.startswith("Blocks-") and assets.MENDED in text and assets.FAULT not in text.replace(assets.MENDED, "")
    assert text.count(assets.MENDED) == 1


def test_scripts_come_from_addresses_that_change_with_them(demo):
    from starlette.applications import Starlette

    client = TestClient(Starlette(routes=assets.routes()))
    address = assets.head().split('"')[1]
    own = client.get(f"/{address}")
    assert own.status_code == 200 and own.text.count("(() => {") >= 9 and "immutable" in own.headers["cache-control"]
    mended = client.get(f"/assets/{assets.gradio_client()[0]}")
    assert assets.MENDED in mended.text and mended.headers["content-type"].startswith("text/javascript")
