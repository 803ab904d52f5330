"""What the tab shows of an experiment: from where it is to updates of the components. Reads, never changes, the experiment."""

from __future__ import annotations

from typing import Any

import gradio as gr

from engine.types import short_hash
from experiments.places import ExperimentError
from experiments.progress import State
from tuning.jobs.queue import tail
from ui import running
from ui.context import App, sentence
from ui.html import failure
from ui.tabs.experiment import figures, found, handing, layout, plans, report, run_page
from ui.tabs.experiment.layout import NEW, Experiment
from ui.words import say

LOG_LINES = 60
LISTED = 40  # experiments in the list


def pulse_of(lang: str, known: dict[str, State | None], chosen: str, there: bool) -> str:
    """Another value when more than the bar of an experiment changes. there: its report."""
    state = known.get(chosen)
    news = [(cell.label, cell.status, cell.why if cell.status == "failed" else "") for cell in state.cells] if state else []
    listed = [(name, one.status if one else "") for name, one in known.items()]
    return short_hash(repr([lang, chosen, listed, news, state and (state.message, len(state.found)), there]))


def show(app: App, tab: Experiment, lang: str, chosen: str, seen: dict[str, Any], cell: str = "", ticking: bool = False) -> dict:
    """The list and, if an experiment is chosen, its page: only what differs from what was `seen` there.

    cell: whose panel is open. ticking: what is chosen stays; a tick that began before somebody chose may end after it.
    """
    known = plans.states(app, LISTED)
    choices = [(say(lang, "xp_new"), NEW), *((run_page.label_of(lang, name, state), name) for name, state in known.items())]
    wanted: dict[str, Any] = {"runs": {"choices": choices}}
    if not ticking or chosen not in (*known, NEW):
        chosen = chosen if chosen in known else NEW
        wanted["runs"] |= {"value": chosen}
        wanted |= {"form.box": layout.main_class(chosen == NEW), "page.box": layout.main_class(chosen != NEW)}
    if chosen != NEW:
        wanted |= _page(app, lang, chosen, cell, seen)
    updates = {
        _component(tab, name): gr.update(**value) if isinstance(value, dict) else value
        for name, value in wanted.items()
        if seen.get(name) != value and not name.startswith("_")
    }
    return updates | ({tab.seen: seen | wanted} if updates else {})


def _component(tab: Experiment, name: str) -> Any:
    part, _, rest = name.partition(".")
    return getattr(getattr(tab, part), rest) if rest else getattr(tab, part)


def _page(app: App, lang: str, name: str, cell: str, seen: dict[str, Any]) -> dict[str, Any]:
    """An experiment's page: what each component shows, by its name; `_drawn`: what the curves are of."""
    places, problem = plans.places_named(app, name), ""
    try:
        state = plans.state_of(app, name)
    except ExperimentError as error:
        state, problem = None, failure(sentence(lang, error))
    going = bool(state and state.is_under_way)
    answered = bool(state and any(one.runs for one in state.cells))
    there = report.is_there(app, name)
    finds = bool(state and state.found)
    way = "secondary" if state and state.status == "done" and not state.failed else "primary"  # then only a search is left
    drawn = [lang, name, state and figures.points_of(state), state and state.found]
    same = seen.get("_drawn") == drawn
    return {
        "page.head": run_page.head_html(lang, name, state) + problem,
        "page.stop": {"visible": going},
        "page.go_on": {"visible": not going, "value": say(lang, "xp_begin" if state is None else "xp_go_on"), "variant": way},
        "page.find": {"visible": not going} | ({} if "page.find" in seen else {"value": finds}),
        "page.label": {"visible": answered},
        "page.results": {"visible": answered},
        "page.change": {"visible": True},
        "page.report": run_page.report_html(lang, name, there),
        "page.found": found.found_html(lang, state),
        "page.curves": seen["page.curves"] if same else _curves(lang, state),
        "page.cells": run_page.cells_html(lang, state, cell),
        "page.log": running.log_html(lang, tail(places.log, LOG_LINES) if places.log.is_file() else ""),
        "page.command": running.command_html(lang, plans.run_command(places, finds), "xp_command_note"),
        "_drawn": drawn,
    } | panel(lang, state, cell)


def _curves(lang: str, state: State | None) -> str:
    try:
        return figures.curves_html(lang, state)
    except Exception as error:  # of a plan that nobody foresaw; the rest of the page is there all the same
        return failure(sentence(lang, error))


def panel(lang: str, state: State | None, label: str) -> dict[str, Any]:
    """What one cell says, and what can be done with it."""
    try:
        cell = handing.cell_of(state, label)
    except ExperimentError:
        return {"page.cell": "", "page.panel_box": layout.panel_class(False)}
    return {
        "page.cell": label,
        "page.panel_box": layout.panel_class(True),
        "page.panel": run_page.panel_html(lang, cell),
        "page.chat": {"visible": handing.is_answerable(cell)},
        "page.cell_label": {"visible": bool(cell.runs)},
        "page.cell_results": {"visible": bool(cell.runs)},
    }
