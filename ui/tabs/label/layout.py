"""The Label tab: who labels which queue, the desk, making queues, agreement, files. What happens is in events."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from html import escape

import gradio as gr

from identities import LANGS
from store import queues
from ui.context import App
from ui.html import paragraph
from ui.tabs.label.files import FILE, RUN, QueueForm
from ui.words import WORDS, i18n, say

ROWS_SHOWN = 200  # what is revealed at once; all of it is in the exported files
ACCEPTED = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".gz", ".xlsx")  # of the last we say what to do with it


@dataclass(frozen=True)
class Making:
    """The form for a new queue: a component for each field of QueueForm, under its name, and what is around them."""

    fold: gr.Accordion
    source: gr.Radio
    run: gr.Dropdown
    file: gr.File
    variants: gr.CheckboxGroup
    langs: gr.CheckboxGroup
    kind: gr.Radio
    blind: gr.Checkbox
    mask: gr.Checkbox
    overlap: gr.Number
    draw: gr.Radio
    size: gr.Number
    old: gr.Dropdown
    new: gr.Dropdown
    name: gr.Textbox
    gold: gr.File
    make: gr.Button
    said: gr.HTML

    @property
    def inputs(self) -> list:
        return [getattr(self, one.name) for one in fields(QueueForm)]


@dataclass(frozen=True)
class Agreeing:
    """The section on agreement, settling and revealing."""

    fold: gr.Accordion
    scope: gr.Radio
    refresh: gr.Button
    settle: gr.Button
    reveal: gr.Button
    dialog: gr.Column
    confirm: gr.Button
    cancel: gr.Button
    figures: gr.HTML
    revealed: gr.HTML
    gold: gr.Button
    gold_figures: gr.HTML


@dataclass(frozen=True)
class Files:
    """Labels in and out."""

    given: gr.File
    said: gr.HTML
    scope: gr.Radio
    export: gr.Button
    exported: gr.HTML
    downloads: gr.File


@dataclass(frozen=True)
class Label:
    """The components of the tab that events write to. chosen: annotator and queue, remembered by the browser."""

    chosen: gr.BrowserState
    annotator: gr.Textbox
    queue: gr.Dropdown
    desk: gr.HTML
    making: Making
    agreeing: Agreeing
    files: Files

    @property
    def outputs(self) -> list:
        making = self.making
        return [self.chosen, self.annotator, self.queue, self.desk, making.fold, making.run, making.variants, making.old,
                making.new, making.said, self.agreeing.figures, self.agreeing.revealed, self.agreeing.dialog,
                self.agreeing.gold_figures]  # fmt: skip


def remembered_choice() -> gr.BrowserState:
    """Who labels which queue, kept by the browser. Outside the tabs: in one, it is read too late for the page's load event."""
    return gr.BrowserState({}, storage_key="mirror-test-label", secret="mirror-test-page")


def build_label(chosen: gr.BrowserState) -> Label:
    """Inside a Tab: lays the tab out; the page's load event fills it."""
    with gr.Row(elem_classes="mt-tools lb-setup"):
        annotator = gr.Textbox(
            label=i18n("lb_annotator"), placeholder=i18n("lb_annotator_hint"), max_lines=1, scale=2, elem_id="lb-annotator"
        )
        queue = gr.Dropdown([], label=i18n("lb_queue"), filterable=False, scale=5, elem_id="lb-queue")
    making = _making()
    desk = gr.HTML(elem_id="lb-desk")
    agreeing = _agreeing()
    files = _files()
    return Label(chosen=chosen, annotator=annotator, queue=queue, desk=desk, making=making, agreeing=agreeing, files=files)


def _making() -> Making:
    def dropdown(key: str, elem_id: str, **more) -> gr.Dropdown:
        return gr.Dropdown([], label=i18n(key), filterable=False, elem_id=elem_id, **more)

    with gr.Accordion(i18n("lb_new"), open=False, elem_classes="mt-unfold", elem_id="lb-new-fold") as fold:
        with gr.Row(elem_classes="mt-form lb-making"):
            with gr.Column(scale=1, min_width=320, elem_classes="mt-fields"):
                source = gr.Radio(
                    [(i18n("lb_source_run"), RUN), (i18n("lb_source_file"), FILE)], value=RUN, label=i18n("lb_source"),
                    elem_id="lb-source",
                )  # fmt: skip
                run = dropdown("lb_run", "lb-run")
                file = gr.File(
                    label=i18n("lb_file"), file_types=list(ACCEPTED), height=140, visible=False,
                    elem_id="lb-file",
                )  # fmt: skip
                variants = gr.CheckboxGroup([], label=i18n("lb_variants"), visible=False, elem_id="lb-variants")
                langs = gr.CheckboxGroup(
                    [("English", "en"), ("中文", "zh")], value=list(LANGS), label=i18n("lb_langs"), elem_id="lb-langs"
                )
                with gr.Row(elem_classes="mt-pair"):
                    old = dropdown("lb_old", "lb-old", min_width=140)
                    new = dropdown("lb_new_identity", "lb-new", min_width=140)
                gold = gr.File(label=i18n("lb_gold_file"), file_types=list(ACCEPTED), height=140, elem_id="lb-gold-file")
                gr.HTML(i18n("lb_gold_about"), elem_classes="lb-about")
            with gr.Column(scale=1, min_width=320, elem_classes="mt-fields"):
                kind = gr.Radio(
                    [(i18n("lb_what_labels"), "labels"), (i18n("lb_what_pairs"), "pairs")],
                    value="labels", label=i18n("lb_what"), elem_id="lb-what",
                )  # fmt: skip
                blind = gr.Checkbox(True, label=i18n("lb_blind"), elem_id="lb-blind")
                mask = gr.Checkbox(False, label=i18n("lb_mask"), elem_id="lb-mask")
                draw = gr.Radio(
                    [(i18n("lb_draw_stratified"), "stratified"), (i18n("lb_draw_all"), "all")],
                    value="stratified", label=i18n("lb_draw"), elem_id="lb-draw",
                )  # fmt: skip
                with gr.Row(elem_classes="mt-pair"):
                    overlap = gr.Number(1, precision=0, minimum=1, label=i18n("lb_overlap"), min_width=110, elem_id="lb-overlap")
                    size = gr.Number(0, precision=0, minimum=0, label=i18n("lb_size"), min_width=110, elem_id="lb-size")
                name = gr.Textbox(label=i18n("lb_name"), max_lines=1, elem_id="lb-name")
                with gr.Row(elem_classes="mt-under"):
                    make = gr.Button(i18n("lb_make"), variant="primary", scale=0, min_width=150, elem_id="lb-make")
        said = gr.HTML(elem_id="lb-made")
    return Making(
        fold=fold, source=source, run=run, file=file, variants=variants, langs=langs, kind=kind, blind=blind, mask=mask,
        overlap=overlap, draw=draw, size=size, old=old, new=new, name=name, gold=gold, make=make, said=said,
    )  # fmt: skip


def _scope(elem_id: str) -> gr.Radio:
    choices = [(i18n("lb_scope_queue"), "queue"), (i18n("lb_scope_all"), "all")]
    return gr.Radio(choices, value="queue", label=i18n("lb_scope"), elem_id=elem_id)


def _button(key: str, elem_id: str, **more) -> gr.Button:
    return gr.Button(i18n(key), size="sm", scale=0, min_width=60, elem_id=elem_id, **more)


def _agreeing() -> Agreeing:
    with gr.Accordion(i18n("lb_agreement"), open=False, elem_classes="mt-unfold", elem_id="lb-agreement-fold") as fold:
        with gr.Row(elem_classes="mt-under lb-under"):
            scope = _scope("lb-agreement-scope")
            refresh = _button("lb_refresh", "lb-agreement-refresh")
            settle = _button("lb_settle", "lb-settle")
            reveal = _button("lb_reveal", "lb-reveal")
            gold = _button("lb_gold", "lb-gold")
        with gr.Column(visible=False, elem_classes="mt-dialog mt-wide", elem_id="lb-reveal-dialog") as dialog:
            gr.HTML(i18n("lb_reveal_ask"), elem_classes="mt-dialog-words")
            with gr.Row(elem_classes="mt-under"):
                confirm = _button("lb_confirm_reveal", "lb-reveal-confirm", variant="primary")
                cancel = _button("lb_cancel", "lb-reveal-cancel")
        figures = gr.HTML(elem_id="lb-agreement")
        gold_figures = gr.HTML(elem_id="lb-gold-figures")
        revealed = gr.HTML(elem_id="lb-revealed")
    return Agreeing(
        fold=fold, scope=scope, refresh=refresh, settle=settle, reveal=reveal, dialog=dialog, confirm=confirm, cancel=cancel,
        figures=figures, revealed=revealed, gold=gold, gold_figures=gold_figures,
    )  # fmt: skip


def _files() -> Files:
    with (
        gr.Accordion(i18n("lb_files"), open=False, elem_classes="mt-unfold", elem_id="lb-files-fold"),
        gr.Row(elem_classes="mt-form lb-making"),
    ):
        with gr.Column(scale=1, min_width=320, elem_classes="mt-fields"):
            gr.HTML(i18n("lb_import"), elem_classes="lb-about")
            given = gr.File(label=i18n("lb_import_label"), file_types=list(ACCEPTED), height=140, elem_id="lb-import")
            gr.HTML(i18n("lb_import_note"), elem_classes="lb-about")
            said = gr.HTML(elem_id="lb-imported")
        with gr.Column(scale=1, min_width=320, elem_classes="mt-fields"):
            with gr.Row(elem_classes="mt-under lb-under"):
                scope = _scope("lb-export-scope")
                export = _button("lb_export", "lb-export")
            exported = gr.HTML(elem_id="lb-exported")
            downloads = gr.File(
                label=i18n("lb_downloads"), file_count="multiple", interactive=False, visible=False, elem_id="lb-downloads"
            )
    return Files(given=given, said=said, scope=scope, export=export, exported=exported, downloads=downloads)


def queue_choices(app: App, lang: str) -> list[tuple[str, int]]:
    """Every queue by a line that says what it is, newest first."""
    return [(queue_line(lang, queue), queue["id"]) for queue in queues.all_with_counts(app.db)]


def queue_line(lang: str, queue: dict) -> str:
    """Its name, size and kind; nothing that changes while one labels, for the line stays on the page."""
    kinds = [] if queue["kind"] == "labels" else [say(lang, f"lb_kind_{queue['kind']}")]
    kinds.append(say(lang, "lb_blind_word" if queue["blind"] else "lb_open_word"))
    kinds += [say(lang, "lb_done_word")] if queue["full"] == queue["items"] else []
    line = say(lang, "lb_queue_line", name=queue["name"], items=queue["items"])
    return f"{line} · {', '.join(kinds)}"


def desk_html(app: App, lang: str, annotator: str, queue: int | None, queues_there: bool, revealed: bool = False) -> str:
    """The place that label.js fills; or what has to be done first."""
    if not annotator or queue is None:
        key = "lb_no_queue" if not queues_there else "lb_need_name" if not annotator else "lb_need_queue"
        return paragraph(say(lang, key), "lb-first")
    words = {key.removeprefix("lbj_"): text for key, text in WORDS.get(lang, WORDS["en"]).items() if key.startswith("lbj_")}
    spoken = escape(json.dumps(words, ensure_ascii=False), quote=True)
    name = escape(annotator, quote=True)
    return (
        f'<mirror-desk data-queue="{int(queue)}" data-annotator="{name}" data-words="{spoken}" data-revealed="{int(revealed)}">'
        "</mirror-desk>"
    )
