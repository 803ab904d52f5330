"""What happens in the Results tab: answers are chosen and judged, verdicts opened, reports written."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr

import store
from common.files import atomic_file
from probes.report import build
from probes.report.model import Report
from ui import temp_files
from ui.context import App, sentence
from ui.html import paragraph
from ui.late_tabs import Place
from ui.listeners import QUIET, SHOWN, bind, bind_or_warn, warn
from ui.tabs.results import compare, files as results_files, layout, panel, source as results_source, training_files, view, votes
from ui.tabs.results.layout import QUICK, Results, open_results
from ui.tabs.results.source import RUN, ReportForm
from ui.words import say

LANGS = {"en": ("en", "zh"), "zh": ("zh", "en")}


def wire_results(app: App, tab: Results, place: Place, wanted: gr.State) -> None:
    """wanted: runs that another tab has asked for; they are shown when this one is opened."""
    judging = bind(show_report, app, tab)
    drawn = [
        place.opened(app, bind(first_visit, app, tab, wanted), wanted, [*tab.outputs, wanted]),
        place.visited(app, bind(visit_again, app, tab, wanted), [wanted, tab.made, *tab.inputs], [*tab.outputs, wanted]),
        tab.show.click(
            judging,
            tab.inputs,
            tab.report_outputs,
            trigger_mode="once",
            show_progress="minimal",
            show_progress_on=[tab.table],
            **SHOWN,
        ),
        tab.evidence.input(judging, tab.inputs, tab.report_outputs, **QUIET),
    ]
    for event in drawn:
        event.then(bind(draw_curves, app, tab), [tab.made, tab.drawn], [tab.curves, tab.drawn], **QUIET)
    added = [tab.given, tab.listed, tab.forget]
    tab.sources.input(bind(choose_sources, app, tab), tab.sources, [tab.old, tab.new], **QUIET)
    tab.upload.upload(bind(add_files, app, tab), [tab.upload, tab.given], added, **QUIET)
    tab.forget.click(bind(forget_files, tab), None, added, **QUIET)
    opened_parts = [tab.panel, tab.sides]
    tab.asked.change(bind(show_panel, app, tab), [tab.made, tab.asked], opened_parts, trigger_mode="always_last", **QUIET)
    tab.write.click(
        bind_or_warn(write_report, app, tab), [tab.made, tab.title], [tab.parcel, tab.files], trigger_mode="once", **QUIET
    )
    given = [tab.made, tab.first, tab.second]
    gr.on([tab.first.input, tab.second.input], bind(compare_two, app), given, tab.compared, **QUIET)
    asked = [tab.sources, tab.scope, tab.speaker]
    tab.train.click(bind(make_training_files, app, tab), asked, [tab.train_said, tab.train_files], trigger_mode="once", **SHOWN)


def show_report(app: App, tab: Results, request: gr.Request, *given) -> dict:
    lang = app.language(request)
    form_values = results_source.read_form(layout.plain_values(given))
    return judge_sources(app, tab, lang, form_values) | {tab.votes: votes.votes_html(app, lang)}


def first_visit(app: App, tab: Results, wanted: gr.State, request: gr.Request, runs: list[int]) -> dict:
    return visit_again(app, tab, wanted, request, runs, None, *(component.value for component in tab.inputs))


def visit_again(
    app: App, tab: Results, wanted: gr.State, request: gr.Request, runs: list[int], made: Report | None, *given
) -> dict:
    """runs: what another tab has asked for is shown in place of what was chosen here, once."""
    if not runs:
        return visit_results(app, tab, request, made, *given)
    lang = app.language(request)
    offered = results_source.choices(app, lang)
    there = {source for _, source in offered}
    sources = [source for run in runs if (source := f"{RUN} {run}") in there]
    updates = open_results(app, tab, lang, sources) | layout.side_updates(app, tab, sources) | {wanted: []}
    now = {"sources": sources, "old": updates[tab.old]["value"], "new": updates[tab.new]["value"]}
    form_values = results_source.read_form(layout.plain_values(given) | now)
    return updates | judge_sources(app, tab, lang, form_values) | {tab.votes: votes.votes_html(app, lang)}


def visit_results(app: App, tab: Results, request: gr.Request, made: Report | None, *given) -> dict:
    """A visit to the tab: new runs can be chosen; the first time a small run is shown at once."""
    lang, plain = app.language(request), layout.plain_values(given)
    first = made is None and not plain["sources"]
    updates = open_results(app, tab, lang, None if first else plain["sources"]) | {tab.votes: votes.votes_html(app, lang)}
    chosen = updates[tab.sources]["value"]
    if not first:
        return updates
    if not chosen or not is_quick(app, chosen[0]):
        key = "results_press_show" if chosen else "results_nothing_yet"
        return updates | {tab.problem: paragraph(say(lang, key), "mt-nothing")}
    now = {"sources": chosen, "old": updates[tab.old]["value"], "new": updates[tab.new]["value"]}
    return updates | judge_sources(app, tab, lang, results_source.read_form(plain | now))


def choose_sources(app: App, tab: Results, sources: list[str] | None) -> dict:
    return layout.side_updates(app, tab, sources or [])


def draw_curves(app: App, tab: Results, request: gr.Request, made: Report | None, drawn: Report | None) -> dict:
    """The curves of a new table, which take longer than the table itself."""
    if made is drawn:  # only looked at again
        return gr.skip()
    lang = app.language(request)
    try:
        curves = view.curves_html(made, lang) if made else ""
    except Exception as error:
        curves = paragraph(sentence(lang, error), "mt-failed", role="alert")
    return {tab.curves: curves, tab.drawn: made}


def add_files(app: App, tab: Results, request: gr.Request, paths: list[str], given: list) -> dict:
    lang = app.language(request)
    for path in results_source.files_of(paths):
        try:
            file = results_files.recognise(path)
        except Exception as error:
            warn(lang, error)
            continue
        given = [*(one for one in given if one.name != file.name), file]
    return {tab.given: given, tab.listed: view.files_html(lang, given), tab.forget: gr.update(visible=bool(given))}


def forget_files(tab: Results) -> dict:
    return {tab.given: [], tab.listed: "", tab.forget: gr.update(visible=False)}


def show_panel(app: App, tab: Results, request: gr.Request, made: Report | None, asked: str) -> dict:
    """What was clicked in the table: a verdict, or one of its answers."""
    lang, asked = app.language(request), asked.partition("#")[0]
    if made is None or not asked:
        return gr.skip()
    try:
        if asked.count("/") == 2:
            return {tab.sides: panel.side_html(made, asked, lang)}
        return {tab.panel: panel.panel_html(made, asked, lang), tab.sides: ""}
    except (IndexError, KeyError, ValueError):  # the table was filled anew since
        return {tab.panel: "", tab.sides: ""}


def compare_two(app: App, request: gr.Request, made: Report | None, first: str | None, second: str | None) -> str:
    lang = app.language(request)
    try:
        return compare.compare_html(made, first, second, lang)
    except Exception as error:
        return paragraph(sentence(lang, error), "mt-failed", role="alert")


def compare_updates(tab: Results, made: Report | None, lang: str) -> dict:
    """Two of the variants of a new table, compared; nothing where there are no two."""
    first, second = compare.first_two(made)
    known = compare.variants(made)
    return {
        tab.comparing: gr.update(visible=bool(first)),
        tab.first: gr.update(choices=known, value=first),
        tab.second: gr.update(choices=known, value=second),
        tab.compared: compare.compare_html(made, first, second, lang),
    }


def make_training_files(
    app: App, tab: Results, request: gr.Request, sources: list[str] | None, scope: str, speaker: str
) -> dict:  # fmt: skip
    lang = app.language(request)
    try:
        said, files = training_files.make_files(app, lang, sources or [], scope, speaker)
    except Exception as error:
        said, files = paragraph(sentence(lang, error), "mt-failed", role="alert"), []
    return {tab.train_said: said, tab.train_files: gr.update(visible=bool(files), value=files or None)}


def write_report(app: App, tab: Results, request: gr.Request, made: Report | None, title: str) -> dict:
    lang = app.language(request)
    if made is None:
        gr.Warning(say(lang, "results_nothing_to_write"))
        return gr.skip()
    parcel, files = pack_report(made, title, lang)
    return {
        tab.parcel: gr.update(visible=True, value=str(parcel)),
        tab.files: gr.update(visible=True, value=[str(file) for file in files]),
    }


def judge_sources(app: App, tab: Results, lang: str, form_values: ReportForm) -> dict:
    """The table, or the sentence why there is none. Its curves take longer to draw and come after it."""
    try:
        made = results_source.build_report(app, form_values)
        shown = {tab.table: view.table_html(made, lang)} | compare_updates(tab, made, lang)
    except Exception as error:
        return empty_updates(tab, paragraph(sentence(lang, error), "mt-failed", role="alert"))
    return empty_updates(tab, "") | shown | {tab.made: made, tab.exports: gr.update(visible=True)}


def empty_updates(tab: Results, problem: str) -> dict:
    """An empty tab below the choice. problem: HTML."""
    return {
        tab.made: None,
        tab.problem: problem,
        tab.table: "",
        tab.panel: "",
        tab.sides: "",
        tab.curves: "",
        tab.comparing: gr.update(visible=False),
        tab.first: gr.update(choices=[], value=None),
        tab.second: gr.update(choices=[], value=None),
        tab.compared: "",
        tab.exports: gr.update(visible=False),
        tab.parcel: gr.update(visible=False),
        tab.files: gr.update(visible=False, value=None),
    }


def pack_report(made: Report, title: str, lang: str) -> tuple[Path, list[Path]]:
    """The report in a temporary folder, in both languages, this page's first: (all in one zip, the single files)."""
    folder = temp_files.new_folder() / "mirror-report"
    files = build.write_report(replace(made, title=title.strip()), folder, LANGS[view.probe_language(lang)])
    parcel = folder.with_suffix(".zip")
    with atomic_file(parcel, binary=True, sync=False) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, f"{folder.name}/{file.name}")
    return parcel, files


def is_quick(app: App, source: str) -> bool:
    """Whether judging a source takes no time worth asking about."""
    kind, number = source.split()
    if kind == RUN:
        return store.runs.get(app.db, int(number))["done"] <= QUICK
    return next((queue["items"] <= QUICK for queue in store.queues.all_with_counts(app.db) if queue["id"] == int(number)), False)
