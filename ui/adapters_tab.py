"""The Adapters tab: what is in the bank, what was refused and why, adding and taking out."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import gradio as gr

from ui import shelf
from ui.house import House, sentence
from ui.words import i18n, say


@dataclass(frozen=True)
class Adapters:
    """The components of the tab that events write to."""

    table: gr.HTML
    path: gr.Textbox
    chosen: gr.Dropdown

    @property
    def outputs(self) -> list:
        return [self.table, self.path, self.chosen]


def build_adapters(house: House) -> Adapters:
    with gr.Row(elem_classes="mt-tools"):
        path = gr.Textbox(label=i18n("adapter_path"), placeholder=i18n("adapter_path_hint"), scale=4, elem_id="adapter-path")
        add = gr.Button(i18n("add"), scale=0, min_width=90, elem_id="adapter-add")
        refresh = gr.Button(i18n("rescan"), scale=0, min_width=130, elem_id="adapter-rescan")
    table = gr.HTML(elem_id="adapter-table")
    with gr.Row(elem_classes="mt-tools"):
        chosen = gr.Dropdown([], label=i18n("take_out"), scale=4, elem_id="adapter-chosen", filterable=False)
        remove = gr.Button(i18n("take_out_button"), scale=0, min_width=130, elem_id="adapter-remove")
    tab = Adapters(table, path, chosen)

    def add_path(request: gr.Request, folder: str) -> dict:
        lang = house.language(request)
        if not folder.strip():
            gr.Warning(say(lang, "no_path"))
            return gr.skip()
        name = shelf.add(house, folder)
        if name:
            gr.Info(say(lang, "adapter_added", name=name))
        return show(house, tab, lang) | {tab.path: "" if name else gr.update()}

    def rescan(request: gr.Request) -> dict:
        lang = house.language(request)
        names = shelf.rescan(house)
        gr.Info(say(lang, "rescanned", names=", ".join(names)) if names else say(lang, "rescanned_nothing"))
        return show(house, tab, lang)

    def take_out(request: gr.Request, name: str | None) -> dict:
        lang = house.language(request)
        if name not in house.engine.adapters:
            gr.Warning(say(lang, "choose_adapter"))
            return show(house, tab, lang)
        try:
            house.engine.remove_adapter(name)
        except Exception as error:
            gr.Warning(sentence(lang, error))
        return show(house, tab, lang)

    private = {"api_visibility": "private", "outputs": tab.outputs, "concurrency_limit": None}
    gr.on([add.click, path.submit], add_path, path, **private)
    refresh.click(rescan, **private)
    remove.click(take_out, chosen, **private)
    return tab


def show(house: House, tab: Adapters, lang: str) -> dict:
    names = sorted(house.engine.adapters)
    return {tab.table: table_html(house, lang), tab.chosen: gr.update(choices=names, value=None)}


def table_html(house: House, lang: str) -> str:
    """Loaded adapters as a table, refusals below it, each with its sentence."""
    listed = shelf.listing(house)
    loaded = [adapter for adapter in listed if not adapter["problem"]]
    places = ", ".join(f"<code>{escape(str(place))}</code>" for place in house.adapters)
    if not loaded:
        body = f'<p class="mt-nothing">{escape(say(lang, "no_adapters"))} {places}</p>'
    else:
        names = ("adapter", "rank", "targets", "parameters", "format", "folder")
        head = "".join(f"<th>{escape(say(lang, name))}</th>" for name in names)
        rows = "".join(
            f"<tr><th>{escape(a['name'])}</th><td>{a['rank']}</td><td>{escape(', '.join(a['targets']))}</td>"
            f"<td>{a['parameters']:,}</td><td>{escape(a['format'] or say(lang, 'not_recorded'))}</td>"
            f"<td><code>{escape(a['folder'])}</code></td></tr>"
            for a in loaded
        )
        body = f'<table class="mt-table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    refused = "".join(
        f"<li><code>{escape(adapter['folder'])}</code><br>{escape(adapter['problem'])}</li>"
        for adapter in listed
        if adapter["problem"]
    )
    if refused:
        body += f'<h3>{escape(say(lang, "refused"))}</h3><ul class="mt-refused">{refused}</ul>'
    return body
