"""What happens in the Fine-tune tab: the form tells what it means, runs are started, watched, stopped, resumed and compared."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import gradio as gr

from engine.adapters import read_config, read_tensors
from engine.types import short_hash
from store import jobs as stored
from tuning.jobs import memory, queue
from tuning.jobs.launch import shell_lines
from tuning.jobs.progress import JobProgress
from tuning.jobs.queue import progress, tail
from ui import adapter_library, running, training
from ui.access import roles
from ui.context import App, sentence
from ui.conversation import Page
from ui.html import paragraph
from ui.listeners import QUIET, bind, bind_or_warn, warn
from ui.tabs.finetune import filling, forecast, layout, moments, offers, own_rows, run_page, settings_form
from ui.tabs.finetune.chart import curves_html
from ui.tabs.finetune.layout import NEW, NO_GENERAL, OWN_FILE, FineTune
from ui.words import say

LOG_LINES = 60
ADAPTERS_OWN = ("lora_r", "lora_alpha", "lora_target_modules")


def wire_finetune(app: App, tab: FineTune) -> None:
    """Everything but *Compare now*, which also writes to the Chat tab."""
    form = tab.form
    inputs, started = [tab.park, *form.inputs], [*tab.run_outputs, form.copy, form.name]
    describes = dict(fn=bind(refresh_outlook, app, tab), inputs=tab.form_inputs, outputs=tab.form_outputs, **QUIET)
    tab.start.click(bind_or_warn(start_run, app, tab), inputs, started, trigger_mode="once", **QUIET).then(**describes)
    # input, not change: what fills many fields at once asks once, behind it. But a textbox reports input for key presses only,
    # not for pasted text or an input method's.
    fills = (form.preset, form.general, form.init_adapter)
    asking = [component for component in form.inputs if component not in fills]
    typed = [component.change if isinstance(component, gr.Textbox) else component.input for component in asking]
    gr.on(typed, trigger_mode="always_last", **describes)
    form.preset.input(bind(apply_preset, app, tab), form.preset, list(form.settings.values()), **QUIET).then(**describes)
    form.general.input(bind(show_source, tab), form.general, [form.general_file, form.clean, form.share], **QUIET).then(
        **describes
    )
    adapters_own = [form.settings[name] for name in ADAPTERS_OWN]
    form.init_adapter.input(bind_or_warn(start_from, app, tab), form.init_adapter, adapters_own, **QUIET).then(**describes)
    form.copy.input(bind_or_warn(copy_run, app, tab), form.copy, form.inputs, **QUIET).then(**describes)
    remedied = [form.general, form.share, *form.settings.values()]
    tab.remedy.click(bind_or_warn(apply_remedies, app, tab), form.inputs, remedied, **QUIET).then(**describes)
    tab.own.upload.upload(bind_or_warn(uploaded, app, tab), tab.own.upload, form.own, **QUIET).then(**describes)
    _wire_run(app, tab, describes)
    moments.wire_moments(app, tab)


def _wire_run(app: App, tab: FineTune, describes: dict) -> None:
    """describes: the event that says what the form means."""
    # every output of an event costs the browser, changed or not: a tick has few, and what is rare follows its pulse
    tab.timer.tick(bind(show_progress, app, tab), [tab.runs, tab.pulse], [tab.pulse, tab.head, tab.figures], **QUIET)
    tab.pulse.change(bind(refresh_runs, app, tab), [tab.runs, tab.seen], tab.run_outputs, **QUIET)
    log = bind(show_log, app), tab.runs, tab.log
    tab.log_timer.tick(*log, **QUIET)
    tab.log_fold.expand(begin_log, outputs=tab.log_timer, **QUIET).then(*log, **QUIET)
    tab.log_fold.collapse(end_log, outputs=tab.log_timer, **QUIET)
    tab.runs.input(bind(choose_run, app, tab), tab.runs, tab.run_outputs, **QUIET)
    tab.stop.click(bind(open_dialog, app, tab, "really_stop", (tab.keep, tab.discard)), outputs=tab.run_outputs, **QUIET)
    tab.forget.click(bind(open_dialog, app, tab, "really_forget", (tab.really_forget,)), outputs=tab.run_outputs, **QUIET)
    acts = ((tab.keep, stop_and_keep), (tab.discard, stop_and_discard), (tab.resume, resume_run), (tab.really_forget, forget_run))
    for button, act in acts:
        button.click(_of_chosen(app, tab, act), tab.runs, tab.run_outputs, **QUIET)
    tab.cancel.click(close_dialog, outputs=tab.dialog, **QUIET)
    copied = tab.copy_settings.click(
        bind_or_warn(copy_settings, app, tab), tab.runs, [*tab.run_outputs, *tab.form.inputs], **QUIET
    )
    copied.then(**describes)


def wire_compare(
    app: App, tab: FineTune, columns: gr.State, outputs: list, answering: Collection[str], open_chat: Callable[..., dict]
) -> None:
    """*Compare now*: the adapter is loaded, and `open_chat(page, adapter, lang) -> updates` shows it beside the base.

    columns: the chat's page. outputs: what `open_chat` may change. answering: the sessions whose columns are still answering.
    """
    tab.compare.click(bind_or_warn(compare_run, app, answering, open_chat), [columns, tab.runs], outputs, **QUIET)
    moments.wire_open_moment(app, tab, columns, outputs, answering, open_chat)


def start_run(app: App, tab: FineTune, request: gr.Request, park: bool, *given) -> dict:
    lang, form = app.language(request), tab.form
    id = training.start(app, training.read_form(app, filling.plain_values(given)), bool(park))
    roles.record_deed(app, "started training", id)
    return show_runs(app, tab, lang, str(id), {}) | {form.copy: offers.copy_choices(app, lang), form.name: ""}


def refresh_outlook(app: App, tab: FineTune, request: gr.Request, offered: list[str], *given) -> dict:
    return describe_form(app, tab, app.language(request), offered, given)


def apply_preset(app: App, tab: FineTune, name: str) -> dict:
    return settings_form.fill_settings(tab.form.settings, training.recipe_values(app, name))


def start_from(app: App, tab: FineTune, request: gr.Request, adapter: str) -> dict:
    """Rank, alpha and layers as the adapter has them that the run is to start from: with others its weights do not fit."""
    if not adapter:
        return gr.skip()
    folder = Path(training.adapter_folder(app, adapter))
    config = read_config(folder)
    values = {"lora_r": config.r, "lora_alpha": config.lora_alpha, "lora_target_modules": target_layers(config, folder)}
    return {tab.form.settings[name]: gr.update(value=settings_form.shown_value(name, values[name])) for name in ADAPTERS_OWN}


def target_layers(config: Any, folder: Path) -> list[str]:
    """The layers as the form names them; of a pattern (unsloth writes one) those that the adapter really holds."""
    layers = config.target_modules
    if isinstance(layers, str) and layers != "all-linear":
        layers = {key.partition(".lora_")[0] for key in read_tensors(folder)[1] if ".lora_" in key}
    return [layers] if isinstance(layers, str) else sorted({name.rpartition(".")[2] for name in layers})


def uploaded(app: App, tab: FineTune, request: gr.Request, files: list[str] | str) -> str:
    place = training.keep_upload(app, [files] if isinstance(files, str) else files)
    roles.record_deed(app, "uploaded rows", place)
    return str(place)


def show_source(tab: FineTune, chosen: str) -> dict:
    form = tab.form
    return {
        form.general_file: gr.update(visible=chosen == OWN_FILE),
        form.clean: gr.update(visible=chosen == OWN_FILE),
        form.share: gr.update(visible=chosen != NO_GENERAL),
    }


def copy_run(app: App, tab: FineTune, request: gr.Request, id: str) -> dict:
    """The form filled in as for an earlier run."""
    return filling.fill_form(tab.form, training.earlier_values(stored.get(app.db, int(id)))) if id else gr.skip()


def show_progress(app: App, tab: FineTune, request: gr.Request, chosen: str, pulse: str) -> dict:
    """Of the run under way its head and its figures; and whether there is more to look at."""
    jobs = training.latest_trainings(app)
    known = {str(job["id"]): job for job in jobs}
    lang, job = app.language(request), known.get(chosen)
    beats = short_hash(
        repr([lang, moments.count(job), *([job[name] for name in ("id", "name", "status", "message")] for job in jobs)])
    )
    updates = {} if pulse == beats else {tab.pulse: beats}
    if job and job["status"] in stored.ACTIVE:
        parts = moving_parts(app, lang, job)
        updates |= {tab.head: parts["head"], tab.figures: parts["figures"]}
    return updates or gr.skip()


def show_log(app: App, request: gr.Request, chosen: str) -> str | dict:
    known = {str(job["id"]): job for job in training.latest_trainings(app)}
    return running.log_html(app.language(request), tail(known[chosen]["log"], LOG_LINES)) if chosen in known else gr.skip()


def begin_log() -> gr.Timer:
    return gr.Timer(active=True)


def end_log() -> gr.Timer:
    return gr.Timer(active=False)


def refresh_runs(app: App, tab: FineTune, request: gr.Request, chosen: str, seen: dict) -> dict:
    return show_runs(app, tab, app.language(request), chosen, seen, ticking=True) or gr.skip()


def choose_run(app: App, tab: FineTune, request: gr.Request, chosen: str) -> dict:
    return show_runs(app, tab, app.language(request), chosen, {})


def _of_chosen(app: App, tab: FineTune, act: Callable[[App, int], None]) -> Callable:
    """Does something to the chosen run; whatever is wrong with that is said, and the page shows how things are."""

    def acted(request: gr.Request, chosen: str) -> dict:
        lang = app.language(request)
        try:
            act(app, int(chosen))
            queue.tick(app.db, memory.admission(app.engine, app.db))
        except Exception as error:
            warn(lang, error)
        return show_runs(app, tab, lang, chosen, {}) | {tab.dialog: gr.update(visible=False)}

    return roles.name_after(acted, act)


def stop_and_keep(app: App, id: int) -> None:
    training.stop(app, id, keep=True)
    roles.record_deed(app, "stopped training", id)


def stop_and_discard(app: App, id: int) -> None:
    training.stop(app, id, keep=False)
    roles.record_deed(app, "discarded training", id)


def resume_run(app: App, id: int) -> None:
    training.resume(app, id)
    roles.record_deed(app, "resumed training", id)


def forget_run(app: App, id: int) -> None:
    queue.remove(app.db, id)
    roles.record_deed(app, "removed training", id)


def close_dialog() -> dict:
    return gr.update(visible=False)


def open_dialog(app: App, tab: FineTune, key: str, buttons: tuple[gr.Button, ...], request: gr.Request) -> dict:
    """The dialog before a run is stopped or removed. key: of its words; buttons: those that may answer it."""
    shown = {button: gr.update(visible=button in buttons) for button in (tab.keep, tab.discard, tab.really_forget)}
    words = paragraph(say(app.language(request), key), "mt-dialog-words")
    return shown | {tab.dialog: gr.update(visible=True), tab.dialog_words: words}


def copy_settings(app: App, tab: FineTune, request: gr.Request, chosen: str) -> dict:
    """A new run's form, filled in as for the chosen one."""
    values = training.earlier_values(stored.get(app.db, int(chosen)))
    return show_runs(app, tab, app.language(request), NEW, {}) | filling.fill_form(tab.form, values)


def compare_run(
    app: App, answering: Collection[str], open_chat: Callable[..., dict], request: gr.Request, page: Page, chosen: str
) -> dict:
    lang = app.language(request)
    if request.session_hash in answering:
        gr.Warning(say(lang, "still_answering"))
        return gr.skip()
    adapter = adapter_library.ensure_loaded(app, training.folder_opened(app, int(chosen))["folder"])
    return open_chat(page, adapter, lang)


def describe_form(app: App, tab: FineTune, lang: str, offered: list[str], given: tuple | list) -> dict:
    """What the form means now. offered: the columns of somebody's rows that can be chosen already."""
    plain = filling.plain_values(given)
    try:
        form_values = training.read_form(app, plain)
        if columns := training.own_columns(app, form_values.dataset):  # of another file by now, some may not be there any more
            plain["own_columns"] = {theirs: ours for theirs, ours in plain["own_columns"].items() if theirs in columns}
            form_values = training.read_form(app, plain)
        outlook = training.forecast_training(app, form_values)
    except Exception as error:
        problem = forecast.refusals_html(lang, tuple(sentence(lang, error).split("\n")))
        nothing = {
            tab.outlook: problem,
            tab.remedy: gr.update(visible=False),
            tab.first_rows: "",
            tab.command: "",
            tab.park: gr.update(visible=False),
        }
        return nothing | own_updates(app, tab, lang, plain, None, offered)
    settings, room = outlook.settings, outlook.room
    command = running.command_html(lang, training.shell_commands(app, form_values, settings)) if settings else ""
    return {
        tab.outlook: forecast.outlook_html(lang, outlook),
        tab.remedy: gr.update(visible=bool(remedies_of(outlook))),
        tab.first_rows: forecast.first_rows_html(lang, outlook),
        tab.command: command,
        tab.park: gr.update(visible=bool(room and not room.fits and room.fits_parked)),
        tab.form.name: gr.update(placeholder=form_values.name),
    } | own_updates(app, tab, lang, plain, outlook, offered)


def remedies_of(outlook: training.Outlook) -> dict[str, Any]:
    """What would do, of all that is to beware of."""
    cautions = outlook.forecast.report.cautions if outlook.forecast else ()
    return {name: value for caution in cautions for name, value in caution.remedy.items()}


def apply_remedies(app: App, tab: FineTune, request: gr.Request, *given) -> dict:
    """The form with what would do; the rest of it stays."""
    remedies = remedies_of(training.forecast_training(app, training.read_form(app, filling.plain_values(given))))
    form, share = tab.form, remedies.pop("general_share", None)
    general = {form.general: layout.PACKAGED, form.share: gr.update(value=share, visible=True)} if share else {}
    return general | {form.settings[name]: settings_form.shown_value(name, value) for name, value in remedies.items()}


def own_updates(app: App, tab: FineTune, lang: str, plain: dict, outlook: training.Outlook | None, offered: list[str]) -> dict:
    """What the rows that somebody brings look like. outlook: None where the form could not be read. The boxes are told of columns
    that they do not offer yet, and nothing else: somebody may have chosen another column meanwhile."""
    own, found = tab.own, outlook.composed.own if outlook and outlook.composed else None
    rows = outlook.forecast.own if outlook and outlook.forecast else ()
    there, columns = bool(plain["own"]), outlook.own_columns if outlook else ()
    unread = there and found is None and bool(columns)
    chosen = {ours: theirs for theirs, several in plain["own_columns"].items() for ours in several.split(" and ")}
    choices = [(say(lang, "as_recognised"), ""), *((name, name) for name in columns)]
    boxes = {box: gr.update(choices=choices, value=chosen.get(name, "")) for name, box in tab.form.columns.items()}
    new = bool(columns) and list(columns) != offered
    return (boxes | {own.offered: list(columns)} if new else {}) | {
        own.box: gr.update(**layout.own_shown(there)),
        own.about: own_rows.about_html(lang, found, plain, unread),
        own.fold: gr.update(open=True) if unread else gr.skip(),
        own.preview_fold: gr.update(**layout.unfold(bool(rows))),
        own.preview: own_rows.preview_html(lang, rows, outlook.forecast.format) if outlook and outlook.forecast else "",
    }


def open_finetune(app: App, tab: FineTune, lang: str) -> dict:
    """Everything the tab shows when the page is opened: the run that is under way, or an empty form."""
    busy = [job for job in stored.unfinished(app.db) if job["kind"] == "train"]
    chosen = str(busy[0]["id"]) if busy else NEW
    return filling.open_form(app, tab, lang) | show_runs(app, tab, lang, chosen, {})


def show_runs(app: App, tab: FineTune, lang: str, chosen: str, seen: dict, ticking: bool = False) -> dict:
    """The list and, if a run is chosen, its page: only what differs from what was `seen` there.

    ticking: what is chosen stays as it is; a tick that began before somebody chose may come to its end after it.
    """
    known = {str(job["id"]): job for job in training.latest_trainings(app)}
    choices = [(say(lang, "new_run"), NEW), *((run_page.run_label(lang, job), id) for id, job in known.items())]
    wanted: dict[str, Any] = {"runs": {"choices": choices}}
    if not ticking or chosen not in (*known, NEW):
        chosen = chosen if chosen in known else NEW
        wanted |= {"runs": {"choices": choices, "value": chosen}, "dialog": {"visible": False}}
        wanted |= {"form_box": layout.main_class(chosen == NEW), "run_box": layout.main_class(chosen != NEW)}
    if chosen != NEW:
        wanted |= run_parts(app, lang, known[chosen])
    updates = {
        getattr(tab, name): gr.update(**value) if isinstance(value, dict) else value
        for name, value in wanted.items()
        if seen.get(name) != value
    }
    return updates | ({tab.seen: seen | wanted} if updates else {})


def run_parts(app: App, lang: str, job: dict) -> dict:
    """A run's page: what each of the tab's components shows, by its name."""
    status, command = job["status"], shell_lines(job["arguments"])
    return (
        moving_parts(app, lang, job)
        | moments.shown_parts(lang, job)
        | {
            "log": running.log_html(lang, tail(job["log"], LOG_LINES)),
            "run_command": running.command_html(lang, command),
            "compare": {"visible": status in ("done", "stopped") and has_adapter(job)},
            "resume": {"visible": status in ("stopped", "failed", "died")},
            "stop": {"visible": status in ("queued", "starting", "running")},
            "copy_settings": {"visible": bool(job["settings"])},
            "forget": {"visible": status in stored.ENDED},
        }
    )


def moving_parts(app: App, lang: str, job: dict) -> dict[str, Any]:
    """Of a run's page what moves on while it is under way."""
    told = progress(app.db, job["id"])
    waiting = [other["id"] for other in stored.unfinished(app.db) if other["device"] == job["device"]]
    ahead = waiting.index(job["id"]) if job["id"] in waiting else 0
    return {"head": run_page.head_html(lang, job, told, ahead), "figures": figures_html(lang, job, told)}


def figures_html(lang: str, job: dict, told: JobProgress) -> str:
    without = job["status"] == "discarded" or (job["status"] == "queued" and not told.losses)
    curves = "" if without else curves_html(lang, told)
    return f'<div id="ft-curves">{curves}</div><div id="ft-numbers">{run_page.numbers_html(lang, job, told)}</div>'


def has_adapter(job: dict) -> bool:
    return adapter_library.is_adapter(job["folder"])
