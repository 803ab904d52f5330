"""The Results tab: which answers, judged by whose words, as a table, curves and a report. What happens is in events.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from probes.verdicts.rules import SOURCES
from ui import training
from ui.context import App
from ui.tabs.results import source as results_source
from ui.tabs.results.files import ACCEPTED
from ui.tabs.results.training_files import CHOSEN, GOOD, SCOPES
from ui.words import i18n

INPUTS = ("sources", "given", "old", "new", "evidence")
QUICK = 3000  # answers of the latest run up to which the table is filled without being asked for


@dataclass(frozen=True)
class Results:
    """The components of the tab that events write to. made: the report that is shown; given: the files that were added;
    drawn: the one whose curves are shown. asked: what was clicked in the table, written by results.js."""

    sources: gr.Dropdown
    old: gr.Dropdown
    new: gr.Dropdown
    evidence: gr.Radio
    upload: gr.UploadButton
    forget: gr.Button
    given: gr.State
    listed: gr.HTML
    show: gr.Button
    made: gr.State
    drawn: gr.State
    problem: gr.HTML
    table: gr.HTML
    asked: gr.Textbox
    panel: gr.HTML
    sides: gr.HTML
    curves: gr.HTML
    votes: gr.HTML
    comparing: gr.Column
    first: gr.Dropdown
    second: gr.Dropdown
    compared: gr.HTML
    scope: gr.Radio
    speaker: gr.Radio
    train: gr.Button
    train_said: gr.HTML
    train_files: gr.File
    exports: gr.Column
    title: gr.Textbox
    write: gr.Button
    parcel: gr.DownloadButton
    files: gr.File

    @property
    def inputs(self) -> list:
        """What `source.read_form` reads, in the order of `plain_values`."""
        return [getattr(self, name) for name in INPUTS]

    @property
    def report_outputs(self) -> list:
        """What a new table replaces."""
        shown = [self.table, self.panel, self.sides, self.curves, self.votes]
        return [self.made, self.problem, *shown, *self.compare_outputs, self.exports, self.parcel, self.files]

    @property
    def compare_outputs(self) -> list:
        return [self.comparing, self.first, self.second, self.compared]

    @property
    def outputs(self) -> list:
        return [self.sources, self.old, self.new, self.evidence, self.forget, self.given, self.listed, *self.report_outputs]


def build_results() -> Results:
    """Inside a Tab: lays the tab out. `events.wire_results` wires it, opening it fills it."""
    with gr.Row(elem_classes="mt-tools mt-form mt-results-form"):
        sources = gr.Dropdown(
            [], multiselect=True, label=i18n("results_sources"), scale=4, elem_id="results-sources", min_width=320
        )
        old = gr.Dropdown([], label=i18n("results_old"), scale=1, elem_id="results-old", filterable=False, min_width=150)
        new = gr.Dropdown([], label=i18n("results_new"), scale=1, elem_id="results-new", filterable=False, min_width=150)
    with gr.Row(elem_classes="mt-tools mt-form mt-results-form"):
        evidence = gr.Radio(
            [(i18n(f"results_by_{source}"), source) for source in SOURCES], value=SOURCES[0], label=i18n("results_evidence"),
            scale=4, elem_id="results-evidence", min_width=320,
        )  # fmt: skip
        upload = gr.UploadButton(
            i18n("results_upload"), file_types=list(ACCEPTED), file_count="multiple", scale=0, min_width=105,
            elem_id="results-upload", variant="secondary",
        )  # fmt: skip
        forget = gr.Button(i18n("results_forget"), scale=0, min_width=105, elem_id="results-forget", visible=False)
        show = gr.Button(i18n("results_show"), variant="primary", scale=0, min_width=128, elem_id="results-show")
    given, made, drawn = gr.State([]), gr.State(None), gr.State(None)
    listed = gr.HTML(elem_id="results-given")
    problem = gr.HTML(elem_id="results-problem")
    table = gr.HTML(elem_id="results-table")
    asked = gr.Textbox("", elem_id="results-asked", elem_classes="mt-hidden", show_label=False, container=False)
    sides = gr.HTML(elem_id="results-sides")
    panel = gr.HTML(elem_id="results-panel")
    compare = _compare_fields()
    curves = gr.HTML(elem_id="results-curves")
    votes = gr.HTML(elem_id="results-votes")
    train = _training_fields()
    return Results(
        sources=sources, old=old, new=new, evidence=evidence, upload=upload, forget=forget, given=given, listed=listed,
        show=show, made=made, drawn=drawn, problem=problem, table=table, asked=asked, panel=panel, sides=sides,
        curves=curves, votes=votes, **compare, **train, **_export_fields(),
    )  # fmt: skip


def _compare_fields() -> dict[str, Any]:
    """Which two variants are compared, and how they do; the components by the names of Results."""
    with gr.Column(visible=False, elem_id="results-comparing") as comparing:
        gr.HTML(i18n("results_compare"), elem_classes="mt-step mt-step-words")
        with gr.Row(elem_classes="mt-tools mt-form mt-results-form"):
            first, second = (
                gr.Dropdown([], label=i18n(f"results_compare_{side}"), elem_id=f"results-{side}", filterable=False, min_width=200)
                for side in ("first", "second")
            )
        compared = gr.HTML(elem_id="results-compared")
    return dict(comparing=comparing, first=first, second=second, compared=compared)


def _training_fields() -> dict[str, Any]:
    """What files for training are made of; the components by the names of Results."""
    with gr.Accordion(i18n("results_train"), open=False, elem_classes="mt-unfold", elem_id="results-train-fold"):
        gr.HTML(i18n("results_train_about"), elem_classes="mt-quiet")
        with gr.Row(elem_classes="mt-tools mt-form mt-results-form"):
            scope = gr.Radio(
                [(i18n(f"results_train_scope_{name}"), name) for name in SCOPES], value=CHOSEN, label=i18n("results_train_scope"),
                scale=2, min_width=260, elem_id="results-train-scope",
            )  # fmt: skip
            speaker = gr.Radio(
                [(i18n(f"results_train_speaker_{name}"), name) for name in GOOD], value="new",
                label=i18n("results_train_speaker"), scale=2, min_width=260, elem_id="results-train-speaker",
            )  # fmt: skip
            train = gr.Button(i18n("results_train_make"), scale=0, min_width=140, elem_id="results-train")
        train_said = gr.HTML(elem_id="results-train-said")
        train_files = gr.File(
            label=i18n("results_train_files"),
            file_count="multiple",
            interactive=False,
            visible=False,
            elem_id="results-train-files",
        )
    return dict(scope=scope, speaker=speaker, train=train, train_said=train_said, train_files=train_files)


def _export_fields() -> dict[str, Any]:
    """What the report is written with; the components by the names of Results."""
    with gr.Column(visible=False, elem_id="results-exports") as exports:
        with gr.Row(elem_classes="mt-tools mt-chooser"):
            title = gr.Textbox(
                label=i18n("results_title"), placeholder="Mirror Test", max_lines=1, scale=2, elem_id="results-title",
                min_width=200,
            )  # fmt: skip
            write = gr.Button(i18n("results_write"), scale=0, min_width=170, elem_id="results-write")
            parcel = gr.DownloadButton(
                i18n("results_parcel"), scale=0, min_width=170, elem_id="results-parcel", visible=False, variant="primary"
            )
        files = gr.File(
            file_count="multiple", interactive=False, visible=False, show_label=False, elem_id="results-files",
            elem_classes="mt-files",
        )  # fmt: skip
    return dict(exports=exports, title=title, write=write, parcel=parcel, files=files)


def plain_values(given: Sequence[Any]) -> dict[str, Any]:
    """The values of the tab's inputs by name."""
    return dict(zip(INPUTS, given, strict=True))


def open_results(app: App, tab: Results, lang: str, chosen: list[str] | None = None) -> dict:
    """What can be chosen; nothing is judged yet. chosen: what was chosen before; None when the tab is opened for the first time:
    then it is the latest run."""
    offered = results_source.choices(app, lang)
    there = [source for _, source in offered]
    if chosen is not None:
        return {tab.sources: gr.update(choices=offered, value=[source for source in chosen if source in there])}
    return {tab.sources: gr.update(choices=offered, value=there[:1])} | side_updates(app, tab, there[:1])


def side_updates(app: App, tab: Results, sources: list[str]) -> dict:
    """The two identities: those that the first run with facts of its own was asked about, else the base's and another one."""
    old, new = results_source.identities_asked_about(app, sources) or results_source.default_sides(app)
    known = training.known_identities(app)
    names = [*known, *(name for name in dict.fromkeys((old, new)) if name and name not in known)]
    return {tab.old: gr.update(choices=names, value=old or None), tab.new: gr.update(choices=names, value=new or None)}
