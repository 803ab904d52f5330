"""What happens in the Fine-tune tab: the form tells what it means, runs are started, watched, stopped, resumed and compared."""

from __future__ import annotations

from collections.abc import Callable, Collection
from html import escape

import gradio as gr

from store import jobs as stored
from tuning.jobs import memory, queue
from tuning.jobs.launch import shell_lines
from tuning.jobs.queue import progress, tail
from tuning.train.presets import PRESETS
from ui import adapter_library, training
from ui.access import roles
from ui.context import App, sentence
from ui.conversation import Page
from ui.tabs.finetune import forecast, layout, run_page, settings_form
from ui.tabs.finetune.chart import curves_html
from ui.tabs.finetune.layout import NEW, NO_GENERAL, OWN_FILE, FineTune
from ui.words import say

LOG_LINES = 60


def tell(app: App, tab: FineTune, lang: str, given: tuple | list) -> dict:
    """What the form means now."""
    try:
        form_values = training.read_form(app, layout.plain(tab.form, given))
        outlook = training.foresee(app, form_values)
    except Exception as error:
        problem = forecast.refusals_html(lang, tuple(sentence(lang, error).split("\n")))
        return {tab.outlook: problem, tab.first_rows: "", tab.command: "", tab.park: gr.update(visible=False)}
    settings, room = outlook.settings, outlook.room
    command = forecast.command_html(lang, training.commands(app, form_values, settings)) if settings else ""
    return {
        tab.outlook: forecast.outlook_html(lang, outlook),
        tab.first_rows: forecast.first_rows_html(lang, outlook),
        tab.command: command,
        tab.park: gr.update(visible=bool(room and not room.fits and room.fits_parked)),
        tab.form.name: gr.update(placeholder=form_values.name),
    }


def open_finetune(app: App, tab: FineTune, lang: str) -> dict:
    """Everything the tab shows when the page is opened: the run that is under way, or an empty form."""
    busy = [job for job in stored.unfinished(app.db) if job["kind"] == "train"]
    chosen = str(busy[0]["id"]) if busy else NEW
    return layout.open_form(app, tab, lang) | show(app, tab, lang, chosen, {})


def show(app: App, tab: FineTune, lang: str, chosen: str, seen: dict, ticking: bool = False) -> dict:
    """The list and, if a run is chosen, its page: only what differs from what was `seen` there.

    ticking: what is chosen stays as it is; a tick that began before somebody chose may come to its end after it.
    """
    known = {str(job["id"]): job for job in training.trainings(app)}
    choices = [(say(lang, "new_run"), NEW), *((run_page.label(lang, job), id) for id, job in known.items())]
    wanted: dict = {"runs": {"choices": choices}}
    if not ticking or chosen not in (*known, NEW):
        chosen = chosen if chosen in known else NEW
        wanted |= {"runs": {"choices": choices, "value": chosen}, "dialog": {"visible": False}}
        wanted |= {"form_box": layout.shown(chosen == NEW), "run_box": layout.shown(chosen != NEW)}
    if chosen != NEW:
        wanted |= one_run(app, lang, known[chosen])
    updates = {
        getattr(tab, name): gr.update(**value) if isinstance(value, dict) else value
        for name, value in wanted.items()
        if seen.get(name) != value
    }
    return updates | ({tab.seen: seen | wanted} if updates else {})


def one_run(app: App, lang: str, job: dict) -> dict:
    """A run's page, part by part."""
    told, status = progress(app.db, job["id"]), job["status"]
    waiting = [other["id"] for other in stored.unfinished(app.db) if other["device"] == job["device"]]
    ahead = waiting.index(job["id"]) if job["id"] in waiting else 0
    ended = status in stored.ENDED
    command = shell_lines(job["arguments"])
    return {
        "head": run_page.head_html(lang, job, told, ahead),
        "curves": "" if status == "discarded" or (status == "queued" and not told.losses) else curves_html(lang, told),
        "numbers": run_page.numbers_html(lang, job, told),
        "log": run_page.log_html(lang, tail(job["log"], LOG_LINES)),
        "run_command": forecast.command_html(lang, command),
        "compare": {"visible": status in ("done", "stopped") and adapter_there(job)},
        "resume": {"visible": status in ("stopped", "failed", "died")},
        "stop": {"visible": status in ("queued", "starting", "running")},
        "again": {"visible": bool(job["settings"])},
        "forget": {"visible": ended},
    }


def adapter_there(job: dict) -> bool:
    return adapter_library.is_adapter(job["folder"])


def wire_finetune(app: App, tab: FineTune) -> None:
    """Everything but *Compare now*, which also writes to the Chat tab."""
    form = tab.form
    _wire_form(app, tab)
    _wire_run(app, tab)

    def start(request: gr.Request, park: bool, *given) -> dict:
        lang = app.language(request)
        try:
            id = training.start(app, training.read_form(app, layout.plain(form, given)), bool(park))
            roles.record(app, "started training", id)
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        return show(app, tab, lang, str(id), {}) | {form.copy: layout.copy_choices(app, lang), form.name: ""}

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    tab.start.click(start, [tab.park, *form.inputs], [*tab.run, form.copy, form.name], trigger_mode="once", **private)


def _wire_form(app: App, tab: FineTune) -> None:
    form = tab.form

    def changed(request: gr.Request, *given) -> dict:
        return tell(app, tab, app.language(request), given)

    def preset(name: str) -> dict:
        return settings_form.fill(form.settings, training.USUAL | PRESETS[name])

    def source(chosen: str) -> dict:
        return {
            form.general_file: gr.update(visible=chosen == OWN_FILE),
            form.clean: gr.update(visible=chosen == OWN_FILE),
            form.share: gr.update(visible=chosen != NO_GENERAL),
        }

    def copy(request: gr.Request, id: str) -> dict:
        if not id:
            return gr.skip()
        try:
            return layout.fill(form, training.form_again(stored.get(app.db, int(id))))
        except Exception as error:
            gr.Warning(escape(sentence(app.language(request), error)))
            return gr.skip()

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    # change, not input: it also hears a preset or an earlier run fill the form
    gr.on([component.change for component in form.inputs], changed, form.inputs, tab.told, trigger_mode="always_last", **private)
    form.preset.input(preset, form.preset, list(form.settings.values()), **private)
    form.general.input(source, form.general, [form.general_file, form.clean, form.share], **private)
    form.copy.input(copy, form.copy, form.inputs, **private)


def _wire_run(app: App, tab: FineTune) -> None:
    def look(request: gr.Request, chosen: str, seen: dict) -> dict:
        return show(app, tab, app.language(request), chosen, seen, ticking=True) or gr.skip()

    def choose(request: gr.Request, chosen: str) -> dict:
        return show(app, tab, app.language(request), chosen, {})

    def act(what: Callable[[int], object]) -> Callable:
        """Does something to the chosen run; whatever is wrong with that is said, and the page shows how things are."""

        def acted(request: gr.Request, chosen: str) -> dict:
            lang = app.language(request)
            try:
                what(int(chosen))
                queue.tick(app.db, memory.admission(app.engine, app.db))
            except Exception as error:
                gr.Warning(escape(sentence(lang, error)))
            return show(app, tab, lang, chosen, {}) | {tab.dialog: gr.update(visible=False)}

        return roles.called(acted, what)

    def keep(id: int) -> None:
        training.stop(app, id, keep=True)
        roles.record(app, "stopped training", id)

    def discard(id: int) -> None:
        training.stop(app, id, keep=False)
        roles.record(app, "discarded training", id)

    def resume(id: int) -> None:
        training.resume(app, id)
        roles.record(app, "resumed training", id)

    def forget(id: int) -> None:
        queue.remove(app.db, id)
        roles.record(app, "removed training", id)

    def close() -> dict:
        return gr.update(visible=False)

    def ask(key: str, *buttons: gr.Button) -> Callable:
        def asked(request: gr.Request) -> dict:
            words = f'<p class="mt-dialog-words">{escape(say(app.language(request), key))}</p>'
            shown = {button: gr.update(visible=button in buttons) for button in (tab.keep, tab.discard, tab.really_forget)}
            return shown | {tab.dialog: gr.update(visible=True), tab.dialog_words: words}

        return asked

    def again(request: gr.Request, chosen: str) -> dict:
        lang = app.language(request)
        try:
            values = training.form_again(stored.get(app.db, int(chosen)))
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        return show(app, tab, lang, NEW, {}) | layout.fill(tab.form, values)

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    acting = private | {"inputs": tab.runs, "outputs": tab.run}
    tab.timer.tick(look, [tab.runs, tab.seen], tab.run, **private)
    tab.runs.input(choose, **acting)
    tab.stop.click(ask("really_stop", tab.keep, tab.discard), **private | {"outputs": tab.run})
    tab.forget.click(ask("really_forget", tab.really_forget), **private | {"outputs": tab.run})
    tab.keep.click(act(keep), **acting)
    tab.discard.click(act(discard), **acting)
    tab.resume.click(act(resume), **acting)
    tab.really_forget.click(act(forget), **acting)
    tab.cancel.click(close, outputs=tab.dialog, **private)
    tab.again.click(again, tab.runs, [*tab.run, *tab.form.inputs], **private)


def wire_compare(app: App, tab: FineTune, columns: gr.State, outputs: list, answering: Collection[str], show: Callable) -> None:
    """*Compare now*: the adapter is loaded, and `show(page, adapter, lang) -> updates` opens the chat with the base beside it.

    columns: the chat's page. outputs: what `show` may change. answering: the sessions whose columns are still answering.
    """

    def compare(request: gr.Request, page: Page, chosen: str) -> dict:
        lang = app.language(request)
        if request.session_hash in answering:
            gr.Warning(say(lang, "still_answering"))
            return gr.skip()
        try:
            adapter = adapter_library.loaded(app, training.folder_opened(app, int(chosen))["folder"])
        except Exception as error:
            gr.Warning(escape(sentence(lang, error)))
            return gr.skip()
        return show(page, adapter, lang)

    tab.compare.click(
        compare, [columns, tab.runs], outputs, api_visibility="private", show_progress="hidden", concurrency_limit=None
    )
