"""The whole page: header, tabs, what happens when it is opened; and serving it."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.route_utils import CustomCORSMiddleware
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware

from probes.run import background as probes_background
from probes.run.background import BackgroundRun
from tuning.jobs import memory, queue
from ui import assets, tab_loading, temp_files, theme
from ui.access import gate, login, request_limits, roles
from ui.api.chat import build_api
from ui.api.probes import build_probes_api
from ui.api.training import build_training_api
from ui.context import App
from ui.conversation import MAX_COLUMNS, Page
from ui.gradio_sessions import MOST, Memory
from ui.late_tabs import LateBlocks, Place
from ui.listeners import QUIET, bind
from ui.saved_pages import Pages, own_key
from ui.tabs.adapters import download as adapters_download, events as adapters_events, layout as adapters_layout
from ui.tabs.adapters.layout import Adapters
from ui.tabs.chat import events as chat_events, layout as chat_layout, picker, view as chat_view
from ui.tabs.chat.layout import Chat
from ui.tabs.experiment import events as experiment_events, layout as experiment_layout, report as experiment_report
from ui.tabs.experiment.layout import Experiment
from ui.tabs.finetune import (
    events as finetune_events,
    filling as finetune_filling,
    layout as finetune_layout,
    moments as finetune_moments,
)
from ui.tabs.finetune.layout import FineTune
from ui.tabs.identity import events as identity_events, layout as identity_layout, version_events
from ui.tabs.identity.layout import IdentityTab
from ui.tabs.label import events as label_events, layout as label_layout, routes as label_routes
from ui.tabs.label.layout import Label
from ui.tabs.probes import board as probes_board, events as probes_events, layout as probes_layout, start as probes_start
from ui.tabs.probes.judged import RunCache
from ui.tabs.probes.layout import Probes
from ui.tabs.results import events as results_events, layout as results_layout
from ui.tabs.results.layout import Results
from ui.variants import Picked
from ui.words import LanguageMiddleware, components_words, i18n, say

TITLE = "Mirror Test 镜测"
GOODBYE_S = 10.0  # how long a probe run may take to stop when the program ends; a step of a large model takes seconds
OWN_ROUTES = (label_routes, adapters_download, experiment_report)
UPLOAD_LIMIT = "64mb"  # an adapter's zip is smaller; nothing larger has to come through a shared page


@dataclass(frozen=True)
class Parts:
    """The components of the whole page.

    key: of the page's state, which stands in the browser only; what it opens stays on the server. wanted: runs that another tab
    wants to be shown in Results.
    """

    key: gr.BrowserState
    header: gr.HTML
    tabs: gr.Tabs
    places: dict[str, Place]
    chat: Chat
    probes: Probes
    label: Label
    results: Results
    identity: IdentityTab
    finetune: FineTune
    experiment: Experiment
    adapters: Adapters
    wanted: gr.State


def build(app: App) -> gr.Blocks:
    """The page as Blocks; `serve` launches it."""
    pages, ongoing, cache = Pages(), probes_start.background_of(app), RunCache()
    temp_files.program_folder()  # before there is a component: each notes where it keeps its files
    kept = (temp_files.LOOKED_AT_EVERY, temp_files.KEPT_FOR)
    with LateBlocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=kept) as demo:
        build_api(app)  # first: of two handlers with the same name the later one gets a number
        build_training_api(app)
        build_probes_api(app, ongoing, cache)
        parts = build_page(app, demo, ongoing, cache)
        wire_tabs(app, pages, ongoing, parts)
        wire_opening(app, pages, ongoing, parts, demo)
    roles.check_events(app, demo)
    return demo


def build_page(app: App, demo: LateBlocks, ongoing: BackgroundRun, cache: RunCache) -> Parts:
    """Inside the Blocks: lays out the header and the tabs."""
    places: dict[str, Place] = {}

    @contextmanager
    def tab(name: str, **more: Any) -> Iterator[None]:
        with gr.Tab(i18n(f"tab_{name}"), id=name, elem_id=f"tab-{name}", **more) as one:
            places[name] = Place(demo, one, tab_loading.notice(name))
            yield

    key = gr.BrowserState("", storage_key="mirror-test", secret="mirror-test-page")
    labels_whose, wanted = label_layout.remembered_choice(), gr.State([])
    header = gr.HTML(header_html(app, "en"), elem_id="header")
    with gr.Tabs(elem_classes="mt-tabs") as tabs:
        with tab("chat"):
            chat = chat_layout.build_chat()
        with tab("probes", render_children=True):
            probes = probes_layout.build_probes(probes_board.board_functions(app, ongoing, cache))
        with tab("label", render_children=True):
            label = label_layout.build_label(labels_whose)
        with tab("results", render_children=True):
            results = results_layout.build_results()
        with tab("identity", render_children=True):
            identity = identity_layout.build_identity()
        with tab("finetune", render_children=True):
            finetune = finetune_layout.build_finetune()
        with tab("experiment", render_children=True):
            experiment = experiment_layout.build_experiment()
        with tab("adapters", render_children=True):
            adapters = adapters_layout.build_adapters()
    return Parts(
        key=key, header=header, tabs=tabs, places=places, chat=chat, probes=probes, label=label,
        results=results, identity=identity, finetune=finetune, experiment=experiment, adapters=adapters, wanted=wanted,
    )  # fmt: skip


def wire_tabs(app: App, pages: Pages, ongoing: BackgroundRun, parts: Parts) -> None:
    """What happens in the tabs, and what one hands another."""
    chat, places = parts.chat, parts.places
    chat_events.wire_chat(app, pages, chat)
    identity_events.wire_identity(app, parts.identity)
    finetune_events.wire_finetune(app, parts.finetune)
    adapters_events.wire_adapters(app, parts.adapters)
    compare = functools.partial(compare_in_chat, app, pages, parts)
    finetune_events.wire_compare(app, parts.finetune, chat.page, [*chat.outputs, parts.tabs], chat.running, compare)
    both = functools.partial(ask_both_in_chat, app, pages, parts)
    version_events.wire_ask_both(app, parts.identity, chat.page, [*chat.outputs, parts.tabs], chat.running, both)
    label_events.wire_label(app, parts.label, places["label"])
    results_events.wire_results(app, parts.results, places["results"], parts.wanted)
    experiment_events.wire_experiment(app, parts.experiment, places["experiment"])
    beside = functools.partial(ask_beside_base, app, pages, parts)
    experiment_events.wire_handing(
        app,
        parts.experiment,
        chat=(chat.page, [*chat.outputs, parts.tabs], chat.running, beside),
        label=(parts.label.chosen, [parts.label.chosen, parts.tabs], functools.partial(open_queue, parts)),
        results=([parts.wanted, parts.tabs], functools.partial(open_runs, parts)),
    )
    probes_events.wire_probes(app, ongoing, parts.probes, chat.page, places["probes"])


def wire_opening(app: App, pages: Pages, ongoing: BackgroundRun, parts: Parts, demo: LateBlocks) -> None:
    """What fills the page when it is opened, what comes with a tab when that is, and what ends with the page."""
    chat, identity, finetune, places = parts.chat, parts.identity, parts.finetune, parts.places
    notice = places["chat"].notice
    opening = tab_loading.guard_filling(app, notice, bind(open_chat, app, pages, parts))
    demo.comes_when_shown(chat.later, [column.box for column in chat.columns[len(chat_layout.AT_FIRST) :]])
    # not by the queue, whose answers come by a connection of their own: that would be opened only now
    demo.load(opening, parts.key, [parts.key, parts.header, *chat.outputs, notice], queue=False, **QUIET)
    coming_back = tab_loading.guard_filling(app, notice, bind(chat_events.refresh, app, chat))
    places["chat"].tab.select(coming_back, chat.page, [*chat.outputs, notice], queue=False, **QUIET)

    places["identity"].opened(app, bind(open_identity, app, identity), None, [*identity.outputs, identity.editor.sample]).then(
        bind(identity_events.draw_quick_preview, app), identity.previewed, identity.editor.preview, **QUIET
    )
    places["finetune"].opened(app, bind(open_finetune, app, finetune), None, finetune.outputs).then(
        bind(finetune_events.refresh_outlook, app, finetune), finetune.form_inputs, finetune.form_outputs, **QUIET
    )
    chosen = [finetune.form.identity, finetune.form.old]
    places["finetune"].visited(app, bind(finetune_filling.offer_identities, app, finetune), chosen, chosen)
    probes = parts.probes
    places["probes"].opened(app, bind(open_probes, app, ongoing, probes), None, probes.outputs).then(
        bind(probes_events.refresh_volume, app, probes), [chat.page, *probes.form.inputs], probes.meaning, **QUIET
    )
    filling = bind(open_adapters, app, parts.adapters)
    places["adapters"].opened(app, filling, None, parts.adapters.outputs)
    places["adapters"].visited(app, filling, None, parts.adapters.outputs)
    demo.unload(bind(leave_page, parts))


def open_chat(app: App, pages: Pages, parts: Parts, request: gr.Request, known: str) -> dict:
    """known: the key that the browser brings."""
    lang = app.language(request)
    key = own_key(known, request.username)
    page = pages.copy_of(key) or Page(picks=picker.first_picks(app, MAX_COLUMNS, lang))
    page.key = key
    pages.keep(page)
    opened = {parts.key: key, parts.header: header_html(app, lang, request.username)}
    return opened | chat_view.tab_updates(app, parts.chat, page, lang)


def open_probes(app: App, ongoing: BackgroundRun, tab: Probes, request: gr.Request) -> dict:
    return probes_layout.open_probes(app, tab, app.language(request), probes_board.first_shown_run(ongoing))


def open_identity(app: App, tab: IdentityTab, request: gr.Request) -> dict:
    lang = app.language(request)
    return identity_events.open_identity(app, tab, lang) | {tab.editor.sample: say(lang, "sample")}


def open_finetune(app: App, tab: FineTune, request: gr.Request) -> dict:
    return finetune_events.open_finetune(app, tab, app.language(request))


def open_adapters(app: App, tab: Adapters, request: gr.Request) -> dict:
    return adapters_layout.show_tab(app, tab, app.language(request))


def compare_in_chat(app: App, pages: Pages, parts: Parts, page: Page, adapter: str, lang: str) -> dict:
    """Updates that open the chat with the base and an adapter side by side."""
    updates = chat_view.compare_with_base(app, parts.chat, page, adapter, lang)
    pages.keep(page)
    return updates | {parts.tabs: gr.Tabs(selected="chat")}


def ask_both_in_chat(app: App, pages: Pages, parts: Parts, page: Page, first: Picked, second: Picked, lang: str) -> dict:
    """Updates that open the chat with two texts of an identity side by side."""
    updates = chat_view.compare_two(app, parts.chat, page, first, second, lang)
    pages.keep(page)
    return updates | {parts.tabs: gr.Tabs(selected="chat")}


def ask_beside_base(app: App, pages: Pages, parts: Parts, page: Page, pick: Picked, lang: str) -> dict:
    """Updates that open the chat with the base and somebody else side by side."""
    return ask_both_in_chat(app, pages, parts, page, Picked(), pick, lang)


def open_queue(parts: Parts, queue: int, whose: Any) -> dict:
    """Updates that open the Label tab with a queue. whose: annotator and queue as the browser remembers them."""
    known = whose if isinstance(whose, dict) else {}
    return {parts.label.chosen: known | {"queue": queue}, parts.tabs: gr.Tabs(selected="label")}


def open_runs(parts: Parts, runs: list[int]) -> dict:
    """Updates that open the Results tab with runs."""
    return {parts.wanted: runs, parts.tabs: gr.Tabs(selected="results")}


def leave_page(parts: Parts, request: gr.Request) -> None:
    """What was being answered for a page that has been closed is answered no more."""
    for running in (parts.chat.running, parts.identity.trial.running):
        if request.session_hash in running:
            running[request.session_hash].set()
    finetune_moments.leave(parts.finetune.acts, request.session_hash)


def header_html(app: App, lang: str, who: str | None = None) -> str:
    base = app.engine.base
    facts = [base.name, f"{base.number_format}, {base.device}", say(lang, "header_format", name=base.format.name)]
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
    if who is None or role is None:
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
    queue.keep_ticking(
        app.db, app.closed, memory.admission(app.engine, app.db), lambda: memory.settle_admission(app.engine, app.db)
    )
    demo = build(app)
    demo.queue(api_open=False)  # else /run/NAME would go past the queue
    door = gate.open_door(host, root_path, app.language, Memory(), app.accounts)
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
        i18n=components_words(),
        theme=theme.theme(),
        css=theme.css(),
        head=assets.head(),
        app_kwargs=wrap_routes(app, demo, door, https=(root_path or "").startswith("https:")),
    )
    demo.share = False  # Gradio's page for a share has its script on another site, which the policy refuses
    door.add(shared or "")
    address = shared or address
    say(address)
    if block:
        app.closed.wait()
        wait_for_runs()
    return demo, address


def wrap_routes(app: App, demo: gr.Blocks, door: gate.Door, https: bool) -> dict[str, Any]:
    """What stands before and beside Gradio's own routes. https: people come by it, whatever the proxy speaks to us."""
    ways_in = login.routes(door.sessions, app.language, https) if door.sessions else []
    return {
        "middleware": [
            Middleware(gate.Gate, door=door),
            Middleware(request_limits.BodyLimit),
            Middleware(LanguageMiddleware, default=app.language.default),
        ],
        "routes": [*ways_in, *assets.routes(), *(route for of in OWN_ROUTES for route in of.routes(app))],
        "lifespan": prepare_gradio(demo, door.memory),
    }


def wait_for_runs() -> None:
    """A probe run stops after its step, and says so in the store."""
    until = time.monotonic() + GOODBYE_S
    for thread in threading.enumerate():
        if thread.name == probes_background.THREAD:
            thread.join(max(0.0, until - time.monotonic()))


def prepare_gradio(demo: gr.Blocks, memory_of_pages: Memory) -> Callable:
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
        await asyncio.sleep(temp_files.LOOKED_AT_EVERY)
        await run_in_threadpool(temp_files.clear)


def database_files(db: Path) -> list[str]:
    """The database and what SQLite keeps beside it."""
    return [str(Path(f"{db}{ending}").absolute()) for ending in ("", "-wal", "-shm", "-journal")]


def accounts_files(app: App) -> list[str]:
    return [str(app.accounts.file.absolute())] if app.accounts and app.accounts.file else []
