"""What the Chat tab shows for a given state: from a `Page` to updates of its components. Reads, never changes, the page."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING

import gradio as gr

from engine.types import Variant
from ui import conversation
from ui.answering import upcoming_variant
from ui.context import App, sentence
from ui.conversation import MAX_COLUMNS, Page, ready_to_vote
from ui.tabs.chat import picker
from ui.transcript import blind_head, column_head, empty_html, live_html, revealed_head, turn_html, turns_html
from ui.variants import Picked, differs
from ui.words import say

if TYPE_CHECKING:
    from ui.tabs.chat.layout import Chat


def tab_updates(app: App, chat: Chat, page: Page, lang: str) -> dict:
    """The whole tab, with the pickers of the columns that are shown: a browser takes its time for what it is told."""
    updates = content_updates(app, chat, page, lang)
    if page.blind is None:
        offered = picker.choices(app, lang, page.picks)
        for at in page.shown:
            updates |= picker.picker_updates(chat.columns[at].picker, page.picks[at], offered)
    return updates


def content_updates(app: App, chat: Chat, page: Page, lang: str) -> dict:
    """The tab without what a person sets in it: someone may be turning a dial while the answers come.

    While a comparison is blind nothing in it depends on which column is behind which side.
    """
    places = dict(page.places())
    updates: dict = {chat.page: page}
    for at, column in enumerate(chat.columns):
        updates[column.box] = gr.update(visible=at in places)
        if at in places:
            updates[column.picker.box] = gr.update(visible=page.blind is None)
            updates[column.remove] = gr.update(visible=page.blind is None and len(page.shown) > 2)
            updates |= column_updates(app, chat, page, at, lang)
    updates[chat.blind] = gr.update(value=page.blind is not None)
    updates[chat.ballot] = gr.update(visible=ready_to_vote(page))
    updates[chat.add] = gr.update(visible=page.blind is None and len(page.shown) < MAX_COLUMNS)
    updates[chat.send] = gr.update(value=say(lang, "ask_again" if page.editing else "ask"))
    updates[chat.status] = status(page, lang)
    return updates


def column_updates(app: App, chat: Chat, page: Page, place: int, lang: str) -> dict:
    source = dict(page.places())[place]
    column, turns, hidden = chat.columns[place], page.turns_of(source), page.hidden()
    if hidden:
        turns = [replace(turn, error=say(lang, "blind_failed")) if turn.answer is None else turn for turn in turns]
    before = turns[-2].answer.variant if len(turns) > 1 and turns[-2].answer else None
    recorded = None if hidden or not turns or not turns[-1].answer else recorded_format(app, turns[-1].answer.variant)
    newest = turn_html(lang, turns[-1], hidden, before, recorded) if turns else empty_html(lang)
    return {
        column.head: place_head(app, page, place, lang),
        column.past: turns_html(lang, turns[:-1], hidden),
        column.live: newest,
    }


def place_head(app: App, page: Page, place: int, lang: str) -> str:
    """The headline over one place of the page."""
    if page.blind:
        sides = [shown for shown, _ in page.places()]
        side, source = sides.index(place), page.blind.order[sides.index(place)]
        if page.hidden():
            return blind_head(lang, side)
        answered_by = next(turn.answer.variant for turn in page.blind.turns[source][-1:] if turn.answer)
        return revealed_head(lang, side, source, answered_by, page.blind.choice == "AB"[side])
    answers = [turn.answer for turn in page.turns[place] if turn.answer]
    answered = answers[-1].variant if answers else None
    coming = upcoming_variant(app, page, place)
    if isinstance(coming, Exception):
        return column_head(lang, place, answered, sentence(lang, coming), False)
    changed = answered is not None and differs(answered, coming)
    return column_head(lang, place, answered, coming, changed, recorded_format(app, answered or coming))


def recorded_format(app: App, variant: Variant) -> str | None:
    """The format this variant would be asked in without an override; None if it cannot be told (its adapter is gone)."""
    try:
        return app.engine.format_of(replace(variant, format=None)).name
    except Exception:
        return None


def status(page: Page, lang: str) -> str:
    """The line beside the buttons: what the page is waiting for."""
    words = ""
    if page.editing:
        words = say(lang, "editing")
    elif page.blind and page.blind.choice:
        words = say(lang, "voted")
    elif page.blind and ready_to_vote(page):
        words = say(lang, "vote_now")
    elif page.blind:
        words = say(lang, "blind_three" if len(page.shown) > 2 else "blind_on")
    return f'<span role="status">{escape(words)}</span>'


def asking_updates(chat: Chat, page: Page, lang: str, text: str) -> dict:
    """On top of `tab_updates`, when a question has just been put."""
    updates = {
        chat.question: gr.update(value=""),
        chat.send: gr.update(visible=False),
        chat.stop: gr.update(visible=True),
        chat.ballot: gr.update(visible=False),
    }
    for place, source in page.places():
        column = chat.columns[place]
        updates[column.past] = turns_html(lang, page.turns_of(source), page.hidden())
        updates[column.live] = live_html(lang, text, "", say(lang, "waiting"))
    return updates


def answered_updates(chat: Chat, page: Page, lang: str) -> dict:
    return {chat.send: gr.update(visible=True, value=say(lang, "ask")), chat.stop: gr.update(visible=False)}


def compare_with_base(app: App, chat: Chat, page: Page, adapter: str, lang: str) -> dict:
    """The base in the first column, the adapter in the second, nothing said yet, and a question that could be the first."""
    return compare_two(app, chat, page, Picked(), Picked(adapter=adapter), lang)


def compare_two(app: App, chat: Chat, page: Page, first: Picked, second: Picked, lang: str) -> dict:
    """The two in the first two columns, nothing said yet, and a question that could be the first."""
    page.blind = None
    page.shown = [0, 1]
    page.picks = [first, second, *page.picks[2:]]
    conversation.clear(page)
    return tab_updates(app, chat, page, lang) | {chat.question: gr.update(value=say(lang, "first_question"))}
