"""The whole page: header, tabs, what happens when it is opened; and serving it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path

import gradio as gr
from gradio.route_utils import CustomCORSMiddleware
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from tuning.jobs import memory, queue
from ui import filling, passing, theme
from ui.access import bodies, gate, login, roles
from ui.api.chat import build_api
from ui.api.probes import build_probes_api
from ui.api.training import build_training_api
from ui.context import App
from ui.conversation import MAX_COLUMNS, Page
from ui.page_memory import MOST, Memory
from ui.pages import Pages, own_key
from ui.tabs.adapters import download as adapters_download, events as adapters_events, layout as adapters_layout
from ui.tabs.chat import layout as chat_layout, picker, view as chat_view
from ui.tabs.finetune import events as finetune_events, layout as finetune_layout
from ui.tabs.identity import layout as identity_layout
from ui.tabs.label import events as label_events, layout as label_layout, routes as label_routes
from ui.tabs.probes import (
    background as probes_background,
    board as probes_board,
    events as probes_events,
    layout as probes_layout,
)
from ui.tabs.probes.background import BackgroundRun
from ui.tabs.probes.judged import RunCache
from ui.tabs.results import events as results_events, layout as results_layout
from ui.words import LanguageDoor, i18n, say

TITLE = "Mirror Test 镜测"
GOODBYE_S = 10.0  # how long a probe run may take to stop when the program ends; a step of a large model takes seconds
UPLOAD_LIMIT = "64mb"  # an adapter's zip is smaller; nothing larger has to come through a shared page


def build(app: App) -> gr.Blocks:
    """The page as Blocks; `serve` launches it."""
    pages, ongoing, cache = Pages(), BackgroundRun(app), RunCache()
    passing.folder()  # before there is a component: each notes where it keeps its files
    kept = (passing.LOOKED_AT_EVERY, passing.KEPT_FOR)
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=kept) as demo:
        build_api(app)  # first: of two handlers with the same name the later one gets a number
        build_training_api(app)
        build_probes_api(app, ongoing, cache)
        # The key stands in the browser only; what it opens stays on the server.
        key = gr.BrowserState("", storage_key="mirror-test", secret="mirror-test-page")
        labels_whose = label_layout.remembered()
        header = gr.HTML(header_html(app, "en"), elem_id="header")
        with gr.Tabs(elem_classes="mt-tabs") as tabs:
            with gr.Tab(i18n("tab_chat"), id="chat", elem_id="tab-chat") as chat_page:
                notices = {"chat": filling.notice("chat")}
                chat = chat_layout.build_chat(app, pages)
            with gr.Tab(i18n("tab_probes"), id="probes", elem_id="tab-probes", render_children=True) as probes_page:
                notices["probes"] = filling.notice("probes")
                probing = probes_layout.build_probes(probes_board.board_functions(app, ongoing, cache))
            with gr.Tab(i18n("tab_label"), id="label", elem_id="tab-label", render_children=True) as label_page:
                notices["label"] = filling.notice("label")
                labelling = label_layout.build_label(labels_whose)
            with gr.Tab(i18n("tab_results"), id="results", elem_id="tab-results", render_children=True) as results_page:
                notices["results"] = filling.notice("results")
                results = results_layout.build_results()
            with gr.Tab(i18n("tab_identity"), id="identity", elem_id="tab-identity", render_children=True):
                notices["identity"] = filling.notice("identity")
                editor = identity_layout.build_identity(app)
            with gr.Tab(i18n("tab_finetune"), id="finetune", elem_id="tab-finetune", render_children=True):
                notices["finetune"] = filling.notice("finetune")
                tuner = finetune_layout.build_finetune()
            with gr.Tab(i18n("tab_adapters"), id="adapters", elem_id="tab-adapters", render_children=True) as adapters_page:
                notices["adapters"] = filling.notice("adapters")
                shelves = adapters_layout.build_adapters()

        def open_chat(request: gr.Request, known: str) -> dict:
            lang = app.language(request)
            known = own_key(known, request.username)
            page = pages.again(known) or Page(picks=picker.first_picks(app, MAX_COLUMNS, lang))
            page.key = known
            pages.keep(page)
            header_now = header_html(app, lang, request.username)
            return {key: page.key, header: header_now} | chat_view.everything(app, chat, page, lang)

        def open_probes(request: gr.Request) -> dict:
            return probes_layout.open_probes(app, probing, app.language(request), probes_board.first_shown(ongoing))

        def open_identity(request: gr.Request) -> dict:
            lang = app.language(request)
            return identity_layout.open_identity(app, editor, lang) | {editor.sample: say(lang, "sample")}

        def open_finetune(request: gr.Request) -> dict:
            return finetune_events.open_finetune(app, tuner, app.language(request))

        def open_adapters(request: gr.Request) -> dict:
            return adapters_layout.show(app, shelves, app.language(request))

        def compared(page: Page, adapter: str, lang: str) -> dict:
            updates = chat_view.beside_the_base(app, chat, page, adapter, lang)
            pages.keep(page)
            return updates | {tabs: gr.Tabs(selected="chat")}

        def left(request: gr.Request) -> None:
            for running in (chat.running, editor.running):
                if request.session_hash in running:
                    running[request.session_hash].set()

        private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}

        def fills(tab: str, fill: Callable[..., dict], inputs, outputs: list) -> dict:
            """A load or select event that fills one tab, and only that one: `event(**fills(...))`."""
            place = notices[tab]
            return {"fn": filling.guarded(app, place, fill), "inputs": inputs, "outputs": [*outputs, place]} | private

        demo.load(**fills("chat", open_chat, key, [key, header, *chat.outputs]))
        demo.load(**fills("identity", open_identity, None, [*editor.editor, editor.sample])).then(
            identity_layout.show_if_quick(app),
            [editor.listed, editor.text, editor.mode, editor.sample],
            editor.preview,
            **private,
        )
        demo.load(**fills("finetune", open_finetune, None, tuner.outputs))
        demo.load(**fills("adapters", open_adapters, None, shelves.outputs))
        demo.load(**fills("probes", open_probes, None, probing.outputs))
        adapters_events.wire_adapters(app, shelves)
        finetune_events.wire_finetune(app, tuner)
        finetune_events.wire_compare(app, tuner, chat.page, [*chat.outputs, tabs], chat.running, compared)
        label_events.wire_label(app, labelling, demo, label_page, notices["label"])
        results_events.wire_results(app, results, results_page, notices["results"])
        probes_events.wire_probes(app, ongoing, probing, probes_page, chat.page, notices["probes"])
        chat_page.select(**fills("chat", chat.refresh, chat.page, chat.outputs))
        adapters_page.select(**fills("adapters", open_adapters, None, shelves.outputs))
        demo.unload(left)
    roles.check_events(app, demo)
    return demo


def header_html(app: App, lang: str, who: str | None = None) -> str:
    base = app.engine.base
    dtype = str(base.dtype).removeprefix("torch.")
    facts = [base.name, f"{dtype}, {base.device}", say(lang, "header_format", name=base.format.name)]
    facts.append(say(lang, "header_context", tokens=base.context))
    said = "".join(f"<span>{escape(fact)}</span>" for fact in facts)
    reasons = escape("\n".join(base.reasons))
    switch = "".join(
        f'<button type="button" data-lang="{code}" class="{"mt-on" if code == lang else ""}" lang="{code}">{name}</button>'
        for code, name in (("en", "English"), ("zh-CN", "中文"))
    )
    theme_switch = f'<button type="button" data-theme-switch>{escape(say(lang, "light_dark"))}</button>'
    return (
        f'<header class="mt-header"><div class="mt-brand"><h1>Mirror Test<span lang="zh-CN">镜测</span></h1>'
        f"<p>{escape(say(lang, 'tagline'))}</p></div>"
        f'<div class="mt-base" title="{reasons}">{said}</div>'
        f'<div class="mt-switch">{switch}{theme_switch}</div>{_way_out(app, lang, who)}</header>'
    )


def _way_out(app: App, lang: str, who: str | None) -> str:
    """Who is logged in, as what, and the button that ends it."""
    role = app.accounts.role(who) if app.accounts and who else None
    if role is None:
        return ""
    name = f"{escape(who)} · {escape(say(lang, f'role_{role}'))}"
    return (
        f'<form class="mt-switch" method="post" action="logout" id="way-out"><span>{name}</span>'
        f'<button type="submit">{escape(say(lang, "login_out"))}</button></form>'
    )


def serve(
    app: App,
    *,
    host: str = "127.0.0.1",
    port: int | None = 7860,
    share: bool = False,
    root_path: str | None = None,
    block: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[gr.Blocks, str]:
    """Launches the page; (the Blocks, its address). With `block` it returns once `app.closed` is set.

    root_path: under which path ("/mirror") or address a proxy shows the page to people.
    """
    # the queue moves with no page open
    queue.keep_ticking(app.db, app.closed, memory.admission(app.engine, app.db), lambda: memory.settle(app.engine, app.db))
    demo = build(app)
    demo.queue(api_open=False)  # else /run/NAME would go past the queue
    memory_of_pages = Memory()
    door = gate.open_door(host, root_path, app.language, memory_of_pages, app.accounts)
    ways_in = login.routes(door.sessions, app.language, (root_path or "").startswith("https:")) if door.sessions else []
    _, address, shared = demo.launch(
        server_name=f"[{host}]" if ":" in host and not host.startswith("[") else host,
        server_port=port,
        share=share,
        auth_dependency=gate.visitor if door.sessions else None,
        state_session_capacity=MOST,
        root_path=root_path,
        strict_cors=True,
        blocked_paths=[*database_files(app.db), *accounts_files(app)],
        max_file_size=UPLOAD_LIMIT,
        run_history=False,
        enable_monitoring=False,
        show_error=True,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        ssr_mode=False,
        i18n=i18n,
        theme=theme.theme(),
        css=theme.css(),
        head=theme.head(),
        app_kwargs={
            "middleware": [
                Middleware(gate.Gate, door=door),
                Middleware(bodies.BodyDoor),
                Middleware(LanguageDoor, default=app.language.default),
            ],
            "routes": [*ways_in, *label_routes.routes(app), *adapters_download.routes(app)],
            "lifespan": prepared(demo, memory_of_pages),
        },
    )
    demo.share = False  # Gradio's page for a share has its script on another site, which the policy refuses
    door.add(shared or "")
    address = shared or address
    say(address)
    if block:
        app.closed.wait()
        until = time.monotonic() + GOODBYE_S
        for thread in threading.enumerate():
            if thread.name == probes_background.THREAD:  # it stops after its step, and says so in the store
                thread.join(max(0.0, until - time.monotonic()))
    return demo, address


def prepared(demo: gr.Blocks, memory_of_pages: Memory) -> Callable:
    """What Gradio's application becomes before it serves: no other site is allowed anything, and sessions are small."""

    @asynccontextmanager
    async def prepare(server) -> AsyncIterator[None]:
        server.user_middleware = [one for one in server.user_middleware if one.cls is not CustomCORSMiddleware]
        server.middleware_stack = None  # Starlette makes it anew for the first request
        server.state_holder = memory_of_pages
        memory_of_pages.set_blocks(demo)
        clearing = asyncio.create_task(clear_by_age())
        yield
        clearing.cancel()

    return prepare


async def clear_by_age() -> None:
    while True:
        await asyncio.sleep(passing.LOOKED_AT_EVERY)
        await run_in_threadpool(passing.clear)


def database_files(db: Path) -> list[str]:
    """The database and what SQLite keeps beside it."""
    return [str(Path(f"{db}{ending}").absolute()) for ending in ("", "-wal", "-shm", "-journal")]


def accounts_files(app: App) -> list[str]:
    return [str(app.accounts.file.absolute())] if app.accounts and app.accounts.file else []
