"""What happens in the Probes tab: the form tells what it means, runs are begun; and what the board may ask of the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Annotated, Any

import gradio as gr
from pydantic import Field

from common import outside
from common.outside import Shape
from common.seeming import not_what_it_seems
from probes import questions
from probes.questions import GROUPS, ProbeError
from probes.run import background, launch
from probes.run.background import BackgroundRun
from store import runs
from store.labels import LABELS
from ui import filling
from ui.access import roles
from ui.access.gate import visitor
from ui.context import App, sentence
from ui.conversation import Page
from ui.tabs.probes import (
    cell,
    exports,
    form as probes_form,
    judged as probes_judged,
    layout,
    start as probes_start,
    summary as probes_summary,
)
from ui.tabs.probes.judged import RunCache
from ui.tabs.probes.layout import Probes
from ui.variants import Picked
from ui.words import LANGUAGES, WORDS, say

LISTED = 60  # runs in the list
SHOWN_WORDS = ("pb_", "seed", "greedy", "raw", "prompt", "finish_stop", "finish_length", "cancel")


Number = Annotated[int, Field(ge=0, lt=outside.INT64)]


class MatrixRequest(Shape):
    """What the board's script sends to any of its functions."""

    run: Number | None = None
    other: Number | None = None
    variant: Number = 0
    since: Number = 0
    overlap: Number | None = None
    act: str | None = None
    probe: str = ""
    stamp: str = ""
    kind: str | None = None
    name: str | None = None
    words: Any = None
    samples: bool | None = None
    blind: bool | None = None
    keys: list | None = None


def listed(ongoing: BackgroundRun) -> list[dict]:
    """The latest runs, newest first, as the list shows them."""
    found = []
    for row in runs.recent(ongoing.db, LISTED):
        told = background.state_of(ongoing, row)
        found.append(
            {key: row[key] for key in ("id", "name", "set_name", "created")}
            | {key: told[key] for key in ("status", "done", "total")}
            | {"variants": [one["name"] for one in row["variants"]]}
        )
    return found


def board_functions(app: App, ongoing: BackgroundRun, cache: RunCache) -> list[Callable]:
    """What the board's script calls, each with one object and the request; a mistake comes back as {"error": sentence}."""

    def guarded(act: Callable[[str, dict], dict]) -> Callable:
        def guard(given: dict, request: gr.Request) -> dict:
            lang = app.language(request)
            if why := roles.refusal(app, lang, visitor(request), act):
                return {"error": why}
            try:
                asked = outside.check_bounds(given if given is not None else {}, "The request", ProbeError)
                outside.check(MatrixRequest, asked, "The request", ProbeError, "load the page again")
                if act not in (pb_open, pb_news, pb_compare) and asked.get("run") is None:
                    raise ProbeError("The request names no run; load the page again.")
                return act(lang, dict(asked))
            except Exception as error:
                return {"error": sentence(lang, error)}

        return roles.called(guard, act)

    def pb_open(lang: str, given: dict) -> dict:
        """A run with all its cells; without `run` the list alone, and which run is under way."""
        told = {
            "runs": listed(ongoing),
            "active": ongoing.run if background.is_busy(ongoing) else None,
            "word_order": LABELS,
        }
        if given.get("words"):
            told["words"] = {key: text for key, text in WORDS[lang if lang in LANGUAGES else "en"].items()
                             if key.startswith(SHOWN_WORDS)}  # fmt: skip
        if given.get("run") is None:
            return told
        run = int(given["run"])
        return told | probes_judged.opened(app, cache, run, lang) | news(lang, run, "", 0)

    def news(lang: str, run: int, stamp: str, since: int) -> dict:
        row, judged_run = runs.get(app.db, run), cache.of(app, run)
        whole = stamp != judged_run.stamp
        told = {"state": background.state_of(ongoing, row), "stamp": judged_run.stamp, "whole": whole}
        told["cells"] = probes_judged.cells(judged_run, 0 if whole else since)
        if told["cells"]:
            told["summary"] = summary(lang, row, judged_run)
        return told

    def summary(lang: str, row: dict, judged_run: probes_judged.JudgedRun) -> str:
        base = next((one["name"] for one in row["variants"] if not one["adapters"] and one.get("prompt") is None), None)
        if judged_run.facts is None:
            return f'<p class="mt-quiet">{escape(say(lang, "pb_no_facts"))}</p>'
        variants = [one["name"] for one in row["variants"]]
        return probes_summary.summary_html(lang, probes_summary.results(probes_judged.chosen(judged_run, None), variants, base))

    def pb_news(lang: str, given: dict) -> dict:
        """What a page that has the first `since` cells of the stamp does not have yet, how the run is, and what else goes on."""
        told = {"active": ongoing.run if background.is_busy(ongoing) else None}
        if given.get("run") is None:
            return told
        return told | news(lang, int(given["run"]), given.get("stamp", ""), int(given.get("since", 0)))

    def pb_act(lang: str, given: dict) -> dict:
        """pause, stop or continue."""
        run = int(given["run"])
        act = {"pause": background.pause_run, "stop": background.stop_run, "continue": background.resume_run}.get(
            given.get("act")
        )
        if act is None:
            raise ProbeError(f"There is nothing called {given.get('act')!r} to do with a run.")
        act(ongoing, run)
        return {"state": background.state_of(ongoing, runs.get(app.db, run))}

    def pb_cell(lang: str, given: dict) -> dict:
        other = given.get("other")
        return cell.cell(
            app, cache, int(given["run"]), str(given["probe"]), int(given["variant"]), None if other is None else int(other)
        )

    def pb_opinion(lang: str, given: dict) -> dict:
        """Asks the judge about a cell's first answer; all that judges have said of it."""
        judged_run = cache.of(app, int(given["run"]))
        return {"opinions": cell.ask_judge(app, judged_run, str(given["probe"]), int(given["variant"]))}

    def pb_compare(lang: str, given: dict) -> dict:
        """The first answers of another run, by probe and variant's name: [text, suggestion's place in LABELS or -1, check]."""
        found = cell.headlines(cache.of(app, int(given["other"])))
        return {
            "cells": [
                [probe, name, row["answer"] or "", words.index(row["suggestion"]) if row.get("suggestion") in words else -1]
                for (probe, name), row in found.items()
            ]
        }

    words = LABELS

    def pb_export(lang: str, given: dict) -> dict:
        judged_run = cache.of(app, int(given["run"]))
        rows = probes_judged.chosen(judged_run, given.get("keys"))
        stamp = time.strftime("%Y%m%d-%H%M")
        kind = str(given.get("kind"))
        return {"name": f"run-{int(given['run'])}-{stamp}.{kind}", "text": exports.text_of(judged_run, rows, kind)}

    def pb_send(lang: str, given: dict) -> dict:
        """A queue of what the page shows."""
        judged_run = cache.of(app, int(given["run"]))
        rows = probes_judged.chosen(judged_run, given.get("keys"), samples=bool(given.get("samples")))
        overlap = max(1, int(given.get("overlap") or 1))
        made = exports.send(app, rows, str(given.get("name") or ""), overlap=overlap, blind=bool(given.get("blind", True)))
        left = say(lang, "pb_left_out", number=made["left_out"]) if made["left_out"] else ""
        return made | {"said": say(lang, "pb_sent", name=made["name"], answers=made["answers"]) + left}

    return [guarded(act) for act in (pb_open, pb_news, pb_act, pb_cell, pb_opinion, pb_compare, pb_export, pb_send)]


def first_shown(ongoing: BackgroundRun) -> dict:
    """What the board begins with: the run under way, else the newest one."""
    newest = next(iter(runs.recent(ongoing.db, 1)), None)
    run = ongoing.run if background.is_busy(ongoing) else newest and newest["id"]
    return {"run": run, "at": time.time()}


def tell(app: App, lang: str, plain: dict, picks: list[Picked]) -> str:
    """What the form means now, or what is wrong with it."""
    try:
        form_values = probes_form.read_form(plain, picks)
        variants = probes_form.variants_of(app, form_values)
        volume = probes_form.volume(form_values, len(variants))
        known = probes_start.facts_of_sides(app, form_values.old, form_values.new)
        questions.fill(form_values.probes, known)
        if form_values.margin:
            launch.probes_to_measure(app.engine, form_values.probes, known)
    except Exception as error:
        lines = "".join(f"<li>{escape(line)}</li>" for line in sentence(lang, error).split("\n"))
        return f'<div class="mt-failed" role="alert"><ul>{lines}</ul></div>'
    groups = ", ".join(
        say(lang, "pb_of_group", number=volume["groups"][group], group=say(lang, f"pb_group_{group}"))
        for group in GROUPS
        if volume["groups"][group]
    )
    parts = [("probes", len(form_values.probes)), ("variants", len(variants))]
    said = [say(lang, f"pb_one_{what}") if number == 1 else say(lang, f"pb_n_{what}", number=number) for what, number in parts]
    if form_values.settings.samples > 1:
        said.append(say(lang, "pb_n_samples", number=form_values.settings.samples))
    said = " × ".join(said)
    said += say(lang, "pb_in_all", answers=f"{volume['answers']:,}")
    names = ", ".join(variant.name for variant in variants)
    notes = f'<p class="mt-quiet">{escape(groups)}</p><p class="mt-quiet">{escape(names)}</p>'
    return f'<p class="pb-volume">{escape(said)}</p>{notes}'


def picks_of(page: Page, wanted: bool) -> list[Picked]:
    return [page.picks[column] for column in page.shown] if wanted else []


def wire_probes(app: App, ongoing: BackgroundRun, tab: Probes, visited: gr.Tab, page: gr.State, notice: gr.HTML) -> None:
    """page: the chat's, whose columns can be asked, too. notice: what cannot be filled is said there."""
    form = tab.form

    def start(request: gr.Request, page: Page, *given) -> dict:
        lang, plain = app.language(request), layout.plain(form, given)
        try:
            form_values = probes_form.read_form(plain, picks_of(page, plain["chat"]))
            run = probes_start.start_run(app, ongoing, form_values)
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        return {tab.judged_run: {"run": run, "at": time.time()}, form.name: ""}

    def changed(request: gr.Request, page: Page, *given) -> str:
        plain = layout.plain(form, given)
        return tell(app, app.language(request), plain, picks_of(page, plain["chat"]))

    def uploaded(request: gr.Request, file: str) -> dict:
        lang = app.language(request)
        if odd := not_what_it_seems(Path(file)):
            gr.Warning(f"{Path(file).name} {odd}.")
            return gr.skip()
        try:
            with open(file, encoding="utf-8-sig") as opened:
                text = opened.read()
        except (OSError, UnicodeDecodeError):
            gr.Warning(say(lang, "pb_no_utf8"))
            return gr.skip()
        return {form.own: text, form.sets: []}

    def edit(sets: list[str]) -> dict:
        return {form.own: probes_form.as_text(sets), form.sets: []} if sets else gr.skip()

    def script_or_not(asking: str) -> dict:
        return gr.update(visible=asking == "scripted")

    def refreshed(request: gr.Request, variants: list[str], old: str, new: str) -> dict:
        """After a visit to another tab: identities and adapters may have changed."""
        kept = {"variants": variants, "old": old, "new": new}
        return layout.choices(app, tab, app.language(request), kept)

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    everything = [page, *form.inputs]
    tab.start.click(start, everything, [tab.judged_run, form.name], trigger_mode="once", **private)
    gr.on(
        [component.change for component in form.inputs], changed, everything, tab.told, trigger_mode="always_last", **private
    )  # fmt: skip
    form.asking.input(script_or_not, form.asking, form.script, **private)
    tab.upload.upload(uploaded, tab.upload, [form.own, form.sets], **private)
    tab.edit.click(edit, form.sets, [form.own, form.sets], **private)
    sides = [form.variants, form.old, form.new]
    visited.select(filling.guarded(app, notice, refreshed), sides, [*sides, notice], **private)
