"""Parts of the page that come to the browser when they are seen, filled already: tabs, and what is hidden at first.

Gradio sends a page whole: before anybody can type, the browser makes every component of every tab, and is then told one by one
what each is to show. Here the components and listeners of a tab stay behind, and come with the answer of the event that opens
it, with the values that it has found for them: in the message by which `gr.render` brings its components. So do those of a box
whose content is hidden at first, with the first answer that shows some of it; until then they are read as they were laid out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from gradio.block_function import BlockFunction
from gradio.blocks import Block
from gradio.events import Dependency
from gradio.state_holder import SessionState

from ui.context import App
from ui.listeners import QUIET
from ui.tab_loading import FILLED, guard_filling, require_filled, require_unfilled

NOTHING_CHANGES = {"__type__": "update"}
# Of every component: for the pages about endpoints, and for parts of a page that are made again.
NOT_FOR_PAGES = {"api_info", "api_info_as_input", "api_info_as_output", "example_inputs"}


class LateBlocks(gr.Blocks):
    """Blocks of which the browser gets some parts late, and nothing of the endpoints; scripts get everything."""

    def __init__(self, **more: Any):
        self.openings: dict[int, tuple[gr.Tab, gr.HTML]] = {}  # event -> the tab that comes with it, and its notice
        self.hidden: dict[int, list[Block]] = {}  # a box -> the parts of it that may be shown
        self.late: dict[int, dict[str, Any]] = {}  # tab or box -> what `render_config` says of it
        self.seen: WeakKeyDictionary[SessionState, set[int]] = WeakKeyDictionary()  # the boxes that a visitor's page has
        super().__init__(**more)

    def comes_with(self, event: Dependency, tab: gr.Tab, notice: gr.HTML) -> None:
        """tab comes with the answer of `event` once that says FILLED in its notice, the one component that is there before."""
        self.openings[event["id"]] = tab, notice

    def comes_when_shown(self, box: Block, parts: list[Block]) -> None:
        """What is in `box` comes with the first answer in which one of `parts` is visible; all of them are hidden at first."""
        self.hidden[box._id] = parts

    def get_config_file(self):
        config = super().get_config_file()
        config["components"] = [one if one["type"] == "api" else _lighter(one) for one in config["components"]]
        here = {tab._id: {tab._id, notice._id} for tab, notice in self.openings.values()}  # is there from the beginning
        here |= {box: {box} for box in self.hidden}
        owner = {block: late for late, early in here.items() for block in _below(self.blocks[late]) if block not in early}
        events = {fn._id: owner.get(_begun_by(fn, self.fns)) for fn in self.fns.values()}
        used = {block._id for fn in self.fns.values() for block in fn.inputs}
        told = {block._id for fn in self.fns.values() for block in fn.outputs}
        page = config["page"][""]
        nodes = {node["id"]: node for node in _nodes(page["layout"])}
        self.late = {
            late: {
                "render_id": late,
                "layout": nodes[late],
                "components": [
                    _with_interactive(one, used, told)
                    for one in config["components"]
                    if owner.get(one["id"]) == late or one["id"] in early
                ],
                "dependencies": [one for one in config["dependencies"] if events[one["id"]] == late],
            }
            for late, early in here.items()
        }
        unseen = {one["id"] for one in config["components"] if one["type"] == "api"}  # of endpoints; a page has no use for them
        first = set(page["components"]) - set(owner) - unseen
        page["layout"] = _without(page["layout"], first)
        page["components"] = [one for one in page["components"] if one in first]
        # what nothing on the page begins is an endpoint
        page["dependencies"] = [one for one in page["dependencies"] if events[one] is None and self.fns[one].targets]
        return config

    def get_api_info(self, all_endpoints: bool = False, page: str | None = None):
        """page: a page of the browser, which calls no endpoint; None for scripts."""
        return super().get_api_info(all_endpoints) if page is None else {"named_endpoints": {}, "unnamed_endpoints": {}}

    async def process_api(self, block_fn: BlockFunction | int, inputs: list, state: SessionState | None = None, *given, **named):
        fn = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if state is not None:
            missing = {one for box in self.hidden.keys() - self.seen.get(state, ()) for one in _below(self.blocks[box])}
            known = [
                getattr(block, "value", None) if block._id in missing and not block.stateful else None for block in fn.inputs
            ]
            # what is read of them is as they were laid out
            inputs = [known[at] if said is None and at < len(known) else said for at, said in enumerate(inputs)]
        answer = await super().process_api(fn, inputs, state, *given, **named)
        opened = self.openings.get(fn._id)
        if opened:
            tab, notice = opened
            ids = [block._id for block in fn.outputs]
            if answer["data"][ids.index(notice._id)] == FILLED:
                answer["render_config"] = _filled(self.late[tab._id], fn.outputs, answer["data"])
        if state is not None:
            for box, parts in self.hidden.items():
                self._show(box, parts, fn, state, answer)
        return answer

    def _show(self, box: int, parts: list[Block], fn: BlockFunction, state: SessionState, answer: dict[str, Any]) -> None:
        """Puts a box into the answer that first shows a part of it; before that nothing is said of it."""
        seen = self.seen.setdefault(state, set())
        shown = {part._id: said for part, said in zip(fn.outputs, answer["data"], strict=False) if part in parts}
        # what streams is sent as differences, and would end with the message that brings the box
        if box in seen or not shown or fn.types_generator:
            return
        # an answer that brings a tab has no place for two
        if answer["render_config"] is None and any(isinstance(said, dict) and said.get("visible") for said in shown.values()):
            answer["render_config"] = _filled(self.late[box], fn.outputs, answer["data"])
            seen.add(box)
            return
        missing = set(_below(self.blocks[box]))
        for at, block in enumerate(fn.outputs):
            if block._id in missing and not block.stateful and at < len(answer["data"]):
                answer["data"][at] = NOTHING_CHANGES


@dataclass(frozen=True)
class Place:
    """Where a tab stands in the page. notice: at its top, there from the beginning."""

    page: LateBlocks
    tab: gr.Tab
    notice: gr.HTML

    def opened(self, app: App, fill: Callable[..., dict], inputs: Any, outputs: list) -> Dependency:
        """What is worked out when the tab is opened first, and comes with it. inputs: of the page's other parts."""
        first = self.tab.select(require_unfilled, self.notice, None, **QUIET)
        event = first.success(guard_filling(app, self.notice, fill), inputs, [*outputs, self.notice], **QUIET)
        self.page.comes_with(event, self.tab, self.notice)
        return event

    def visited(self, app: App, fill: Callable[..., dict], inputs: Any, outputs: list) -> Dependency:
        """What is brought up to date when the tab is opened again."""
        later = self.tab.select(require_filled, self.notice, None, **QUIET)
        filled = guard_filling(app, self.notice, fill, again=True)
        return later.success(filled, inputs, [*outputs, self.notice], **QUIET)


def _filled(late: dict[str, Any], outputs: Iterable[Block], data: list) -> dict[str, Any]:
    """What comes of a tab or a box, with the answer's values in place; `data` is left with those for the rest of the page."""
    components = {one["id"]: one for one in late["components"]}
    for at, block in enumerate(outputs):
        if block._id not in components or block.stateful:
            continue
        said = data[at] if isinstance(data[at], dict) and "__type__" in data[at] else {"value": data[at]}
        news = {name: value for name, value in said.items() if name != "__type__"}
        one = components[block._id]
        components[block._id] = one | {"props": one["props"] | news}
        data[at] = NOTHING_CHANGES
    return late | {"components": list(components.values())}


def _lighter(component: dict[str, Any]) -> dict[str, Any]:
    props = {name: value for name, value in component["props"].items() if name != "preserved_by_key"}
    return {name: {} if name in NOT_FOR_PAGES else value for name, value in component.items()} | {"props": props}


def _with_interactive(component: dict[str, Any], used: set[int], told: set[int]) -> dict[str, Any]:
    """As the browser decides it for a page that comes whole: what some event reads can be changed, and what none writes."""
    props = component["props"]
    if props.get("interactive") is None:
        can = component["id"] in used or (component["id"] not in told and not props.get("value"))
        props = props | {"interactive": can}
    return component | {"props": props}


def _begun_by(fn: BlockFunction, fns: dict[int, BlockFunction]) -> int | None:
    """The component whose event begins it, or the chain that it stands in. Events of the page itself have none."""
    while fn.trigger_after is not None:
        fn = fns[fn.trigger_after]
    return fn.targets[0][0] if fn.targets else None


def _below(block: Block) -> Iterator[int]:
    for child in getattr(block, "children", ()):
        yield child._id
        yield from _below(child)


def _nodes(layout: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield layout
    for child in layout.get("children", ()):
        yield from _nodes(child)


def _without(layout: dict[str, Any], kept: set[int]) -> dict[str, Any]:
    children = [_without(child, kept) for child in layout.get("children", ()) if child["id"] in kept]
    return layout | ({"children": children} if "children" in layout else {})
