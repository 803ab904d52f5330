"""What happens among the saved texts of an identity: two are compared, asked side by side, or one is taken back."""

from __future__ import annotations

from collections.abc import Callable, Collection

import gradio as gr

import identities
from engine.types import Mode
from identities.facts import read_facts_text
from ui.context import App
from ui.conversation import Page
from ui.listeners import QUIET, bind_or_warn
from ui.tabs.identity import facts as fields, versions
from ui.tabs.identity.layout import IdentityTab
from ui.variants import NO_IDENTITY, Picked, version_name
from ui.words import say


def wire_versions(app: App, tab: IdentityTab) -> None:
    fold, chosen = tab.versions, tab.listing.chosen
    pair = [chosen, fold.older, fold.newer]
    gr.on([fold.older.input, fold.newer.input], bind_or_warn(show_diff, app), pair, fold.diff, **QUIET)
    given, changed = [chosen, fold.older, tab.fact_drafts], [tab.editor.text, tab.fact_drafts, *tab.facts.inputs]
    fold.take_back.click(bind_or_warn(take_back, app, tab), given, changed, **QUIET)


def wire_ask_both(
    app: App, tab: IdentityTab, columns: gr.State, outputs: list, answering: Collection[str], open_chat: Callable[..., dict]
) -> None:
    """columns: the chat's page. outputs: what `open_chat(page, first, second, lang) -> updates` may change. answering: the
    sessions whose columns are still answering."""
    given = [columns, tab.listing.chosen, tab.versions.older, tab.versions.newer, tab.editor.mode]
    tab.versions.ask_both.click(bind_or_warn(ask_both, app, answering, open_chat), given, outputs, **QUIET)


def show_versions(app: App, tab: IdentityTab, lang: str, name: str) -> dict:
    """The fold of one identity: what is there now against what was there before."""
    fold = tab.versions
    try:
        found = versions.versions_of(app, name) if name != identities.NONE else []
    except identities.IdentityError:  # said above
        found = []
    listed = versions.choices(lang, found)
    older = listed[1][1] if len(listed) > 1 else None
    return {
        fold.table: versions.versions_html(lang, found),
        fold.older: gr.update(choices=listed, value=older),
        fold.newer: gr.update(choices=listed, value=versions.NOW if listed else None),
        fold.diff: versions.diff_html(lang, versions.chosen(found, older), versions.chosen(found, versions.NOW)),
    }


def show_diff(app: App, request: gr.Request, name: str, older: str | None, newer: str | None) -> str:
    found = versions.versions_of(app, name)
    return versions.diff_html(app.language(request), versions.chosen(found, older), versions.chosen(found, newer))


def take_back(app: App, tab: IdentityTab, request: gr.Request, name: str, older: str | None, fact_drafts: dict) -> dict:
    """An older text and its facts go into the editor, to be saved or not."""
    version = versions.chosen(versions.versions_of(app, name), older)
    if version is None:
        gr.Warning(say(app.language(request), "version_one"))
        return gr.skip()
    values = fields.values_of(read_facts_text(version.facts, f"{name}.yaml") if version.facts else None)
    fact_drafts.pop(name, None)
    if values != fields.values_of(fields.saved_facts(app, name)):
        fact_drafts[name] = values
    shown = dict(zip(tab.facts.inputs, values, strict=True))
    return {tab.editor.text: version.text, tab.fact_drafts: fact_drafts} | shown


def ask_both(
    app: App, answering: Collection[str], open_chat: Callable[..., dict], request: gr.Request, page: Page, name: str,
    older: str | None, newer: str | None, mode: Mode,
) -> dict:  # fmt: skip
    """Both texts in the first two columns of the chat."""
    lang = app.language(request)
    found = versions.versions_of(app, name)
    first, second = (versions.chosen(found, id) for id in (older, newer))
    if first is None or second is None:
        gr.Warning(say(lang, "version_one"))
        return gr.skip()
    if first.hash == second.hash:
        gr.Warning(say(lang, "version_same_prompt"))
        return gr.skip()
    if request.session_hash in answering:
        gr.Warning(say(lang, "still_answering"))
        return gr.skip()
    picks = []
    for version in (first, second):
        known = name if version.hash == found[0].hash else version_name(name, version.hash)
        picks.append(Picked(identity=known if version.text.split("\n")[0].strip() else NO_IDENTITY, mode=mode))
    return open_chat(page, *picks, lang)
