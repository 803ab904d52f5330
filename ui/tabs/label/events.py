"""What happens in the Label tab around the desk: choosing, making queues, agreement, revealing, files."""

from __future__ import annotations

from html import escape
from pathlib import Path

import gradio as gr

import identities
from store import StoreError, labels, queues
from store.names import person
from ui import filling, training
from ui.access import roles
from ui.context import App, sentence
from ui.tabs.label import agreement, files as label_files, layout
from ui.tabs.label.files import QueueForm
from ui.tabs.label.layout import FILE, Label
from ui.words import say

NAMED = 120  # characters of a queue's name in that of the queue that settles it
LEAVE_NAME = "() => { const at = document.activeElement; if (at?.closest('#lb-annotator')) at.blur(); }"


def open_label(app: App, tab: Label, lang: str, request: gr.Request, chosen: dict) -> dict:
    """The whole tab as the browser left it."""
    chosen = chosen if isinstance(chosen, dict) else {}
    annotator = named(request, str(chosen.get("annotator") or ""))
    known = training.known_identities(app)
    base = app.engine.base
    card = getattr(base, "card", None)
    old = card.name if card and card.placeholders and card.name in known else ""
    new = next((name for name in known if name not in (old, identities.DEFAULT_OLD)), "")
    runs = label_files.known_runs(app)
    newest = runs[0]["id"] if runs else None
    old, new = label_files.sides_of(app, newest) or (old, new)
    variants = label_files.variants_of(app, newest)
    choices = [(say(lang, "lb_nobody"), ""), *((name, name) for name in known)]
    making = tab.making
    updates = show(app, tab, lang, annotator, chosen.get("queue"))
    return updates | {
        # on a slow machine this comes after a person has begun: a name that was typed stays, a fold that was opened too
        tab.annotator: gr.update(interactive=not login_of(request), **({"value": annotator} if annotator else {})),
        making.fold: gr.update() if queues.all_with_counts(app.db) else gr.update(open=True),
        making.run: run_choices(lang, runs, newest),
        making.variants: gr.update(choices=variants, value=variants, visible=len(variants) > 1),
        making.old: gr.update(choices=choices, value=old),
        making.new: gr.update(choices=choices, value=new),
        making.said: "",
    }


def login_of(request: gr.Request) -> str:
    """The name somebody has logged in with; "" where no login is asked for."""
    return getattr(request, "username", None) or ""


def named(request: gr.Request, annotator: str | None) -> str:
    """Who labels, as names are stored; "" for nobody, and for what is no name, which is said."""
    try:
        return person(login_of(request) or annotator or "")
    except StoreError as error:
        gr.Warning(escape(str(error)))
        return ""


def role_of(app: App, request: gr.Request) -> str | None:
    """None where nobody has to log in; of somebody whose role nobody knows the least that labels."""
    return None if app.accounts is None else app.accounts.role(login_of(request)) or roles.LABELER


def show(app: App, tab: Label, lang: str, annotator: str, queue: int | None) -> dict:
    """Queues, desk and what is told of the chosen queue, for this person."""
    choices = layout.queue_choices(app, lang)
    known = [id for _, id in choices]
    queue = queue if queue in known else known[0] if len(known) == 1 else None
    return {
        tab.chosen: {"annotator": annotator, "queue": queue},
        tab.queue: gr.update(choices=choices, value=queue),
        tab.desk: layout.desk_html(app, lang, annotator, queue, bool(known)),
        tab.agreeing.told: "",
        tab.agreeing.hidden: "",
        tab.agreeing.dialog: gr.update(visible=False),
    }


def run_choices(lang: str, known: list[dict], chosen: int | None) -> dict:
    lines = [
        (say(lang, "lb_run_line", id=run["id"], name=run["name"] or run["set_name"], done=run["done"]), run["id"])
        for run in known
    ]
    return gr.update(choices=lines, value=chosen, info=None if lines else say(lang, "lb_no_run"))


def of_run(app: App, tab: Label, run: int | None) -> dict:
    """The variants of a run, to be chosen from, and the identities it was begun with."""
    variants, sides = label_files.variants_of(app, run), label_files.sides_of(app, run)
    updates = {tab.making.variants: gr.update(choices=variants, value=variants, visible=len(variants) > 1)}
    if sides:
        updates |= {tab.making.old: gr.update(value=sides[0]), tab.making.new: gr.update(value=sides[1])}
    return updates


def wire_label(app: App, tab: Label, demo: gr.Blocks, page: gr.Tab, notice: gr.HTML) -> None:
    """Everything that happens in the tab. page: its Tab, to look for new queues when it is opened. notice: what cannot be
    filled is said there."""

    def opened(request: gr.Request, chosen: dict) -> dict:
        return open_label(app, tab, app.language(request), request, chosen)

    def came(request: gr.Request, run: int | None) -> dict:
        """New queues and runs are offered; the desk stays as it is, and so does a run that was chosen."""
        lang = app.language(request)
        runs = label_files.known_runs(app)
        chosen = runs[0]["id"] if run is None and runs else run
        updates = of_run(app, tab, chosen) if chosen != run else {}
        return updates | {
            tab.queue: gr.update(choices=layout.queue_choices(app, lang)),
            tab.making.run: run_choices(lang, runs, chosen),
        }

    def choose(request: gr.Request, annotator: str, queue: int | None, chosen: dict) -> dict:
        annotator = named(request, annotator)
        if chosen and chosen.get("annotator") == annotator and chosen.get("queue") == queue:
            return gr.skip()
        return show(app, tab, app.language(request), annotator, queue)

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    demo.load(filling.guarded(app, notice, opened), tab.chosen, [*tab.outputs, notice], **private)
    making = tab.making
    offered = [tab.queue, making.run, making.variants, making.old, making.new]
    page.select(filling.guarded(app, notice, came), making.run, [*offered, notice], **private)
    given = [tab.annotator, tab.queue, tab.chosen]
    # Every one, in its order: a queue chosen while the name is still on its way is neither dropped nor taken back.
    ordered = private | {"trigger_mode": "multiple", "concurrency_limit": 1}
    gr.on([tab.annotator.submit, tab.annotator.blur, tab.queue.input], choose, given, tab.outputs, **ordered)
    # a key pressed next is meant for the desk, and is not to become a part of the name
    tab.annotator.submit(None, js=LEAVE_NAME, api_visibility="private")
    _wire_making(app, tab)
    _wire_agreeing(app, tab)
    _wire_files(app, tab)


def _wire_making(app: App, tab: Label) -> None:
    making = tab.making

    def source(chosen: str) -> dict:
        file = chosen == FILE
        return {
            making.run: gr.update(visible=not file),
            making.file: gr.update(visible=file),
            making.variants: gr.update(visible=False, choices=[], value=[]),
        }

    def of_chosen(run: int | None) -> dict:
        return of_run(app, tab, run)

    def make(request: gr.Request, annotator: str, *given) -> dict:
        lang = app.language(request)
        form_values = QueueForm(
            *given[:8], int(given[8] or 1), given[9], int(given[10] or 0), *(value or "" for value in given[11:])
        )
        try:
            queue = queues.get(app.db, label_files.make(app, lang, form_values))
            roles.record(app, "made queue", queue["id"], queue["name"])
        except Exception as error:
            return {making.said: f'<p class="mt-failed">{escape(sentence(lang, error))}</p>'}
        made = show(app, tab, lang, named(request, annotator), queue["id"])
        items = next(one["items"] for one in queues.all_with_counts(app.db) if one["id"] == queue["id"])
        gr.Info(escape(say(lang, "lb_made", name=queue["name"], items=items)))
        return made | {making.said: "", making.fold: gr.update(open=False)}

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    making.source.input(source, making.source, [making.run, making.file, making.variants], **private)
    making.run.input(of_chosen, making.run, [making.variants, making.old, making.new], **private)
    making.make.click(make, [tab.annotator, *making.inputs], tab.outputs, trigger_mode="once", **private)


def _wire_agreeing(app: App, tab: Label) -> None:
    part = tab.agreeing

    def tell(request: gr.Request, annotator: str, queue: int | None, scope: str) -> dict:
        lang, annotator = app.language(request), named(request, annotator)
        try:
            told = agreement.told_html(app, lang, queue, scope == "all", annotator)
            hidden = "" if queue is None else agreement.revealed_html(app, lang, queue, annotator)
        except Exception as error:
            return {part.told: f'<p class="mt-failed">{escape(sentence(lang, error))}</p>', part.hidden: ""}
        return {part.told: told, part.hidden: hidden}

    def settle(request: gr.Request, annotator: str, queue: int | None, scope: str) -> dict:
        lang, annotator = app.language(request), named(request, annotator)
        queue = None if scope == "all" else queue
        try:
            name = queues.get(app.db, queue)["name"] if queue is not None else say(lang, "lb_scope_all")
            name = name if len(name) <= NAMED else f"{name[:NAMED]}…"
            made = agreement.settling_queue(app, say(lang, "lb_settle_name", name=name), queue)
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        if made is None:
            gr.Info(say(lang, "lb_settle_none"))
            return gr.skip()
        roles.record(app, "made queue", made, name)
        return show(app, tab, lang, annotator, made)

    def ask(request: gr.Request, annotator: str, queue: int | None) -> dict:
        if queue is None or not named(request, annotator):
            gr.Info(say(app.language(request), "lb_need_name" if queue is not None else "lb_need_queue"))
            return gr.skip()
        return {part.dialog: gr.update(visible=True)}

    def reveal(request: gr.Request, annotator: str, queue: int) -> dict:
        lang, annotator = app.language(request), named(request, annotator)
        try:
            labels.reveal(app.db, annotator, queue=queue)
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        # The desk is opened anew: it now shows what it hid.
        desk = layout.desk_html(app, lang, annotator, queue, True, revealed=True)
        return {part.dialog: gr.update(visible=False), tab.desk: desk} | tell(request, annotator, queue, "queue")

    def close() -> dict:
        return gr.update(visible=False)

    private = {"api_visibility": "private", "concurrency_limit": None}
    hidden = private | {"show_progress": "hidden"}
    given = [tab.annotator, tab.queue, part.scope]
    gr.on([part.fold.expand, part.again.click, part.scope.input], tell, given, [part.told, part.hidden], **private)
    part.settle.click(settle, given, tab.outputs, trigger_mode="once", **hidden)
    part.reveal.click(ask, given[:2], part.dialog, **hidden)
    part.cancel.click(close, outputs=part.dialog, **hidden)
    part.confirm.click(reveal, given[:2], [part.dialog, tab.desk, part.told, part.hidden], trigger_mode="once", **hidden)


def _wire_files(app: App, tab: Label) -> None:
    files = tab.files

    def take_in(request: gr.Request, path: str | None, annotator: str) -> str:
        lang, annotator = app.language(request), named(request, annotator)
        if not path:
            return ""
        try:
            new, rows = label_files.take_in(app, path, annotator, role_of(app, request))
            roles.record(app, "imported labels", Path(path).name, f"{new} new of {rows}")
        except Exception as error:
            return f'<p class="mt-failed">{escape(sentence(lang, error))}</p>'
        return f'<p class="lb-quiet" role="status">{escape(say(lang, "lb_imported", n=new, rows=rows))}</p>'

    def give_out(request: gr.Request, queue: int | None, scope: str) -> dict:
        lang = app.language(request)
        if scope == "queue" and queue is None:
            return {files.exported: f'<p class="lb-quiet">{escape(say(lang, "lb_need_queue"))}</p>'}
        try:
            found, counts = label_files.give_out(app, None if scope == "all" else queue)
        except Exception as error:
            return {files.exported: f'<p class="mt-failed">{escape(sentence(lang, error))}</p>'}
        words = [say(lang, "lb_exported", **counts), say(lang, "lb_export_note")] if found else [say(lang, "lb_exported_none")]
        return {
            files.exported: "".join(f'<p class="lb-quiet" role="status">{escape(line)}</p>' for line in words),
            files.downloads: gr.update(value=found or None, visible=bool(found)),
        }

    private = {"api_visibility": "private", "concurrency_limit": None}
    files.given.upload(take_in, [files.given, tab.annotator], files.said, **private)
    files.export.click(give_out, [tab.queue, files.scope], [files.exported, files.downloads], **private)
