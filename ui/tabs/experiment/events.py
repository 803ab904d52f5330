"""What happens in the Experiment tab: a plan is written and begun, an experiment watched, stopped, gone on with, handed on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import gradio as gr

from common import reading
from common.seeming import not_what_it_seems
from experiments import editing, progress
from experiments.places import ExperimentError
from ui import running
from ui.access import roles
from ui.context import App, sentence
from ui.conversation import Page
from ui.html import failure
from ui.late_tabs import Place
from ui.listeners import QUIET, SHOWN, bind, bind_or_warn, warn
from ui.tabs.experiment import handing, layout, plan_table, plans, report, run_page, show
from ui.tabs.experiment.layout import NEW, Experiment
from ui.tabs.experiment.plans import OWN_PLAN, PACKAGED_PLAN
from ui.words import say

SESSIONS = 1000  # whose newest plan is remembered


def wire_experiment(app: App, tab: Experiment, place: Place) -> None:
    """Everything but what other tabs are handed."""
    form, page = tab.form, tab.page
    asked, shown = [form.text, form.find], [form.outlook, form.command]
    describes = QUIET | dict(fn=bind(describe_plan, app, tab), inputs=asked, outputs=shown, trigger_mode="always_last")
    foresees = QUIET | dict(fn=bind(foresee_plan, app, tab), inputs=form.text, outputs=form.outlook, trigger_mode="always_last")
    place.opened(app, bind(open_experiment, app, tab), None, tab.outputs).then(**describes).then(**foresees)
    place.visited(app, bind(offer_plans, app, tab), None, [form.start_from])
    # change, not input: a plan that is put there by a button is described, too
    form.text.change(**describes).then(**foresees)
    form.find.input(**describes).then(**foresees)
    form.start_from.input(bind_or_warn(read_plan, app), form.start_from, form.text, **QUIET)
    form.upload.upload(bind_or_warn(upload_plan, app), form.upload, form.text, **QUIET)
    dosed = [form.text, form.dose]
    gr.on([form.add_dose.click, form.dose.submit], bind_or_warn(add_dose, app, tab), dosed, dosed, **QUIET)
    form.edit.change(bind_or_warn(edit_cells, app), [form.text, form.edit], form.text, **QUIET)
    begun = [*tab.page_outputs, form.start_from]
    form.start.click(bind_or_warn(start_experiment, app, tab), [form.text, form.find], begun, trigger_mode="once", **SHOWN)

    tab.timer.tick(bind(show_progress, app, tab), [tab.runs, tab.pulse], [tab.pulse, page.head], **QUIET)
    tab.pulse.change(bind(refresh_page, app, tab), [tab.runs, tab.seen, page.cell], tab.page_outputs, **QUIET)
    tab.runs.input(bind(choose_experiment, app, tab), tab.runs, tab.page_outputs, **QUIET)
    page.asked.change(bind_or_warn(choose_cell, app, tab), [tab.runs, tab.seen, page.cell, page.asked], tab.page_outputs, **QUIET)
    page.stop.click(_of_chosen(app, tab, stop_experiment), [tab.runs, page.find], tab.page_outputs, **QUIET)
    page.go_on.click(_of_chosen(app, tab, go_on), [tab.runs, page.find], tab.page_outputs, trigger_mode="once", **QUIET)
    page.change.click(bind_or_warn(change_plan, app, tab), tab.runs, [*begun, form.text], **QUIET)


def wire_handing(
    app: App,
    tab: Experiment,
    chat: tuple[gr.State, list, Collection[str], Callable[..., dict]],
    label: tuple[gr.BrowserState, list, Callable[..., dict]],
    results: tuple[list, Callable[..., dict]],
) -> None:
    """What a cell, or a whole experiment, becomes in other tabs.

    chat: its page, what `open_chat(page, pick, lang)` may change, whose columns are still answering, and that function. label:
    annotator and queue, what `open_label(queue, them)` changes, and that function. results: likewise of `open_results(runs)`.
    """
    columns, outputs, answering, open_chat = chat
    whose, queue, open_label = label
    shown, open_results = results
    page, cell = tab.page, [tab.runs, tab.page.cell]
    once = QUIET | {"trigger_mode": "once"}
    page.chat.click(bind_or_warn(ask_in_chat, app, answering, open_chat), [columns, *cell], outputs, **once)
    page.cell_label.click(bind_or_warn(label_answers, app, open_label), [whose, *cell], queue, **once)
    page.label.click(bind_or_warn(label_answers, app, open_label), [whose, tab.runs], queue, **once)
    page.cell_results.click(bind_or_warn(show_results, app, open_results), cell, shown, **once)
    page.results.click(bind_or_warn(show_results, app, open_results), [tab.runs], shown, **once)


def open_experiment(app: App, tab: Experiment, request: gr.Request) -> dict:
    """The experiment that is under way, or the newest one, or an empty form with the plan to begin with."""
    lang, form = app.language(request), tab.form
    known = plans.states(app, show.LISTED)
    busy = [name for name, state in known.items() if state and state.is_under_way]
    first = f"{PACKAGED_PLAN} {plans.starts()[0]}"
    return show.show(app, tab, lang, next(iter([*busy, *known]), NEW), {}) | {
        form.head: layout.form_head(lang, app.engine.base.name),
        form.start_from: gr.update(choices=layout.start_choices(app, lang), value=first),
        form.text: plans.read_start(app, first),
        form.dose: None,  # said, not left out: a number without a value is shown as 0
    }


def offer_plans(app: App, tab: Experiment, request: gr.Request) -> dict:
    return {tab.form.start_from: gr.update(choices=layout.start_choices(app, app.language(request)))}


def describe_plan(app: App, tab: Experiment, request: gr.Request, text: str | None, find: bool) -> dict:
    """What the text means, at once; what it takes is still to come."""
    lang, text = app.language(request), text or ""
    while len(tab.newest) >= SESSIONS:
        tab.newest.pop(next(iter(tab.newest)))
    tab.newest[request.session_hash or ""] = text
    try:
        told = plans.describe(app, text)
        command = running.command_html(lang, plans.command(app, told.plan, text, find), "xp_command_note") if told.plan else ""
        return {tab.form.outlook: plan_table.outlook_html(lang, told, waiting=True), tab.form.command: command}
    except Exception as error:
        return {tab.form.outlook: failure(sentence(lang, error)), tab.form.command: ""}


def foresee_plan(app: App, tab: Experiment, request: gr.Request, text: str | None) -> str | dict:
    """Time, memory and disk beside it, unless the plan is another one by now."""
    lang, text = app.language(request), text or ""
    if not _is_newest(tab, request, text):
        return gr.skip()
    try:
        told = plans.describe(app, text)
        if told.plan is None:
            return gr.skip()
        shown = plan_table.outlook_html(lang, plans.foreseen(app, told))
    except Exception as error:
        shown = failure(sentence(lang, error))
    return shown if _is_newest(tab, request, text) else gr.skip()


def _is_newest(tab: Experiment, request: gr.Request, text: str) -> bool:
    return tab.newest.get(request.session_hash or "", text) == text


def read_plan(app: App, request: gr.Request, chosen: str | None) -> str | dict:
    return plans.read_start(app, chosen) if chosen else gr.skip()


def upload_plan(app: App, request: gr.Request, file: str) -> str:
    if odd := not_what_it_seems(Path(file)):
        raise ExperimentError(f"{Path(file).name} {odd}.")
    return reading.read_text(file, "plan", ExperimentError)


def add_dose(app: App, tab: Experiment, request: gr.Request, text: str | None, dose: float | None) -> dict:
    if dose is None or dose < 0:
        gr.Warning(say(app.language(request), "xp_which_dose"))
        return gr.skip()
    return {tab.form.text: editing.add_dose(text or "", int(dose)), tab.form.dose: None}


def edit_cells(app: App, request: gr.Request, text: str | None, clicked: str) -> str | dict:
    """clicked: "drop/LABEL#3" or "restore/LABEL#4"; the number makes every click another value."""
    act, _, rest = (clicked or "").partition("/")
    label = rest.rpartition("#")[0]
    if not label:
        return gr.skip()
    return (editing.drop_cell if act == "drop" else editing.restore_cell)(text or "", label)


def start_experiment(app: App, tab: Experiment, request: gr.Request, text: str | None, find: bool) -> dict:
    lang = app.language(request)
    name = plans.begin(app, text or "", bool(find))
    roles.record_deed(app, "started experiment", name)
    return show.show(app, tab, lang, name, {}) | {tab.form.start_from: gr.update(choices=layout.start_choices(app, lang))}


def show_progress(app: App, tab: Experiment, request: gr.Request, chosen: str, pulse: str) -> dict:
    """Of the experiment under way its head; and whether there is more to look at."""
    lang, known = app.language(request), plans.states(app, show.LISTED)
    beats = show.pulse_of(lang, known, chosen, chosen in known and report.is_there(app, chosen))
    updates: dict = {} if pulse == beats else {tab.pulse: beats}
    state = known.get(chosen)
    if state and state.is_under_way:
        updates[tab.page.head] = run_page.head_html(lang, chosen, state)
    return updates or gr.skip()


def refresh_page(app: App, tab: Experiment, request: gr.Request, chosen: str, seen: dict, cell: str) -> dict:
    return show.show(app, tab, app.language(request), chosen, seen, cell, ticking=True) or gr.skip()


def choose_experiment(app: App, tab: Experiment, request: gr.Request, chosen: str) -> dict:
    return show.show(app, tab, app.language(request), chosen, {})


def choose_cell(app: App, tab: Experiment, request: gr.Request, chosen: str, seen: dict, cell: str, asked: str) -> dict:
    """A click on a cell opens its panel, another one on the same cell closes it. asked: LABEL#3, as in `edit_cells`."""
    label = (asked or "").rpartition("#")[0]
    if not label:
        return gr.skip()
    return show.show(app, tab, app.language(request), chosen, seen, "" if label == cell else label, ticking=True) or gr.skip()


def _of_chosen(app: App, tab: Experiment, act: Callable[[App, str, bool], None]) -> Callable:
    """Does something to the chosen experiment; whatever is wrong with that is said, and the page shows how things are."""

    def acted(request: gr.Request, chosen: str, find: bool) -> dict:
        lang = app.language(request)
        try:
            act(app, chosen, bool(find))
        except Exception as error:
            warn(lang, error)
        return show.show(app, tab, lang, chosen, {})

    return roles.name_after(acted, act)


def stop_experiment(app: App, name: str, find: bool) -> None:
    if progress.stop(plans.places_named(app, name)):
        roles.record_deed(app, "stopped experiment", name)


def go_on(app: App, name: str, find: bool) -> None:
    plans.go_on(app, name, find)
    roles.record_deed(app, "resumed experiment", name)


def change_plan(app: App, tab: Experiment, request: gr.Request, chosen: str) -> dict:
    """The form with the experiment's plan: what is begun under the same name goes on with what is kept."""
    lang, source = app.language(request), f"{OWN_PLAN} {chosen}"
    from_it = gr.update(choices=layout.start_choices(app, lang), value=source)
    return show.show(app, tab, lang, NEW, {}) | {tab.form.text: plans.read_start(app, source), tab.form.start_from: from_it}


def ask_in_chat(
    app: App, answering: Collection[str], open_chat: Callable[..., dict], request: gr.Request, page: Page, chosen: str, label: str
) -> dict:
    """The cell as a column of the chat, beside the base."""
    lang = app.language(request)
    if request.session_hash in answering:
        gr.Warning(say(lang, "still_answering"))
        return gr.skip()
    cell = handing.cell_of(plans.state_of(app, chosen), label)
    return open_chat(page, handing.picked_of(app, chosen, cell), lang)


def label_answers(
    app: App, open_label: Callable[..., dict], request: gr.Request, whose: Any, chosen: str, label: str = ""
) -> dict:  # fmt: skip
    """A queue of a cell's answers, or of all cells'."""
    lang, state = app.language(request), plans.state_of(app, chosen)
    queue, new = handing.queue_of(app, lang, chosen, [handing.cell_of(state, label)] if label else state.cells if state else [])
    if new:
        roles.record_deed(app, "made queue", queue, chosen)
    return open_label(queue, whose)


def show_results(app: App, open_results: Callable[..., dict], request: gr.Request, chosen: str, label: str = "") -> dict:
    state = plans.state_of(app, chosen)
    cells = [handing.cell_of(state, label)] if label else state.cells if state else ()
    return open_results(handing.runs_of(cells))
