"""The Adapters tab: what there is and how it was made; adding, taking out, renaming, deleting, carrying away, merging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

import gradio as gr

from common.outside import place_key
from engine.types import MAX_STRENGTH, EngineError
from store import jobs as stored
from tuning.jobs import memory, queue
from ui import adapter_library
from ui.access import roles
from ui.context import App, sentence
from ui.tabs.adapters import cards, download as adapters_download, zip_file
from ui.words import i18n, say

TICK_S = 2.0
EXPORTS = 5


@dataclass(frozen=True)
class Adapters:
    """The components of the tab that events write to. doing: what the dialog is about."""

    table: gr.HTML
    path: gr.Textbox
    chosen: gr.Dropdown
    card: gr.HTML
    take: gr.Button
    actions: dict[str, gr.Button]
    download: gr.Button
    doing: gr.State
    dialog: gr.Column
    words: gr.HTML
    text: gr.Textbox
    strength: gr.Slider
    confirm: gr.Button
    exports: gr.HTML

    @property
    def outputs(self) -> list:
        about = [self.table, self.path, self.chosen, self.card, self.take, *self.actions.values(), self.download]
        return [*about, self.doing, self.dialog, self.words, self.text, self.strength, self.exports]


def build_adapters(app: App) -> Adapters:
    with gr.Row(elem_classes="mt-tools"):
        path = gr.Textbox(label=i18n("adapter_path"), placeholder=i18n("adapter_path_hint"), scale=4, elem_id="adapter-path")
        add = gr.Button(i18n("add"), scale=0, min_width=90, elem_id="adapter-add")
        upload = gr.UploadButton(
            i18n("upload"), file_types=[".zip"], scale=0, min_width=120, elem_id="adapter-upload", variant="secondary"
        )
        refresh = gr.Button(i18n("rescan"), scale=0, min_width=130, elem_id="adapter-rescan")
    table = gr.HTML(elem_id="adapter-table")
    with gr.Row(elem_classes="mt-tools mt-form mt-chooser"):
        chosen = gr.Dropdown([], label=i18n("chosen_adapter"), scale=2, elem_id="adapter-chosen", filterable=False)
        take = gr.Button(i18n("take_out_button"), scale=0, min_width=90, elem_id="adapter-remove", visible=False)
        actions = {
            doing: gr.Button(i18n(key), scale=0, min_width=90, elem_id=f"adapter-{doing}", visible=False)
            for doing, key in (("rename", "rename"), ("merge", "merge"), ("delete", "delete"))
        }
        download = gr.Button(i18n("download"), scale=0, min_width=120, elem_id="adapter-download", visible=False)
    doing = gr.State("")
    with gr.Column(visible=False, elem_classes="mt-dialog mt-wide", elem_id="adapter-dialog") as dialog:
        words = gr.HTML()
        text = gr.Textbox(label=i18n("new_name"), max_lines=1, elem_id="adapter-text")
        strength = gr.Slider(0.05, MAX_STRENGTH, 1.0, step=0.05, label=i18n("strength"), buttons=[], elem_id="adapter-strength")
        with gr.Row(elem_classes="mt-under"):
            confirm = gr.Button(i18n("confirm"), size="sm", variant="primary", elem_id="adapter-confirm", scale=0, min_width=60)
            cancel = gr.Button(i18n("cancel"), size="sm", elem_id="adapter-cancel", scale=0, min_width=60)
    card = gr.HTML(elem_id="adapter-card")
    exports = gr.HTML(elem_id="adapter-exports")
    timer = gr.Timer(TICK_S)
    tab = Adapters(table, path, chosen, card, take, actions, download, doing, dialog, words, text, strength, confirm, exports)
    _wire_shelf(app, tab, add, refresh, upload, timer)
    _wire_chosen(app, tab, cancel)
    return tab


def show(app: App, tab: Adapters, lang: str, chosen: str | None = None) -> dict:
    """The whole tab, with one adapter looked at or none."""
    known = adapter_library.choices(app)
    states = {"loaded": "", "resting": f" ({say(lang, 'is_resting')})", "refused": f" ({say(lang, 'is_refused')})"}
    choices = [(f"{name}{states[what]}", name) for name, (what, _) in known.items()]
    chosen = chosen if chosen in known else None
    return {
        tab.table: cards.table_html(app, lang),
        tab.chosen: gr.update(choices=choices, value=chosen),
        tab.exports: exports_now(app, lang),
        tab.doing: "",
        tab.dialog: gr.update(visible=False),
    } | look_at(app, tab, lang, chosen)


def look_at(app: App, tab: Adapters, lang: str, name: str | None) -> dict:
    """One adapter's card and what can be done with it."""
    there = bool(name)
    updates = {button: gr.update(visible=there) for button in tab.actions.values()}
    if not there:
        return updates | {tab.card: "", tab.take: gr.update(visible=False), tab.download: gr.update(visible=False)}
    key = "take_out_button" if name in app.engine.adapters else "load"
    return updates | {
        tab.card: cards.card_html(app, lang, name),
        tab.take: gr.update(visible=True, value=say(lang, key)),
        tab.download: gr.update(visible=True),
    }


def exports_now(app: App, lang: str) -> str:
    merges = [job for job in stored.recent(app.db) if job["kind"] == "merge"]
    return cards.exports_html(lang, merges[:EXPORTS])


def export(app: App, name: str, target: str, strength: float) -> int:
    """Queues the merging of an adapter into a model folder; the job's id. Raises EngineError, JobError or StoreError."""
    if not target.strip():
        raise EngineError("The folder for the model is not named; name a new one.")
    place = app.opened.place(target, EngineError, "The folder for the model", write=True)
    if place.exists():
        raise EngineError(f"{place} is there already; name a new folder for the model.")
    folder = place_key(adapter_library.inside(app, adapter_library.folder_of(app, name)))
    arguments = ["-m", "tuning.merge", "--adapter", folder, "--output_dir", str(place.absolute()), "--base", app.base_spec]
    arguments += ["--strength", f"{strength:g}"]
    if app.accept_other_base:
        arguments.append("--accept_other_base")
    log = cards.default_export(app, f".{place.name}-log")
    needed = memory.needed_to_merge(app.base_spec)
    why = "" if needed else f"the size of {app.base_spec} cannot be told."
    id = queue.enqueue_command(
        app.db, arguments, log, name=place.name, kind="merge", owned=True, needs_bytes=needed, unestimated=why
    )
    queue.tick(app.db, memory.admission(app.engine, app.db))
    return id


def _wire_shelf(app: App, tab: Adapters, add: gr.Button, refresh: gr.Button, upload: gr.UploadButton, timer: gr.Timer) -> None:
    def add_path(request: gr.Request, folder: str, chosen: str | None) -> dict:
        lang = app.language(request)
        if not folder.strip():
            gr.Warning(say(lang, "no_path"))
            return gr.skip()
        try:
            name = adapter_library.take(app, app.opened.place(folder, EngineError, "The folder"))
        except EngineError as error:
            gr.Warning(escape(sentence(lang, error)))
            return show(app, tab, lang, chosen)
        roles.record(app, "added adapter", name, folder)
        gr.Info(say(lang, "adapter_added", name=escape(name)))
        return show(app, tab, lang, chosen) | {tab.path: ""}

    def rescan(request: gr.Request, chosen: str | None) -> dict:
        lang = app.language(request)
        names = adapter_library.rescan(app)
        gr.Info(say(lang, "rescanned", names=escape(", ".join(names))) if names else say(lang, "rescanned_nothing"))
        return show(app, tab, lang, chosen)

    def uploaded(request: gr.Request, file: str, chosen: str | None) -> dict:
        lang = app.language(request)
        passed: list[str] = []
        try:
            folder = zip_file.unpack(file, app.made_adapters, passed)
            roles.record(app, "uploaded adapter", folder.name)
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        if passed:
            shown = ", ".join(passed[:6]) + (" ..." if len(passed) > 6 else "")
            gr.Info(say(lang, "upload_passed", count=len(passed), names=escape(shown)))
        name = adapter_library.add(app, folder)
        if name:
            gr.Info(say(lang, "uploaded", name=escape(name)))
        else:
            why = escape(app.refused[str(folder)])
            gr.Warning(say(lang, "uploaded_resting", name=escape(folder.name), why=why))
        return show(app, tab, lang, name or chosen)

    def look(request: gr.Request, seen: str) -> str:
        now = exports_now(app, app.language(request))
        return gr.skip() if now == seen else now

    private = {"api_visibility": "private", "outputs": tab.outputs, "concurrency_limit": None}
    gr.on([add.click, tab.path.submit], add_path, [tab.path, tab.chosen], **private)
    refresh.click(rescan, tab.chosen, **private)
    upload.upload(uploaded, [upload, tab.chosen], **private)
    timer.tick(look, tab.exports, tab.exports, api_visibility="private", show_progress="hidden", concurrency_limit=None)


def _wire_chosen(app: App, tab: Adapters, cancel: gr.Button) -> None:
    def guarded(act: Callable) -> Callable:
        """`act(lang, name, *values) -> updates`; a mistake is said, and the page shows how things are."""

        def guard(request: gr.Request, name: str | None, *values) -> dict:
            lang = app.language(request)
            if not name:
                gr.Warning(say(lang, "choose_adapter"))
                return gr.skip()
            try:
                return act(lang, name, *values)
            except Exception as error:
                gr.Warning(escape(sentence(lang, error)))
                return show(app, tab, lang, name)

        return roles.called(guard, act)

    def choose(lang: str, name: str) -> dict:
        return look_at(app, tab, lang, name)

    def take(lang: str, name: str) -> dict:
        if name in app.engine.adapters:
            app.engine.remove_adapter(name)
        else:
            name = adapter_library.loaded(app, adapter_library.folder_of(app, name))
        return show(app, tab, lang, name)

    def ask(doing: str) -> Callable:
        def asked(lang: str, name: str) -> dict:
            folder = adapter_library.folder_of(app, name) if doing == "merge" else adapter_library.movable(app, name)
            words = escape(say(lang, f"adapter_{doing}", name=name, folder=folder))
            given = {"rename": name, "merge": str(cards.default_export(app, name)), "delete": ""}[doing]
            label = say(lang, "target_folder" if doing == "merge" else "new_name")
            return {
                tab.doing: doing,
                tab.dialog: gr.update(visible=True),
                tab.words: f'<p class="mt-dialog-words">{words}</p>',
                tab.text: gr.update(visible=doing != "delete", value=given, label=label),
                tab.strength: gr.update(visible=doing == "merge", value=1.0),
            }

        return asked

    def confirm(lang: str, name: str, doing: str, text: str, strength: float) -> dict:
        if doing == "rename":
            old, name = name, adapter_library.rename(app, name, text)
            roles.record(app, "renamed adapter", old, name)
        elif doing == "delete":
            adapter_library.delete(app, name)
            roles.record(app, "deleted adapter", name)
            gr.Info(say(lang, "adapter_deleted", name=escape(name)))
        elif doing == "merge":
            export(app, name, text, strength)
            roles.record(app, "merged adapter", name, text)
        return show(app, tab, lang, name)

    def still_there(request: gr.Request, name: str | None) -> None:
        """A download that fails says nothing but that it has failed."""
        try:
            adapter_library.folder_of(app, name or "")
        except EngineError as error:
            raise gr.Error(escape(sentence(app.language(request), error)), print_exception=False) from None

    def close() -> dict:
        return gr.update(visible=False)

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None, "outputs": tab.outputs}
    tab.chosen.input(guarded(choose), tab.chosen, **private)
    tab.take.click(guarded(take), tab.chosen, **private)
    for doing, button in tab.actions.items():
        button.click(guarded(ask(doing)), tab.chosen, **private)
    there = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    tab.download.click(still_there, tab.chosen, **there).success(None, tab.chosen, js=adapters_download.FETCH)
    given = [tab.chosen, tab.doing, tab.text, tab.strength]
    gr.on([tab.confirm.click, tab.text.submit], guarded(confirm), given, **private)
    cancel.click(close, outputs=tab.dialog, api_visibility="private", show_progress="hidden")
