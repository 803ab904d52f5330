"""What happens in the Label tab around the desk: choosing, making queues, agreement, revealing, files."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

import identities
from store import StoreError, labels, queues
from store.names import person
from ui import training
from ui.access import roles
from ui.context import App, sentence
from ui.html import paragraph
from ui.late_tabs import Place
from ui.listeners import QUIET, SHOWN, bind, bind_or_warn
from ui.tabs.label import agreement, files as label_files, gold, layout
from ui.tabs.label.files import FILE, QueueForm
from ui.tabs.label.layout import Label
from ui.words import say

NAMED = 120  # characters of a queue's name in that of the queue that settles it
LEAVE_NAME = "() => { const at = document.activeElement; if (at?.closest('#lb-annotator')) at.blur(); }"


def wire_label(app: App, tab: Label, place: Place) -> None:
    """Everything that happens in the tab."""
    making = tab.making
    place.opened(app, bind(open_label, app, tab), tab.chosen, tab.outputs)
    place.visited(app, bind(offer_new, app, tab), [making.run, tab.annotator, tab.queue, tab.chosen], tab.outputs)
    given = [tab.annotator, tab.queue, tab.chosen]
    # Every one, in its order: a queue chosen while the name is still on its way is neither dropped nor taken back.
    ordered = QUIET | {"trigger_mode": "multiple", "concurrency_limit": 1}
    choosing = [tab.annotator.submit, tab.annotator.blur, tab.queue.input]
    gr.on(choosing, bind(choose, app, tab), given, tab.outputs, **ordered)
    # a key pressed next is meant for the desk, and is not to become a part of the name
    tab.annotator.submit(None, js=LEAVE_NAME, api_visibility="private")
    shown = [making.run, making.file, making.variants]
    making.source.input(bind(show_source, tab), making.source, shown, **QUIET)
    making.run.input(bind(show_run, app, tab), making.run, [making.variants, making.old, making.new], **QUIET)
    making.make.click(bind(make_queue, app, tab), [tab.annotator, *making.inputs], tab.outputs, trigger_mode="once", **QUIET)
    _wire_agreeing(app, tab)
    files = tab.files
    files.given.upload(bind(import_labels, app), [files.given, tab.annotator], files.said, **SHOWN)
    files.export.click(bind(export_labels, app, tab), [tab.queue, files.scope], [files.exported, files.downloads], **SHOWN)


def _wire_agreeing(app: App, tab: Label) -> None:
    part = tab.agreeing
    who = [tab.annotator, tab.queue]
    figures = [part.figures, part.revealed]
    asking = [part.fold.expand, part.refresh.click, part.scope.input]
    gr.on(asking, bind(show_agreement, app, tab), [*who, part.scope], figures, **SHOWN)
    part.gold.click(bind(show_gold, app), who, part.gold_figures, **SHOWN)
    part.settle.click(bind_or_warn(settle_labels, app, tab), [*who, part.scope], tab.outputs, trigger_mode="once", **QUIET)
    part.reveal.click(bind(ask_to_reveal, app, tab), who, part.dialog, **QUIET)
    part.cancel.click(close_dialog, outputs=part.dialog, **QUIET)
    part.confirm.click(bind_or_warn(reveal, app, tab), who, [part.dialog, tab.desk, *figures], trigger_mode="once", **QUIET)


def open_label(app: App, tab: Label, request: gr.Request, chosen: dict) -> dict:
    """The whole tab as the browser left it."""
    lang, making = app.language(request), tab.making
    chosen = chosen if isinstance(chosen, dict) else {}
    annotator = annotator_of(request, str(chosen.get("annotator") or ""))
    known = training.known_identities(app)
    card = getattr(app.engine.base, "card", None)
    old = card.name if card and card.placeholders and card.name in known else ""
    new = next((name for name in known if name not in (old, identities.DEFAULT_OLD)), "")
    runs = label_files.known_runs(app)
    newest = runs[0]["id"] if runs else None
    old, new = label_files.sides_of(app, newest) or (old, new)
    variants = label_files.variants_of(app, newest)
    choices = [(say(lang, "lb_nobody"), ""), *((name, name) for name in known)]
    return show_tab(app, tab, lang, annotator, chosen.get("queue")) | {
        tab.annotator: gr.update(interactive=not login_of(request), **({"value": annotator} if annotator else {})),
        making.fold: gr.update() if queues.all_with_counts(app.db) else gr.update(open=True),
        making.run: run_choices(lang, runs, newest),
        making.variants: gr.update(choices=variants, value=variants, visible=len(variants) > 1),
        making.old: gr.update(choices=choices, value=old),
        making.new: gr.update(choices=choices, value=new),
        making.said: "",
    }


def offer_new(
    app: App, tab: Label, request: gr.Request, run: int | None, annotator: str = "", queue: int | None = None, wanted: Any = None
) -> dict:
    """New queues and runs are offered; the desk stays as it is, and so does a run that was chosen. wanted: annotator and queue as
    the browser remembers them; another queue than the one that is shown has been asked for by another tab."""
    lang = app.language(request)
    runs = label_files.known_runs(app)
    chosen = runs[0]["id"] if run is None and runs else run
    updates = run_updates(app, tab, chosen) if chosen != run else {}
    other = wanted.get("queue") if isinstance(wanted, dict) else None
    if other is not None and other != queue:
        return updates | show_tab(app, tab, lang, annotator_of(request, annotator), other)
    return updates | {
        tab.queue: gr.update(choices=layout.queue_choices(app, lang)),
        tab.making.run: run_choices(lang, runs, chosen),
    }


def choose(app: App, tab: Label, request: gr.Request, annotator: str, queue: int | None, chosen: dict) -> dict:
    """chosen: annotator and queue as they were."""
    annotator = annotator_of(request, annotator)
    if chosen and chosen.get("annotator") == annotator and chosen.get("queue") == queue:
        return gr.skip()
    return show_tab(app, tab, app.language(request), annotator, queue)


def login_of(request: gr.Request) -> str:
    """The name somebody has logged in with; "" where no login is asked for."""
    return getattr(request, "username", None) or ""


def annotator_of(request: gr.Request, annotator: str | None) -> str:
    """Who labels, as names are stored; "" for nobody, and for what is no name, which is said."""
    try:
        return person(login_of(request) or annotator or "")
    except StoreError as error:
        gr.Warning(escape(str(error)))
        return ""


def role_of(app: App, request: gr.Request) -> str | None:
    """None where nobody has to log in; of somebody whose role nobody knows the least that labels."""
    return None if app.accounts is None else app.accounts.role(login_of(request)) or roles.LABELER


def show_tab(app: App, tab: Label, lang: str, annotator: str, queue: int | None) -> dict:
    """Queues, desk and what is told of the chosen queue, for this person."""
    choices = layout.queue_choices(app, lang)
    known = [id for _, id in choices]
    queue = queue if queue in known else known[0] if len(known) == 1 else None
    return {
        tab.chosen: {"annotator": annotator, "queue": queue},
        tab.queue: gr.update(choices=choices, value=queue),
        tab.desk: layout.desk_html(app, lang, annotator, queue, bool(known)),
        tab.agreeing.figures: "",
        tab.agreeing.revealed: "",
        tab.agreeing.gold_figures: "",
        tab.agreeing.dialog: gr.update(visible=False),
    }


def run_choices(lang: str, known: list[dict], chosen: int | None) -> dict:
    lines = [
        (say(lang, "lb_run_line", id=run["id"], name=run["name"] or run["set_name"], done=run["done"]), run["id"])
        for run in known
    ]
    return gr.update(choices=lines, value=chosen, info=None if lines else say(lang, "lb_no_run"))


def run_updates(app: App, tab: Label, run: int | None) -> dict:
    """The variants of a run, to be chosen from, and the identities it was begun with."""
    variants, sides = label_files.variants_of(app, run), label_files.sides_of(app, run)
    updates = {tab.making.variants: gr.update(choices=variants, value=variants, visible=len(variants) > 1)}
    if sides:
        updates |= {tab.making.old: gr.update(value=sides[0]), tab.making.new: gr.update(value=sides[1])}
    return updates


def show_source(tab: Label, chosen: str) -> dict:
    making, file = tab.making, chosen == FILE
    return {
        making.run: gr.update(visible=not file),
        making.file: gr.update(visible=file),
        making.variants: gr.update(visible=False, choices=[], value=[]),
    }


def show_run(app: App, tab: Label, run: int | None) -> dict:
    return run_updates(app, tab, run)


def make_queue(app: App, tab: Label, request: gr.Request, annotator: str, *values: Any) -> dict:
    """values: of the form for a new queue."""
    lang, making = app.language(request), tab.making
    form_values = QueueForm.read(values)
    try:
        queue = queues.get(app.db, label_files.make_queue(app, lang, form_values))
        roles.record_deed(app, "made queue", queue["id"], queue["name"])
    except Exception as error:
        return {making.said: paragraph(sentence(lang, error), "mt-failed")}
    made = show_tab(app, tab, lang, annotator_of(request, annotator), queue["id"])
    items = next(one["items"] for one in queues.all_with_counts(app.db) if one["id"] == queue["id"])
    gr.Info(escape(say(lang, "lb_made", name=queue["name"], items=items)))
    return made | {making.said: "", making.fold: gr.update(open=False)}


def show_agreement(app: App, tab: Label, request: gr.Request, annotator: str, queue: int | None, scope: str) -> dict:
    part, lang, annotator = tab.agreeing, app.language(request), annotator_of(request, annotator)
    try:
        figures = agreement.agreement_html(app, lang, queue, scope == "all", annotator)
        revealed = "" if queue is None else agreement.revealed_html(app, lang, queue, annotator)
    except Exception as error:
        return {part.figures: paragraph(sentence(lang, error), "mt-failed"), part.revealed: ""}
    return {part.figures: figures, part.revealed: revealed}


def show_gold(app: App, request: gr.Request, annotator: str, queue: int | None) -> str:
    """For whoever leads: how far everybody agrees with the labels that are known beforehand."""
    lang = app.language(request)
    try:
        shown = gold.gold_html(app, lang, queue, annotator_of(request, annotator))
        roles.record_deed(app, "looked at known labels", f"queue {queue}")
    except Exception as error:
        return paragraph(sentence(lang, error), "mt-failed")
    return shown


def settle_labels(app: App, tab: Label, request: gr.Request, annotator: str, queue: int | None, scope: str) -> dict:
    """Makes a queue of what was labelled differently."""
    lang, annotator = app.language(request), annotator_of(request, annotator)
    queue = None if scope == "all" else queue
    name = queues.get(app.db, queue)["name"] if queue is not None else say(lang, "lb_scope_all")
    name = name if len(name) <= NAMED else f"{name[:NAMED]}…"
    made = agreement.create_settling_queue(app, say(lang, "lb_settle_name", name=name), queue)
    if made is None:
        gr.Info(say(lang, "lb_settle_none"))
        return gr.skip()
    roles.record_deed(app, "made queue", made, name)
    return show_tab(app, tab, lang, annotator, made)


def ask_to_reveal(app: App, tab: Label, request: gr.Request, annotator: str, queue: int | None) -> dict:
    if queue is None or not annotator_of(request, annotator):
        gr.Info(say(app.language(request), "lb_need_name" if queue is not None else "lb_need_queue"))
        return gr.skip()
    return {tab.agreeing.dialog: gr.update(visible=True)}


def reveal(app: App, tab: Label, request: gr.Request, annotator: str, queue: int) -> dict:
    lang, annotator = app.language(request), annotator_of(request, annotator)
    labels.reveal(app.db, annotator, queue=queue)
    # The desk is opened anew: it now shows what it hid.
    desk = layout.desk_html(app, lang, annotator, queue, True, revealed=True)
    updates = {tab.agreeing.dialog: gr.update(visible=False), tab.desk: desk}
    return updates | show_agreement(app, tab, request, annotator, queue, "queue")


def close_dialog() -> dict:
    return gr.update(visible=False)


def import_labels(app: App, request: gr.Request, path: str | None, annotator: str) -> str:
    lang, annotator = app.language(request), annotator_of(request, annotator)
    if not path:
        return ""
    try:
        new, rows = label_files.import_labels(app, path, annotator, role_of(app, request))
        roles.record_deed(app, "imported labels", Path(path).name, f"{new} new of {rows}")
    except Exception as error:
        return paragraph(sentence(lang, error), "mt-failed")
    return paragraph(say(lang, "lb_imported", n=new, rows=rows), "lb-quiet", role="status")


def export_labels(app: App, tab: Label, request: gr.Request, queue: int | None, scope: str) -> dict:
    lang, files = app.language(request), tab.files
    if scope == "queue" and queue is None:
        return {files.exported: paragraph(say(lang, "lb_need_queue"), "lb-quiet")}
    try:
        found, counts = label_files.export_labels(app, None if scope == "all" else queue)
    except Exception as error:
        return {files.exported: paragraph(sentence(lang, error), "mt-failed")}
    words = [say(lang, "lb_exported", **counts), say(lang, "lb_export_note")] if found else [say(lang, "lb_exported_none")]
    return {
        files.exported: "".join(paragraph(line, "lb-quiet", role="status") for line in words),
        files.downloads: gr.update(value=found or None, visible=bool(found)),
    }
