"""What happens in the Identity tab: choosing, editing and saving, the dialog, the preview, and trying a text out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from html import escape
from typing import Any, Literal

import gradio as gr

import identities
from engine.types import Mode
from identities.files import CHINESE
from store import identity_versions
from ui.access import roles
from ui.answering import owner_of
from ui.context import App, sentence
from ui.html import failure
from ui.listeners import QUIET, bind, bind_or_warn
from ui.tabs.identity import facts as fields, try_it, version_events, versions, view
from ui.tabs.identity.layout import IdentityTab
from ui.tabs.identity.taught import taught_html
from ui.words import say

Doing = Literal["", "new", "rename", "delete"]


def wire_identity(app: App, tab: IdentityTab) -> None:
    """Everything that happens in the tab but its filling, which is the page's."""
    listing, editor, facts = tab.listing, tab.editor, tab.facts
    change = QUIET | {"outputs": tab.outputs}
    draw = QUIET | {"fn": bind(draw_quick_preview, app), "inputs": tab.previewed, "outputs": editor.preview}
    chosen, unsaved = listing.chosen, [tab.drafts, tab.fact_drafts]
    chosen.input(bind(choose, app, tab), [chosen, *unsaved], **change).then(**draw)
    typing = change | {"fn": bind(note_typing, app, tab), "inputs": [*unsaved, tab.shown, *tab.previewed[1:]]}
    # change, not input: Gradio's textbox reports input for key presses only, not for pasted text or an input method's.
    editor.text.change(trigger_mode="always_last", **typing)
    editor.one_line.click(view.join_lines, editor.text, editor.text, **QUIET).then(**typing)
    told = [*unsaved, tab.shown, editor.text, *facts.inputs]
    # input and blur, not change: what the prompt fills in is no draft of a person's, and comes one field after another
    typed = [event for field in facts.inputs for event in (field.input, field.blur)]
    gr.on(typed, bind(note_facts, app, tab), told, trigger_mode="always_last", **change)
    facts.read.click(bind(read_again, app, tab), told, **change)
    seeing = draw | {"fn": bind(show_prompt, app), "show_progress": "minimal", "show_progress_on": editor.preview}
    gr.on([editor.see.click, editor.sample.submit, editor.mode.input], **seeing)
    editor.save.click(bind_or_warn(save, app, tab), told, **change).then(**draw)
    editor.revert.click(bind(revert, app, tab), [chosen, *unsaved], **change).then(**draw)
    _wire_dialog(app, tab, change, draw)
    _wire_trial(app, tab)
    version_events.wire_versions(app, tab)


def _wire_dialog(app: App, tab: IdentityTab, change: dict, draw: dict) -> None:
    listing = tab.listing
    asking: list[tuple[Doing, gr.Button]] = [("new", listing.new), ("rename", listing.rename), ("delete", listing.delete)]
    for doing, button in asking:
        button.click(bind(open_dialog, app, tab, doing), listing.chosen, **change)
    given = [tab.doing, listing.chosen, listing.name, tab.drafts, tab.fact_drafts]
    gr.on([listing.confirm.click, listing.name.submit], bind_or_warn(confirm, app, tab), given, **change).then(**draw)
    listing.cancel.click(bind(close_dialog, tab), **change)


def _wire_trial(app: App, tab: IdentityTab) -> None:
    trial = tab.trial
    tried = [tab.listing.chosen, tab.editor.text, tab.drafts, tab.editor.mode, trial.which, trial.tokens]
    outputs = [trial.table, trial.start, trial.stop]
    trial.start.click(bind(try_prompt, app, tab), tried, outputs, trigger_mode="once", **QUIET)
    trial.stop.click(bind(stop_trial, tab), queue=False, **QUIET)


def open_identity(
    app: App, tab: IdentityTab, lang: str, name: str | None = None, drafts: dict | None = None, fact_drafts: dict | None = None
) -> dict:
    """Everything the editor shows for one identity; the first real one if none is named."""
    listing, editor = tab.listing, tab.editor
    drafts, fact_drafts = drafts or {}, fact_drafts or {}
    known = identities.names(app.identities)
    if name is None or name not in known:
        chinese = lang.startswith("zh")
        own = [other for other in known if other != identities.NONE]
        name = min(own, key=lambda other: other.endswith(CHINESE) != chinese, default=identities.NONE)
    try:
        saved, about = identities.load(name, app.identities).text, view.about_html(app, lang, name)
    except Exception as error:
        saved, about = "", failure(sentence(lang, error))
    text = drafts.get(name, saved)
    return {
        tab.drafts: drafts,
        tab.fact_drafts: fact_drafts,
        tab.doing: "",
        tab.shown: name,
        listing.chosen: gr.update(choices=marked_names(lang, known, drafts, fact_drafts), value=name),
        listing.dialog: gr.update(visible=False),
        editor.about: about,
        editor.text: gr.update(value=text, interactive=name != identities.NONE),
        editor.notes: view.notes_html(lang, name, text, saved),
        editor.one_line: gr.update(visible=bool(view.ignored_text(text))),
        editor.preview: view.stale_html(lang),
        **facts_updates(app, tab, lang, name, text, drafts, fact_drafts),
        **version_events.show_versions(app, tab, lang, name),
    }


def facts_updates(
    app: App, tab: IdentityTab, lang: str, name: str, text: str, drafts: dict, fact_drafts: dict, typed: bool = False
) -> dict:
    """The fields and what is said of them: drafts before saved facts, and where there are neither, what the prompt says.

    typed: somebody is typing into the fields, which keep their texts.
    """
    form = tab.facts
    saved = fields.saved_facts(app, name)
    read = fields.read_of(app, name, text, drafts) if name != identities.NONE else identities.Facts()
    values = fact_drafts.get(name) or fields.values_of(saved or read)
    problem, facts = "", None
    try:
        facts = fields.facts_of(values, saved)
    except Exception as error:
        problem = sentence(lang, error)
    said = fields.doubts_by_field(lang, fields.doubts_of(app, name, facts, read))
    own: dict = {
        form.box: gr.update(visible=name != identities.NONE),
        form.can: fields.can_html(lang, name, text, facts),
        form.state: fields.state_html(lang, saved, values, name not in fact_drafts, problem),
        form.taught: taught_html(app, lang, name, facts),
    }
    for field, value in zip(fields.FIELDS, values, strict=True):
        info = say(lang, "fact_placeholders_info") if field == "placeholders" else said.get(field, "")
        shown = {} if typed else {"value": value, "interactive": name != identities.NONE}
        own[form.fields[field]] = gr.update(info=info, **shown)
    return own


def marked_names(lang: str, known: list[str], drafts: dict, fact_drafts: dict) -> list[tuple[str, str]]:
    """The identities to choose from, those with something unsaved marked."""
    shown = {identities.NONE: say(lang, "no_identity")}
    return [(shown.get(name, name) + (" •" if name in drafts or name in fact_drafts else ""), name) for name in known]


def choose(app: App, tab: IdentityTab, request: gr.Request, name: str, drafts: dict, fact_drafts: dict) -> dict:
    usual = {tab.editor.mode: identities.usual_mode(name)}
    return open_identity(app, tab, app.language(request), name, drafts, fact_drafts) | usual


def note_typing(
    app: App,
    tab: IdentityTab,
    request: gr.Request,
    drafts: dict,
    fact_drafts: dict,
    name: str,
    text: str,
    mode: Mode,
    sample: str,
) -> dict:
    """Keeps what was typed as a draft, and says what is not saved or would not be read."""
    lang = app.language(request)
    try:
        saved = identities.load(name, app.identities).text
    except Exception:
        saved = ""
    was = name in drafts
    if text == drafts.get(name, saved):  # filled in by `open_identity`, which has said all there is to say
        return gr.skip()
    if text.strip("\n") == saved:
        drafts.pop(name, None)
    else:
        drafts[name] = text
    updates: dict[Any, Any] = {
        tab.drafts: drafts,
        tab.editor.notes: view.notes_html(lang, name, text, saved),
        tab.editor.one_line: gr.update(visible=bool(view.ignored_text(text))),
        tab.editor.preview: view.quick_preview_html(app, lang, name, text, mode, sample),
        **facts_updates(app, tab, lang, name, text, drafts, fact_drafts),
    }
    if was != (name in drafts):
        updates[tab.listing.chosen] = gr.update(choices=marked_names(lang, identities.names(app.identities), drafts, fact_drafts))
    return updates


def note_facts(
    app: App, tab: IdentityTab, request: gr.Request, drafts: dict, fact_drafts: dict, name: str, text: str, *values: str
) -> dict:
    """Keeps what was typed into the fields as a draft."""
    shown = fields.saved_facts(app, name) or fields.read_of(app, name, text, drafts)
    was = name in fact_drafts
    values = tuple(value or "" for value in values)
    if values == (fact_drafts.get(name) or fields.values_of(shown)):
        return gr.skip()
    if name == identities.NONE or values == fields.values_of(shown):
        fact_drafts.pop(name, None)
    else:
        fact_drafts[name] = values
    lang = app.language(request)
    updates = {tab.fact_drafts: fact_drafts}
    updates |= facts_updates(app, tab, lang, name, text, drafts, fact_drafts, typed=True)
    if was != (name in fact_drafts):
        updates[tab.listing.chosen] = gr.update(choices=marked_names(lang, identities.names(app.identities), drafts, fact_drafts))
    return updates


def read_again(
    app: App, tab: IdentityTab, request: gr.Request, drafts: dict, fact_drafts: dict, name: str, text: str, *values: str
) -> dict:
    """What the prompt says goes into the fields, over what stood there."""
    if name == identities.NONE:
        return gr.skip()
    lang = app.language(request)
    read = fields.read_of(app, name, text, drafts)
    new = fields.filled(values, read)
    if new == tuple(values):
        gr.Info(say(lang, "facts_nothing_read"))
        return gr.skip()
    fact_drafts[name] = new
    choices = gr.update(choices=marked_names(lang, identities.names(app.identities), drafts, fact_drafts))
    shown = facts_updates(app, tab, lang, name, text, drafts, fact_drafts)
    return {tab.fact_drafts: fact_drafts, tab.listing.chosen: choices} | shown


def show_prompt(app: App, request: gr.Request, name: str, text: str, mode: Mode, sample: str) -> str:
    return view.preview_html(app, app.language(request), name, text, mode, sample)


def draw_quick_preview(app: App, request: gr.Request, name: str, text: str, mode: Mode, sample: str) -> str:
    return view.quick_preview_html(app, app.language(request), name, text, mode, sample)


def save(
    app: App, tab: IdentityTab, request: gr.Request, drafts: dict, fact_drafts: dict, name: str, text: str, *values: str
) -> dict:
    """Prompt and facts, both or neither; what was there before and what is there now are kept as versions."""
    lang = app.language(request)
    facts = fields.facts_of(values, fields.saved_facts(app, name))
    versions.keep(app, name, roles.doer())
    identities.save_whole(name, text, facts, app.identities)
    versions.keep(app, name, roles.doer())
    drafts.pop(name, None)
    fact_drafts.pop(name, None)
    fact_drafts.pop(fields.twin_of(name), None)
    roles.record_deed(app, "changed identity", name)
    gr.Info(escape(say(lang, "saved", name=name)))
    return open_identity(app, tab, lang, name, drafts, fact_drafts)


def revert(app: App, tab: IdentityTab, request: gr.Request, name: str, drafts: dict, fact_drafts: dict) -> dict:
    drafts.pop(name, None)
    fact_drafts.pop(name, None)
    return open_identity(app, tab, app.language(request), name, drafts, fact_drafts)


def open_dialog(app: App, tab: IdentityTab, doing: Doing, request: gr.Request, name: str) -> dict:
    words = escape(say(app.language(request), f"really_{doing}", name=name))
    return {
        tab.doing: doing,
        tab.listing.dialog: gr.update(visible=True),
        tab.listing.words: f'<p class="mt-dialog-words">{words}</p>',
        tab.listing.name: gr.update(value=name if doing == "rename" else "", visible=doing != "delete"),
    }


def confirm(
    app: App, tab: IdentityTab, request: gr.Request, doing: Doing, name: str, given: str, drafts: dict, fact_drafts: dict
) -> dict:
    """Does what the dialog asked about. given: the new name."""
    lang, given = app.language(request), given.strip()
    if doing == "new":
        identities.create(given, say(lang, "new_text", name=given), app.identities)
        name = given
        roles.record_deed(app, "made identity", name)
    elif doing == "rename":
        versions.keep(app, name, roles.doer())
        identities.rename(name, given, app.identities)
        identity_versions.renamed(app.db, name, given)
        roles.record_deed(app, "renamed identity", name, given)
        for kept in (drafts, fact_drafts):
            if name in kept:
                kept[given] = kept.pop(name)
        name = given
    elif doing == "delete":
        versions.keep(app, name, roles.doer())
        identities.delete(name, app.identities)
        roles.record_deed(app, "deleted identity", name)
        drafts.pop(name, None)
        fact_drafts.pop(name, None)
    return open_identity(app, tab, lang, name, drafts, fact_drafts)


def close_dialog(tab: IdentityTab) -> dict:
    return {tab.listing.dialog: gr.update(visible=False)}


def try_prompt(
    app: App, tab: IdentityTab, request: gr.Request, name: str, text: str, drafts: dict, mode: Mode, which: str, tokens: int
) -> Iterator[dict]:
    """Streams the table of the eight questions."""
    trial, lang, session = tab.trial, app.language(request), request.session_hash
    prompt = view.read_prompt(text)
    if prompt is None:
        gr.Warning(say(lang, "nothing_to_try"))
        return
    if session in trial.running:
        gr.Warning(say(lang, "still_answering"))
        return
    stop = trial.running[session] = threading.Event()
    note = say(lang, "tries_unsaved" if name in drafts else "tries_saved", name=name)
    title = f"{name} ({say(lang, 'mode_first_turn' if mode == 'first_turn' else 'mode_system')})"
    rows = [try_it.TrialRow(question, "", "") for question in try_it.trial_questions(which)]
    busy = {trial.start: gr.update(visible=False), trial.stop: gr.update(visible=True)}
    try:
        yield busy | {trial.table: try_it.table_html(lang, rows, title, note)}
        for news in try_it.stream_trial(app, prompt, mode, name, which, int(tokens), stop, session, owner_of(request)):
            if isinstance(news, int):
                yield {trial.table: try_it.table_html(lang, rows, title, say(lang, "before_you", number=news))}
                continue
            rows = news
            yield {trial.table: try_it.table_html(lang, rows, title, note)}
    except Exception as error:
        yield {trial.table: failure(sentence(lang, error)) + try_it.table_html(lang, rows, title, note)}
    finally:
        stop.set()
        trial.running.pop(session, None)
    yield {trial.start: gr.update(visible=True), trial.stop: gr.update(visible=False)}


def stop_trial(tab: IdentityTab, request: gr.Request) -> None:
    if request.session_hash in tab.trial.running:
        tab.trial.running[request.session_hash].set()
