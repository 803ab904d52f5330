"""What happens in the Adapters tab: adding, taking out, renaming, deleting, carrying away, exporting."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import gradio as gr

import identities
from engine.types import EngineError
from identities import NONE
from store import jobs as stored
from ui import adapter_library
from ui.access import roles
from ui.context import App, sentence
from ui.html import paragraph
from ui.listeners import QUIET, SHOWN, bind, bind_or_warn, warn
from ui.tabs.adapters import download, merging, zip_file
from ui.tabs.adapters.layout import Adapters, draw_exports, show_adapter, show_tab
from ui.words import say

NAMED = 6  # of the files that an upload left behind


def wire_adapters(app: App, tab: Adapters) -> None:
    """Everything but the tab's opening, which `layout.show` answers."""
    gr.on([tab.add.click, tab.path.submit], bind(add_path, app, tab), [tab.path, tab.chosen], tab.outputs, **SHOWN)
    tab.rescan.click(bind(rescan, app, tab), tab.chosen, tab.outputs, **SHOWN)
    tab.upload.upload(bind_or_warn(upload, app, tab), [tab.upload, tab.chosen], tab.outputs, **SHOWN)
    tab.timer.tick(bind(refresh_exports, app, tab), [tab.exports, tab.halting], [tab.exports, tab.halt, tab.halting], **QUIET)
    tab.halt.click(bind_or_warn(stop_export, app, tab), tab.halting, [tab.exports, tab.halt, tab.halting], **QUIET)
    tab.chosen.input(_of_chosen(app, tab, choose), tab.chosen, tab.outputs, **QUIET)
    tab.take.click(_of_chosen(app, tab, load_or_take_out), tab.chosen, tab.outputs, **QUIET)
    for doing, button in tab.actions.items():
        button.click(_of_chosen(app, tab, open_dialog, doing), tab.chosen, tab.outputs, **QUIET)
    fetched = tab.download.click(bind(check_still_there, app), tab.chosen, **QUIET)
    fetched.success(None, tab.chosen, js=download.FETCH)
    given = [tab.chosen, tab.doing, tab.text, tab.strength, tab.kind, tab.along, tab.asks]
    gr.on([tab.confirm.click, tab.text.submit], _of_chosen(app, tab, confirm), given, tab.outputs, **QUIET)
    tab.cancel.click(close_dialog, outputs=tab.dialog, **QUIET)


def _of_chosen(app: App, tab: Adapters, act: Callable[..., dict], *more: str) -> Callable:
    """`act(app, tab, *more, lang, name, *values)` as a listener; a mistake is said, and the page shows how things are."""

    def guard(request: gr.Request, name: str | None, *values) -> dict:
        lang = app.language(request)
        if not name:
            gr.Warning(say(lang, "choose_adapter"))
            return gr.skip()
        try:
            return act(app, tab, *more, lang, name, *values)
        except Exception as error:
            warn(lang, error)
            return show_tab(app, tab, lang, name)

    return roles.name_after(guard, act)


def add_path(app: App, tab: Adapters, request: gr.Request, folder: str, chosen: str | None) -> dict:
    lang = app.language(request)
    if not folder.strip():
        gr.Warning(say(lang, "no_path"))
        return gr.skip()
    try:
        name = adapter_library.load_folder(app, app.opened.place(folder, EngineError, "The folder"))
    except EngineError as error:
        warn(lang, error)
        return show_tab(app, tab, lang, chosen)
    roles.record_deed(app, "added adapter", name, folder)
    gr.Info(say(lang, "adapter_added", name=escape(name)))
    return show_tab(app, tab, lang, chosen) | {tab.path: ""}


def rescan(app: App, tab: Adapters, request: gr.Request, chosen: str | None) -> dict:
    lang = app.language(request)
    names = adapter_library.rescan(app)
    gr.Info(say(lang, "rescanned", names=escape(", ".join(names))) if names else say(lang, "rescanned_nothing"))
    return show_tab(app, tab, lang, chosen)


def upload(app: App, tab: Adapters, request: gr.Request, file: str, chosen: str | None) -> dict:
    lang = app.language(request)
    passed: list[str] = []
    folder = zip_file.unpack(file, app.made_adapters, passed)
    roles.record_deed(app, "uploaded adapter", folder.name)
    if passed:
        names = ", ".join(passed[:NAMED]) + (" ..." if len(passed) > NAMED else "")
        gr.Info(say(lang, "upload_passed", count=len(passed), names=escape(names)))
    name = adapter_library.try_load_folder(app, folder)
    if name:
        gr.Info(say(lang, "uploaded", name=escape(name)))
    else:
        why = escape(app.refused[str(folder)])
        gr.Warning(say(lang, "upload_not_loaded", name=escape(folder.name), why=why))
    return show_tab(app, tab, lang, name or chosen)


def refresh_exports(app: App, tab: Adapters, request: gr.Request, seen: str, halting: int | None) -> dict:
    """How exporting goes on, where the page does not show it yet."""
    now = draw_exports(app, tab, app.language(request))
    return gr.skip() if (now[tab.exports], now[tab.halting]) == (seen, halting) else now


def stop_export(app: App, tab: Adapters, request: gr.Request, halting: int | None) -> dict:
    if halting is not None:
        merging.stop(app, halting)
        roles.record_deed(app, "stopped export", stored.get(app.db, halting)["name"])
    return draw_exports(app, tab, app.language(request))


def choose(app: App, tab: Adapters, lang: str, name: str) -> dict:
    return show_adapter(app, tab, lang, name)


def load_or_take_out(app: App, tab: Adapters, lang: str, name: str) -> dict:
    if name in app.engine.adapters:
        app.engine.remove_adapter(name)
    else:
        name = adapter_library.ensure_loaded(app, adapter_library.folder_of(app, name))
    return show_tab(app, tab, lang, name)


def open_dialog(app: App, tab: Adapters, doing: str, lang: str, name: str) -> dict:
    """The dialog before an adapter is renamed, exported or deleted."""
    exported = doing == "export"
    folder = adapter_library.folder_of(app, name) if exported else adapter_library.movable_folder(app, name)
    given = {"rename": name, "export": str(merging.default_target(app, name)), "delete": ""}[doing]
    label = say(lang, "target_folder" if exported else "new_name")
    kinds = [(say(lang, f"export_{kind.replace('-', '_')}"), kind) for kind in merging.KINDS]
    prompts = [(say(lang, "export_alone"), NONE), *((one, one) for one in identities.names(app.identities) if one != NONE)]
    return {
        tab.doing: doing,
        tab.dialog: gr.update(visible=True),
        tab.words: paragraph(say(lang, f"adapter_{doing}", name=name, folder=folder), "mt-dialog-words"),
        tab.text: gr.update(visible=doing != "delete", value=given, label=label),
        tab.strength: gr.update(visible=exported, value=1.0),
        tab.kind: gr.update(visible=exported, choices=kinds, value="folder"),
        tab.along: gr.update(visible=exported, choices=prompts, value=NONE),
        tab.asks: gr.update(visible=exported, value=True),
    }


def confirm(app: App, tab: Adapters, lang: str, name: str, doing: str, text: str, *how) -> dict:
    """how: of an export, its strength, kind, identity and whether it is asked."""
    if doing == "rename":
        old, name = name, adapter_library.rename(app, name, text)
        roles.record_deed(app, "renamed adapter", old, name)
    elif doing == "delete":
        adapter_library.delete(app, name)
        roles.record_deed(app, "deleted adapter", name)
        gr.Info(say(lang, "adapter_deleted", name=escape(name)))
    elif doing == "export":
        merging.queue_merge(app, name, text, *how)
        roles.record_deed(app, "exported adapter", name, text)
    return show_tab(app, tab, lang, name)


def check_still_there(app: App, request: gr.Request, name: str | None) -> None:
    """A download that fails says nothing but that it has failed."""
    try:
        adapter_library.folder_of(app, name or "")
    except EngineError as error:
        raise gr.Error(escape(sentence(app.language(request), error)), print_exception=False) from None


def close_dialog() -> dict:
    return gr.update(visible=False)
