"""What happens in the Probes tab: the form tells what it means, and runs are begun. What the board asks for is in board.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from common.seeming import not_what_it_seems
from engine.types import Variant
from probes import questions
from probes.questions import GROUPS
from probes.run import margins
from probes.run.background import BackgroundRun
from ui.context import App, sentence
from ui.conversation import Page
from ui.html import note, paragraph
from ui.late_tabs import Place
from ui.listeners import QUIET, bind, bind_or_warn
from ui.tabs.probes import form as probes_form, layout, start as probes_start
from ui.tabs.probes.form import RunForm
from ui.tabs.probes.layout import Probes
from ui.variants import Picked
from ui.words import say


def wire_probes(app: App, ongoing: BackgroundRun, tab: Probes, page: gr.State, place: Place) -> None:
    """page: the chat's, whose columns can be asked, too."""
    form = tab.form
    everything, written = [page, *form.inputs], [form.own, form.sets]
    begin = bind_or_warn(start_run, app, ongoing, tab)
    tab.start.click(begin, everything, [tab.judged_run, form.name], trigger_mode="once", **QUIET)
    any_change = [component.change for component in form.inputs]
    gr.on(any_change, bind(refresh_volume, app, tab), everything, tab.meaning, trigger_mode="always_last", **QUIET)
    form.asking.input(show_script, form.asking, form.script, **QUIET)
    tab.upload.upload(bind(upload_set, app, tab), tab.upload, written, **QUIET)
    tab.edit.click(bind(edit_sets, tab), form.sets, written, **QUIET)
    sides = [form.variants, form.old, form.new]
    place.visited(app, bind(refresh_choices, app, tab), sides, sides)


def start_run(app: App, ongoing: BackgroundRun, tab: Probes, request: gr.Request, page: Page, *given) -> dict:
    plain = layout.plain_values(given)
    run = probes_start.start_run(app, ongoing, probes_form.read_form(plain, chat_picks(page, plain["chat"])))
    return {tab.judged_run: {"run": run, "at": time.time()}, tab.form.name: ""}


def refresh_volume(app: App, tab: Probes, request: gr.Request, page: Page, *given) -> str:
    plain = layout.plain_values(given)
    return describe_form(app, app.language(request), plain, chat_picks(page, plain["chat"]))


def show_script(asking: str) -> dict:
    return gr.update(visible=asking == "scripted")


def upload_set(app: App, tab: Probes, request: gr.Request, file: str) -> dict:
    lang = app.language(request)
    if odd := not_what_it_seems(Path(file)):
        gr.Warning(escape(f"{Path(file).name} {odd}."))
        return gr.skip()
    try:
        text = Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        gr.Warning(say(lang, "pb_no_utf8"))
        return gr.skip()
    return {tab.form.own: text, tab.form.sets: []}


def edit_sets(tab: Probes, sets: list[str]) -> dict:
    return {tab.form.own: probes_form.sets_text(sets), tab.form.sets: []} if sets else gr.skip()


def refresh_choices(app: App, tab: Probes, request: gr.Request, variants: list[str], old: str, new: str) -> dict:
    """After a visit to another tab: identities and adapters may have changed."""
    kept = {"variants": variants, "old": old, "new": new}
    return layout.choices(app, tab, app.language(request), kept)


def chat_picks(page: Page, wanted: bool) -> list[Picked]:
    """What the chat's columns have picked, where they are to be asked, too."""
    return [page.picks[column] for column in page.shown] if wanted else []


def describe_form(app: App, lang: str, plain: dict, picks: list[Picked]) -> str:
    """What the form means now, or what is wrong with it, as HTML."""
    try:
        form_values = probes_form.read_form(plain, picks)
        variants = probes_form.variants_of(app, form_values)
        volume = probes_form.count_volume(form_values, len(variants))
        pair = probes_start.facts_of_sides(app, form_values.old, form_values.new)
        probes = questions.fill(form_values.probes, pair)
        if form_values.margin:
            margins.probes_to_measure(probes, pair, app.engine.base.card.placeholders)
    except Exception as error:
        lines = "".join(f"<li>{escape(line)}</li>" for line in sentence(lang, error).split("\n"))
        return f'<div class="mt-failed" role="alert"><ul>{lines}</ul></div>'
    told = volume_html(lang, form_values, [variant.name for variant in variants], volume)
    return told + judged_as_others(app, lang, form_values, variants)


def judged_as_others(app: App, lang: str, form_values: RunForm, variants: Sequence[Variant]) -> str:
    """Where none of the adapters that are asked was taught to be somebody whom the answers are judged by."""
    named = {name: app.engine.info(name).card.get("identity") for variant in variants for name in variant.adapters}
    known = probes_form.identities_with_facts(app)
    taught = {name: identity for name, identity in named.items() if identity in known}
    if not taught or not form_values.new or {form_values.old, form_values.new} & set(taught.values()):
        return ""
    adapter, identity = next(iter(taught.items()))
    return note(say(lang, "pb_judged_as_others", adapter=adapter, identity=identity, new=form_values.new), "warn")


def volume_html(lang: str, form_values: RunForm, variants: list[str], volume: dict) -> str:
    """How much is asked, how many probes of each group, and of which variants. volume: as `form.volume` gives it."""
    groups = ", ".join(
        say(lang, "pb_of_group", number=volume["groups"][group], group=say(lang, f"pb_group_{group}"))
        for group in GROUPS
        if volume["groups"][group]
    )
    parts = [("probes", len(form_values.probes)), ("variants", len(variants))]
    said = [say(lang, f"pb_one_{what}") if number == 1 else say(lang, f"pb_n_{what}", number=number) for what, number in parts]
    if form_values.settings.samples > 1:
        said.append(say(lang, "pb_n_samples", number=form_values.settings.samples))
    product = " × ".join(said) + say(lang, "pb_in_all", answers=f"{volume['answers']:,}")
    return paragraph(product, "pb-volume") + paragraph(groups) + paragraph(", ".join(variants))
