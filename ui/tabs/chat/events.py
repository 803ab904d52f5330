"""What happens in the Chat tab: asking, all columns at once; columns and pickers; the blind comparison and its vote."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from html import escape
from typing import Any

import gradio as gr

from engine.types import Variant
from store import votes
from store.votes import Choice
from ui import conversation
from ui.access import roles
from ui.answering import ask, owner_of, upcoming_variant
from ui.context import App
from ui.conversation import MAX_COLUMNS, Page
from ui.listeners import QUIET, bind, warn
from ui.saved_pages import Pages
from ui.tabs.chat import picker, view
from ui.tabs.chat.layout import Chat
from ui.transcript import live_html
from ui.variants import Picked, differs
from ui.words import say


def wire_chat(app: App, pages: Pages, chat: Chat) -> None:
    """Everything that happens in the tab but its filling, which is the page's."""
    asking = QUIET | {"outputs": chat.outputs, "trigger_mode": "once"}
    asked = [chat.page, chat.question, *chat.picks]
    gr.on([chat.question.submit, chat.send.click], bind(ask_columns, app, pages, chat), asked, **asking)
    chat.regenerate.click(bind(ask_again, app, pages, chat), [chat.page, *chat.picks], **asking)
    chat.stop.click(bind(stop_answers, chat), queue=False, **QUIET)

    def acts(act: Callable, inputs: Any = chat.page, *more: Any) -> dict[str, Any]:
        """A listener that changes the whole tab: `event(**acts(...))`."""
        return QUIET | {"fn": refuse_while_asking(app, pages, chat, act, *more), "inputs": inputs, "outputs": chat.outputs}

    chat.edit.click(**acts(edit_last))
    chat.clear.click(**acts(clear_all))
    chat.add.click(**acts(add_column))
    chat.blind.input(**acts(set_blind, [chat.page, chat.blind]))
    for choice, button in chat.votes.items():
        button.click(**acts(cast_vote, chat.page, choice))
    for at, column in enumerate(chat.columns):
        column.remove.click(**acts(remove_column, chat.page, at))
        outputs = [column.head, *column.picker.inputs]
        picker.on_change(column.picker, bind(change_picks, app, pages, chat, at), [chat.page], outputs)


def refresh(app: App, chat: Chat, request: gr.Request, page: Page) -> dict:
    """After a visit to another tab: what can be picked may have changed."""
    if not page.key or request.session_hash in chat.running:  # a page that is just being opened says that it was chosen, too
        return gr.skip()
    lang = app.language(request)
    if page.blind is None:
        page.picks = drop_missing(app, page, lang)
    return view.tab_updates(app, chat, page, lang)


def refuse_while_asking(app: App, pages: Pages, chat: Chat, act: Callable, *more: Any) -> Callable:
    """`act(app, chat, *more, page, lang, *values) -> updates | None` as a listener, refused while this page is being answered."""

    def guard(request: gr.Request, page: Page, *values: Any) -> dict:
        lang = app.language(request)
        if request.session_hash in chat.running:
            gr.Warning(say(lang, "still_answering"))
            return gr.skip()
        updates = act(app, chat, *more, page, lang, *values)
        pages.keep(page)
        return view.tab_updates(app, chat, page, lang) if updates is None else updates

    return roles.name_after(guard, act)


def ask_columns(app: App, pages: Pages, chat: Chat, request: gr.Request, page: Page, text: str, *values: Any) -> Iterator[dict]:
    """values: of all pickers."""
    lang = app.language(request)
    if not text.strip():
        gr.Warning(say(lang, "nothing_to_ask"))
        return
    if request.session_hash in chat.running:
        gr.Warning(say(lang, "still_answering"))
        return
    page.picks = read_picks(page, values)
    if page.editing:
        conversation.drop_last(page)
        page.editing = False
    yield from _answers(app, pages, chat, page, text.strip(), lang, request)


def ask_again(app: App, pages: Pages, chat: Chat, request: gr.Request, page: Page, *values: Any) -> Iterator[dict]:
    """The newest question once more, with other seeds. values: of all pickers."""
    lang = app.language(request)
    text = conversation.last_question(page)
    if not text or request.session_hash in chat.running:
        gr.Warning(say(lang, "still_answering" if text else "nothing_to_repeat"))
        return
    page.picks = [raise_seed(picked) for picked in read_picks(page, values)]
    conversation.drop_last(page)
    yield from _answers(app, pages, chat, page, text, lang, request)


def _answers(app: App, pages: Pages, chat: Chat, page: Page, text: str, lang: str, request: gr.Request) -> Iterator[dict]:
    """Asks and yields updates; the box is emptied at once, so that the next question can be typed meanwhile."""
    session = request.session_hash
    stop = chat.running[session] = threading.Event()
    places = page.places()
    try:
        if not page.hidden() and page.blind:
            conversation.start_blind(page)
            places = page.places()
        yield view.tab_updates(app, chat, page, lang) | view.asking_updates(chat, page, lang, text)
        for news in ask(app, page, text, lang, stop, session, owner_of(request)):
            if isinstance(news, str):
                gr.Warning(escape(news))
                continue
            if isinstance(news, int):
                shown, words = [""] * len(places), say(lang, "before_you", number=news)
            else:
                shown, words = news, say(lang, "waiting")
            yield {
                chat.columns[place].live: live_html(lang, text, said, words)
                for (place, _), said in zip(places, shown, strict=True)
            }
    finally:
        stop.set()
        chat.running.pop(session, None)
    pages.keep(page)
    yield view.content_updates(app, chat, page, lang) | view.answered_updates(chat, page, lang)


def stop_answers(chat: Chat, request: gr.Request) -> None:
    if request.session_hash in chat.running:
        chat.running[request.session_hash].set()


def edit_last(app: App, chat: Chat, page: Page, lang: str) -> dict:
    text = conversation.last_question(page)
    if not text:
        gr.Warning(say(lang, "nothing_to_repeat"))
        return gr.skip()
    page.editing = not page.editing
    return view.tab_updates(app, chat, page, lang) | {chat.question: gr.update(value=text if page.editing else "")}


def clear_all(_app: App, _chat: Chat, page: Page, _lang: str) -> None:
    conversation.clear(page)


def add_column(_app: App, _chat: Chat, page: Page, lang: str) -> None:
    if conversation.add_column(page) is None:
        gr.Warning(say(lang, "all_columns_shown"))


def remove_column(_app: App, _chat: Chat, at: int, page: Page, lang: str) -> None:
    if not conversation.remove_column(page, at):
        gr.Warning(say(lang, "two_columns_needed"))


def set_blind(app: App, _chat: Chat, page: Page, lang: str, on: bool) -> None:
    if not on:
        page.blind = None
        return
    pair = [upcoming_variant(app, page, column) for column in page.shown[:2]]
    known = [variant for variant in pair if isinstance(variant, Variant)]
    if len(known) == 2 and not differs(*known):
        gr.Warning(say(lang, "blind_same"))
    conversation.start_blind(page)


def cast_vote(app: App, _chat: Chat, choice: Choice, page: Page, lang: str) -> dict | None:
    blind = page.blind
    if blind is None or not conversation.ready_to_vote(page):
        gr.Warning(say(lang, "nothing_to_vote"))
        return gr.skip()
    left, right = (blind.turns[column][-1].stored for column in blind.order)
    if left is None or right is None:
        gr.Warning(say(lang, "answers_not_stored"))
        return gr.skip()
    try:
        votes.add(app.db, left, right, choice, shown_order=[left, right], blind=True)
    except Exception as error:
        return warn(lang, error)
    blind.choice = choice
    return None


def change_picks(app: App, pages: Pages, chat: Chat, at: int, request: gr.Request, page: Page, *values: Any) -> dict:
    """values: of the pickers of column `at`."""
    page.picks[at] = picker.with_usual_mode(Picked.read(values), page.picks[at])
    pages.keep(page)
    if page.blind:
        return gr.skip()
    column = chat.columns[at]
    return {column.head: view.place_head(app, page, at, app.language(request))} | picker.dial_updates(
        column.picker, page.picks[at]
    )


def drop_missing(app: App, page: Page, lang: str) -> list[Picked]:
    """The picks without what has been deleted or taken out; a visible column that loses something says so aloud."""
    offered = picker.choices(app, lang, page.picks)
    kept = [picker.drop_missing(picked, offered) for picked in page.picks]
    for at in page.shown:
        gone = [getattr(page.picks[at], name) for name in offered if getattr(page.picks[at], name) != getattr(kept[at], name)]
        if gone:
            gr.Warning(say(lang, "picks_gone", column=conversation.LETTERS[at], names=escape(", ".join(gone))))
    return kept


def read_picks(page: Page, values: tuple) -> list[Picked]:
    """The values of all pickers, column after column, as they come with an event; what is known of columns that are not shown."""
    width = len(fields(Picked))
    return [
        Picked.read(values[at * width : (at + 1) * width]) if at in page.shown else page.picks[at] for at in range(MAX_COLUMNS)
    ]


def raise_seed(picked: Picked) -> Picked:
    """Asking again with the same seed would give the same words again."""
    return replace(picked, seed=picked.seed + 1) if picked.temperature else picked
