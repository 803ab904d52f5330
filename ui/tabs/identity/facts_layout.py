"""The part of the Identity tab under the prompt: its facts, what would be made of them, and the versions of both."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from identities import LANGS
from ui.tabs.identity.facts import FIELDS, OF_LANG
from ui.words import i18n

LINES = {"role": 2, "aliases": 2}


@dataclass(frozen=True)
class FactsForm:
    """box: all of it but the buttons. fields: by the names of FIELDS. can: what the identity can do. state: the heading, and
    whether the facts are saved. read: takes them from the prompt anew. taught: what would be taught.
    """

    box: gr.Column
    can: gr.HTML
    state: gr.HTML
    fields: dict[str, gr.Textbox]
    read: gr.Button
    taught: gr.HTML

    @property
    def inputs(self) -> list[gr.Textbox]:
        return [self.fields[name] for name in FIELDS]

    @property
    def outputs(self) -> list:
        return [self.box, self.can, self.state, *self.inputs, self.taught]


@dataclass(frozen=True)
class VersionsFold:
    """The saved texts, two of which are compared."""

    table: gr.HTML
    older: gr.Dropdown
    newer: gr.Dropdown
    ask_both: gr.Button
    take_back: gr.Button
    diff: gr.HTML

    @property
    def outputs(self) -> list:
        return [self.table, self.older, self.newer, self.diff]


def build_facts() -> tuple[gr.Column, gr.HTML, gr.HTML, dict[str, gr.Textbox]]:
    """What holds them all, can, state and the fields."""
    with gr.Column(elem_classes="mt-facts-box") as box:
        can, state, fields = _facts()
    return box, can, state, fields


def _facts() -> tuple[gr.HTML, gr.HTML, dict[str, gr.Textbox]]:
    can = gr.HTML(elem_id="identity-can")
    state = gr.HTML(elem_id="identity-facts-state")
    fields: dict[str, gr.Textbox] = {}
    with gr.Row(elem_classes="mt-facts-form", elem_id="identity-facts"):
        for lang in LANGS:
            with gr.Column(min_width=240):
                gr.HTML(f"<h4 lang='{lang}'>{ {'en': 'English', 'zh': '中文'}[lang] }</h4>")
                for key in OF_LANG:
                    fields[f"{lang}.{key}"] = gr.Textbox(
                        label=i18n(f"fact_{key}"), lines=LINES.get(key, 1), max_lines=4, elem_id=f"fact-{lang}-{key}"
                    )
    with gr.Row(elem_classes="mt-facts-form"):
        fields["placeholders"] = gr.Textbox(
            label=i18n("fact_placeholders"),
            info=i18n("fact_placeholders_info"),
            lines=2,
            max_lines=8,
            elem_id="fact-placeholders",
        )
    return can, state, fields


def build_taught() -> gr.HTML:
    with gr.Accordion(i18n("taught"), open=True, elem_classes="mt-unfold", elem_id="identity-taught-fold"):
        return gr.HTML(elem_id="identity-taught")


def build_versions() -> VersionsFold:
    with gr.Accordion(i18n("versions"), open=False, elem_classes="mt-unfold", elem_id="identity-versions-fold"):
        table = gr.HTML(elem_id="identity-versions")
        with gr.Row(elem_classes="mt-tools"):
            older = gr.Dropdown([], label=i18n("version_older"), filterable=False, elem_id="version-older", scale=2)
            newer = gr.Dropdown([], label=i18n("version_newer"), filterable=False, elem_id="version-newer", scale=2)
        with gr.Row(elem_classes="mt-under"):
            ask_both = gr.Button(i18n("version_ask_both"), size="sm", elem_id="version-ask-both", scale=0, min_width=120)
            take_back = gr.Button(i18n("version_take_back"), size="sm", elem_id="version-take-back", scale=0, min_width=120)
        diff = gr.HTML(elem_id="version-diff")
    return VersionsFold(table=table, older=older, newer=newer, ask_both=ask_both, take_back=take_back, diff=diff)
