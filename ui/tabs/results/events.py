"""What happens in the Results tab: answers are chosen and judged, verdicts opened, reports written."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from html import escape
from pathlib import Path

import gradio as gr

import store
from common.files import atomic_file
from probes.report import build
from probes.report.build import Report
from ui import filling, passing
from ui.context import App, sentence
from ui.tabs.results import behind, files as results_files, source as results_source, view, votes
from ui.tabs.results.layout import QUICK, Results, open_results, sides
from ui.tabs.results.source import RUN, ReportForm
from ui.words import say

LANGS = {"en": ("en", "zh"), "zh": ("zh", "en")}


def judge(app: App, tab: Results, lang: str, form_values: ReportForm) -> dict:
    """The table, or the sentence why there is none. Its curves take longer to draw and come after it."""
    try:
        made = results_source.judged(app, form_values)
        shown = {tab.table: view.table_html(made, lang)}
    except Exception as error:
        return nothing(tab, f'<p class="mt-failed" role="alert">{escape(sentence(lang, error))}</p>')
    return nothing(tab, "") | shown | {tab.made: made, tab.exports: gr.update(visible=True)}


def nothing(tab: Results, problem: str) -> dict:
    """An empty tab below the choice."""
    return {
        tab.made: None,
        tab.problem: problem,
        tab.table: "",
        tab.behind: "",
        tab.sides: "",
        tab.curves: "",
        tab.exports: gr.update(visible=False),
        tab.parcel: gr.update(visible=False),
        tab.files: gr.update(visible=False, value=None),
    }


def written(made: Report, title: str, lang: str) -> tuple[Path, list[Path]]:
    """The report in a temporary folder, in both languages, this page's first: (all in one zip, the single files)."""
    folder = passing.fresh() / "mirror-report"
    files = build.write_report(replace(made, title=title.strip()), folder, LANGS[view.short(lang)])
    parcel = folder.with_suffix(".zip")
    with atomic_file(parcel, binary=True, sync=False) as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in files:
            packed.write(file, f"{folder.name}/{file.name}")
    return parcel, files


def wire_results(app: App, tab: Results, page: gr.Tab, notice: gr.HTML) -> None:
    """notice: what cannot be filled when the tab is opened is said there."""

    def read(sources: list[str] | None, given: list, old: str | None, new: str | None, evidence: str) -> ReportForm:
        return ReportForm(tuple(sources or ()), tuple(given), old or "", new or "", evidence)

    def show(request: gr.Request, *values) -> dict:
        lang = app.language(request)
        return judge(app, tab, lang, read(*values)) | {tab.votes: votes.votes_html(app, lang)}

    def opened(request: gr.Request, made: Report | None, sources: list[str] | None, *rest) -> dict:
        """A visit to the tab: new runs can be chosen; the first time a small run is shown at once."""
        lang = app.language(request)
        first = made is None and not sources
        updates = open_results(app, tab, lang, None if first else sources) | {tab.votes: votes.votes_html(app, lang)}
        chosen = updates[tab.sources]["value"]
        if not first:
            return updates
        if not chosen:
            return updates | {tab.problem: f'<p class="mt-nothing">{escape(say(lang, "results_nothing_yet"))}</p>'}
        if not small(app, chosen[0]):
            return updates | {tab.problem: f'<p class="mt-nothing">{escape(say(lang, "results_press_show"))}</p>'}
        given, _, _, evidence = rest
        form_values = read(chosen, given, updates[tab.old]["value"], updates[tab.new]["value"], evidence)
        return updates | judge(app, tab, lang, form_values)

    def chose(sources: list[str] | None) -> dict:
        return sides(app, tab, sources or [])

    def draw(request: gr.Request, made: Report | None, drawn: Report | None) -> dict:
        if made is drawn:  # only looked at again
            return gr.skip()
        lang = app.language(request)
        try:
            curves = view.curves_html(made, lang) if made else ""
        except Exception as error:
            curves = f'<p class="mt-failed" role="alert">{escape(sentence(lang, error))}</p>'
        return {tab.curves: curves, tab.drawn: made}

    def add(request: gr.Request, paths: list[str], given: list) -> dict:
        lang = app.language(request)
        for path in results_source.files_of(paths):
            try:
                file = results_files.recognise(path)
            except Exception as error:
                gr.Warning(escape(sentence(lang, error)))
                continue
            given = [*(one for one in given if one.name != file.name), file]
        return {tab.given: given, tab.listed: view.files_html(lang, given), tab.forget: gr.update(visible=bool(given))}

    def forget() -> dict:
        return {tab.given: [], tab.listed: "", tab.forget: gr.update(visible=False)}

    def look(request: gr.Request, made: Report | None, asked: str) -> dict:
        lang, asked = app.language(request), asked.partition("#")[0]
        if made is None or not asked:
            return gr.skip()
        try:
            if asked.count("/") == 2:
                return {tab.sides: behind.side_html(made, asked, lang)}
            return {tab.behind: behind.behind_html(made, asked, lang), tab.sides: ""}
        except (IndexError, KeyError, ValueError):  # the table was filled anew since
            return {tab.behind: "", tab.sides: ""}

    def write(request: gr.Request, made: Report | None, title: str) -> dict:
        lang = app.language(request)
        if made is None:
            gr.Warning(say(lang, "results_nothing_to_write"))
            return gr.skip()
        try:
            parcel, files = written(made, title, lang)
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        return {
            tab.parcel: gr.update(visible=True, value=str(parcel)),
            tab.files: gr.update(visible=True, value=[str(file) for file in files]),
        }

    private = {"api_visibility": "private", "concurrency_limit": None}
    quiet = private | {"show_progress": "hidden"}
    shown = [
        page.select(filling.guarded(app, notice, opened), [tab.made, *tab.inputs], [*tab.outputs, notice], **quiet),
        tab.show.click(
            show, tab.inputs, tab.told, trigger_mode="once", show_progress="minimal", show_progress_on=[tab.table], **private
        ),
        tab.evidence.input(show, tab.inputs, tab.told, **quiet),
    ]
    for event in shown:
        event.then(draw, [tab.made, tab.drawn], [tab.curves, tab.drawn], **quiet)
    tab.sources.input(chose, tab.sources, [tab.old, tab.new], **quiet)
    tab.upload.upload(add, [tab.upload, tab.given], [tab.given, tab.listed, tab.forget], **quiet)
    tab.forget.click(forget, None, [tab.given, tab.listed, tab.forget], **quiet)
    tab.asked.change(look, [tab.made, tab.asked], [tab.behind, tab.sides], trigger_mode="always_last", **quiet)
    tab.write.click(write, [tab.made, tab.title], [tab.parcel, tab.files], trigger_mode="once", **quiet)


def small(app: App, source: str) -> bool:
    """Whether judging a source takes no time worth asking about."""
    kind, number = source.split()
    if kind == RUN:
        return store.runs.get(app.db, int(number))["done"] <= QUICK
    return next((queue["items"] <= QUICK for queue in store.queues.all_with_counts(app.db) if queue["id"] == int(number)), False)
