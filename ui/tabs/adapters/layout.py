"""The Adapters tab: what there is and how it was made, and what can be done with it. What happens is in events.py."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from engine.types import MAX_STRENGTH
from store import jobs as stored
from ui import adapter_library
from ui.context import App
from ui.tabs.adapters import cards, exports, merging
from ui.words import i18n, say

TICK_S = 2.0
EXPORTS = 5


@dataclass(frozen=True)
class Adapters:
    """The components of the tab. doing: what the dialog is about."""

    path: gr.Textbox
    add: gr.Button
    upload: gr.UploadButton
    rescan: gr.Button
    table: gr.HTML
    chosen: gr.Dropdown
    take: gr.Button
    actions: dict[str, gr.Button]
    download: gr.Button
    doing: gr.State
    dialog: gr.Column
    words: gr.HTML
    text: gr.Textbox
    strength: gr.Slider
    kind: gr.Dropdown
    along: gr.Dropdown
    asks: gr.Checkbox
    confirm: gr.Button
    cancel: gr.Button
    card: gr.HTML
    exports: gr.HTML
    halt: gr.Button
    halting: gr.State
    timer: gr.Timer

    @property
    def outputs(self) -> list:
        about = [self.table, self.path, self.chosen, self.card, self.take, *self.actions.values(), self.download]
        dialog = [self.doing, self.dialog, self.words, self.text, self.strength, self.kind, self.along, self.asks]
        return [*about, *dialog, self.exports, self.halt, self.halting]


def build_adapters() -> Adapters:
    """Inside a Tab: lays the tab out; the page's load event fills it."""
    with gr.Row(elem_classes="mt-tools"):
        path = gr.Textbox(label=i18n("adapter_path"), placeholder=i18n("adapter_path_hint"), scale=4, elem_id="adapter-path")
        add = gr.Button(i18n("add"), scale=0, min_width=90, elem_id="adapter-add")
        upload = gr.UploadButton(
            i18n("upload"), file_types=[".zip"], scale=0, min_width=120, elem_id="adapter-upload", variant="secondary"
        )
        rescan = gr.Button(i18n("rescan"), scale=0, min_width=130, elem_id="adapter-rescan")
    table = gr.HTML(elem_id="adapter-table")
    with gr.Row(elem_classes="mt-tools mt-form mt-chooser"):
        chosen = gr.Dropdown([], label=i18n("chosen_adapter"), scale=2, elem_id="adapter-chosen", filterable=False)
        take = gr.Button(i18n("take_out_button"), scale=0, min_width=90, elem_id="adapter-remove", visible=False)
        actions = {
            doing: gr.Button(i18n(doing), scale=0, min_width=90, elem_id=f"adapter-{doing}", visible=False)
            for doing in ("rename", "export", "delete")
        }
        download = gr.Button(i18n("download"), scale=0, min_width=120, elem_id="adapter-download", visible=False)
    doing = gr.State("")
    with gr.Column(visible=False, elem_classes="mt-dialog mt-wide", elem_id="adapter-dialog") as dialog:
        words = gr.HTML()
        with gr.Row(elem_classes="mt-tools mt-form mt-chooser"):
            kind = gr.Dropdown([], label=i18n("export_as"), scale=3, elem_id="adapter-kind", filterable=False)
            along = gr.Dropdown([], label=i18n("export_along"), scale=2, elem_id="adapter-along", filterable=False)
        text = gr.Textbox(label=i18n("new_name"), max_lines=1, elem_id="adapter-text")
        strength = gr.Slider(0.05, MAX_STRENGTH, 1.0, step=0.05, label=i18n("strength"), buttons=[], elem_id="adapter-strength")
        asks = gr.Checkbox(True, label=i18n("export_asks"), elem_id="adapter-asks")
        with gr.Row(elem_classes="mt-under"):
            confirm = gr.Button(i18n("confirm"), size="sm", variant="primary", elem_id="adapter-confirm", scale=0, min_width=60)
            cancel = gr.Button(i18n("cancel"), size="sm", elem_id="adapter-cancel", scale=0, min_width=60)
    card = gr.HTML(elem_id="adapter-card")
    listed = gr.HTML(elem_id="adapter-exports")
    halt = gr.Button(size="sm", elem_id="adapter-halt", scale=0, min_width=90, visible=False)
    halting = gr.State(None)
    timer = gr.Timer(TICK_S)
    return Adapters(
        path=path, add=add, upload=upload, rescan=rescan, table=table, chosen=chosen, take=take, actions=actions,
        download=download, doing=doing, dialog=dialog, words=words, text=text, strength=strength, kind=kind, along=along,
        asks=asks, confirm=confirm, cancel=cancel, card=card, exports=listed, halt=halt, halting=halting, timer=timer,
    )  # fmt: skip


def show_tab(app: App, tab: Adapters, lang: str, chosen: str | None = None) -> dict:
    """The whole tab, with one adapter looked at or none."""
    known = adapter_library.choices(app)
    states = {"loaded": "", "unloaded": f" ({say(lang, 'is_unloaded')})", "refused": f" ({say(lang, 'is_refused')})"}
    choices = [(f"{name}{states[what]}", name) for name, (what, _) in known.items()]
    chosen = chosen if chosen in known else None
    return {
        tab.table: cards.table_html(app, lang),
        tab.chosen: gr.update(choices=choices, value=chosen),
        **draw_exports(app, tab, lang),
        tab.doing: "",
        tab.dialog: gr.update(visible=False),
    } | show_adapter(app, tab, lang, chosen)


def show_adapter(app: App, tab: Adapters, lang: str, name: str | None) -> dict:
    """One adapter's card and what can be done with it."""
    updates = {button: gr.update(visible=bool(name)) for button in tab.actions.values()}
    if not name:
        return updates | {tab.card: "", tab.take: gr.update(visible=False), tab.download: gr.update(visible=False)}
    key = "take_out_button" if name in app.engine.adapters else "load"
    return updates | {
        tab.card: cards.card_html(app, lang, name),
        tab.take: gr.update(visible=True, value=say(lang, key)),
        tab.download: gr.update(visible=True),
    }


def draw_exports(app: App, tab: Adapters, lang: str) -> dict:
    """What was exported, and the button that ends what is under way."""
    jobs = [job for job in stored.recent(app.db) if job["kind"] == "merge"]
    busy = merging.under_way(app)
    stop = say(lang, "export_stop", name=busy["name"]) if busy else ""
    return {
        tab.exports: exports.exports_html(lang, jobs[:EXPORTS]),
        tab.halt: gr.update(visible=bool(busy), value=stop),
        tab.halting: busy["id"] if busy else None,
    }
