"""The Experiment tab: a list of experiments, the plan of a new one, and the page of one. What happens is in events.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr

from ui.context import App
from ui.tabs.experiment import plans
from ui.tabs.experiment.plans import OWN_PLAN, PACKAGED_PLAN
from ui.words import i18n, say

NEW = "new "  # with a blank, as no experiment's folder has one
TICK_S = 2.0
ACCEPTED = (".yaml", ".yml", ".txt")
LINES = 24


@dataclass(frozen=True)
class PlanForm:
    """A plan's text, what changes it, and what it means. edit: what was clicked in the table, written by experiment.js."""

    box: gr.Column
    head: gr.HTML
    start_from: gr.Dropdown
    upload: gr.UploadButton
    text: gr.Code
    dose: gr.Number
    add_dose: gr.Button
    edit: gr.Textbox
    outlook: gr.HTML
    find: gr.Checkbox
    start: gr.Button
    command: gr.HTML

    @property
    def outputs(self) -> list:
        return [self.head, self.start_from, self.text, self.dose, self.outlook, self.command]


@dataclass(frozen=True)
class ExperimentPage:
    """One experiment. asked: the cell that was clicked, written by experiment.js; cell: the one whose panel is open."""

    box: gr.Column
    head: gr.HTML
    stop: gr.Button
    go_on: gr.Button
    find: gr.Checkbox
    change: gr.Button
    results: gr.Button
    label: gr.Button
    report: gr.HTML
    found: gr.HTML
    curves: gr.HTML
    cells: gr.HTML
    asked: gr.Textbox
    cell: gr.State
    panel_box: gr.Column
    panel: gr.HTML
    chat: gr.Button
    cell_label: gr.Button
    cell_results: gr.Button
    log: gr.HTML
    command: gr.HTML


@dataclass(frozen=True)
class Experiment:
    """The components of the tab that events write to. seen: what each part of the page shows already; newest: by session, the
    plan that was described last, so that what is foreseen of an older one is not shown."""

    seen: gr.State
    runs: gr.Radio
    form: PlanForm
    page: ExperimentPage
    timer: gr.Timer
    pulse: gr.HTML  # changes when more than the bar of the experiment under way does
    newest: dict[str, str] = field(default_factory=dict)

    @property
    def page_outputs(self) -> list:
        """What choosing an experiment, or news of one, may change."""
        page = self.page
        parts = [page.head, page.stop, page.go_on, page.find, page.change, page.results, page.label, page.report, page.found]
        parts += [page.curves, page.cells, page.cell, page.panel_box, page.panel, page.chat, page.cell_label, page.cell_results]
        return [self.seen, self.runs, self.form.box, page.box, *parts, page.log, page.command]

    @property
    def outputs(self) -> list:
        return [*self.page_outputs, *self.form.outputs]


def build_experiment() -> Experiment:
    """Inside a Tab: lays the tab out; opening it fills it."""
    seen = gr.State({})
    with gr.Row(elem_classes="mt-identity"):
        with gr.Column(scale=1, min_width=180, elem_classes="mt-side"):
            runs = gr.Radio([(i18n("xp_new"), NEW)], value=NEW, label=i18n("xp_list"), elem_classes="mt-list", elem_id="xp-runs")
        form, page = _plan_form(), _experiment_page()
    pulse = gr.HTML(elem_classes="mt-pulse")
    return Experiment(seen=seen, runs=runs, form=form, page=page, timer=gr.Timer(TICK_S), pulse=pulse)


def _plan_form() -> PlanForm:
    with gr.Column(scale=4, min_width=340, elem_id="xp-form", **main_class(True)) as box:
        head = gr.HTML()
        with gr.Row(elem_classes="mt-form xp-form"):
            with gr.Column(scale=5, min_width=300, elem_classes="mt-fields"):
                with gr.Row(elem_classes="mt-pair xp-begin"):
                    start_from = gr.Dropdown(
                        [], label=i18n("xp_start_from"), filterable=False, scale=4, min_width=180, elem_id="xp-from"
                    )
                    upload = gr.UploadButton(
                        i18n("own_upload"), file_types=list(ACCEPTED), size="sm", scale=0, min_width=90, elem_id="xp-upload"
                    )
                text = gr.Code(
                    language="yaml", lines=LINES, max_lines=LINES + 16, label=i18n("xp_plan"), interactive=True,
                    buttons=["copy", "download"], elem_id="xp-text",
                )  # fmt: skip
                with gr.Row(elem_classes="mt-pair xp-begin"):
                    dose = gr.Number(None, precision=0, label=i18n("xp_dose_to_add"), scale=4, min_width=120, elem_id="xp-dose")
                    add_dose = _button("xp_add_dose", "xp-add-dose", visible=True)
            with gr.Column(scale=8, min_width=330, elem_classes="mt-meaning xp-meaning"):
                outlook = gr.HTML(elem_id="xp-outlook")
                find = gr.Checkbox(False, label=i18n("xp_find"), info=i18n("xp_find_info"), elem_id="xp-find")
                start = gr.Button(i18n("xp_begin"), variant="primary", elem_id="xp-start")
                with gr.Accordion(i18n("command"), open=False, elem_classes="mt-unfold", elem_id="xp-command-fold"):
                    command = gr.HTML(elem_id="xp-command")
        edit = gr.Textbox("", elem_id="xp-edit", elem_classes="mt-hidden", show_label=False, container=False)
    return PlanForm(
        box=box, head=head, start_from=start_from, upload=upload, text=text, dose=dose, add_dose=add_dose, edit=edit,
        outlook=outlook, find=find, start=start, command=command,
    )  # fmt: skip


def _experiment_page() -> ExperimentPage:
    with gr.Column(scale=4, min_width=340, elem_id="xp-page", **main_class(False)) as box:
        head = gr.HTML(elem_id="xp-head")
        with gr.Row(elem_classes="mt-under mt-actions"):
            stop = _button("stop_run", "xp-stop")
            go_on = _button("xp_go_on", "xp-go-on", variant="primary")
            change = _button("xp_change", "xp-change")
            label = _button("xp_label_all", "xp-label-all")
            results = _button("xp_results_all", "xp-results-all")
            report = gr.HTML(elem_id="xp-report")
        find = gr.Checkbox(False, label=i18n("xp_find"), visible=False, elem_id="xp-find-again")
        found = gr.HTML(elem_id="xp-found")
        curves = gr.HTML(elem_id="xp-curves")
        cells = gr.HTML(elem_id="xp-cells")
        asked = gr.Textbox("", elem_id="xp-asked", elem_classes="mt-hidden", show_label=False, container=False)
        with gr.Column(elem_id="xp-panel-box", **panel_class(False)) as panel_box:
            panel = gr.HTML(elem_id="xp-panel")
            with gr.Row(elem_classes="mt-under mt-actions"):
                chat = _button("xp_in_chat", "xp-chat", variant="primary")
                cell_label = _button("xp_label_cell", "xp-label")
                cell_results = _button("xp_results_cell", "xp-results")
        with gr.Accordion(i18n("log"), open=False, elem_classes="mt-unfold", elem_id="xp-log-fold"):
            log = gr.HTML(elem_id="xp-log")
        with gr.Accordion(i18n("command"), open=False, elem_classes="mt-unfold", elem_id="xp-run-command-fold"):
            command = gr.HTML(elem_id="xp-run-command")
    return ExperimentPage(
        box=box, head=head, stop=stop, go_on=go_on, find=find, change=change, results=results, label=label, report=report,
        found=found, curves=curves, cells=cells, asked=asked, cell=gr.State(""), panel_box=panel_box, panel=panel, chat=chat,
        cell_label=cell_label, cell_results=cell_results, log=log, command=command,
    )  # fmt: skip


def main_class(there: bool) -> dict[str, Any]:
    """Of the plan and an experiment's page one is there. By a class: what is made invisible is made anew, and forgets itself."""
    return {"elem_classes": ["mt-main"] if there else ["mt-main", "mt-hidden"]}


def panel_class(there: bool) -> dict[str, Any]:
    return {"elem_classes": ["xp-panel"] if there else ["xp-panel", "mt-hidden"]}


def _button(key: str, elem_id: str, variant: Any = "secondary", visible: bool = False) -> gr.Button:
    return gr.Button(i18n(key), size="sm", variant=variant, elem_id=elem_id, visible=visible, scale=0, min_width=60)


def start_choices(app: App, lang: str) -> list[tuple[str, str]]:
    """What a plan can begin with, words before values."""
    packaged = [(say(lang, "xp_packaged", name=name), f"{PACKAGED_PLAN} {name}") for name in plans.starts()]
    return packaged + [(say(lang, "xp_of_experiment", name=name), f"{OWN_PLAN} {name}") for name in plans.names(app)]


def form_head(lang: str, base: str) -> str:
    return f'<h2>{escape(say(lang, "xp_new_head"))}</h2><p class="mt-quiet">{escape(say(lang, "xp_new_note", base=base))}</p>'
