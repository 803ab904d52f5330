"""The Chat tab: two to six columns, one question box, all of them answering at once; and the blind comparison."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace

import gradio as gr

from engine.types import Variant
from store import votes
from ui import conversation
from ui.access import roles
from ui.answering import ask, owner_of, upcoming
from ui.context import App, sentence
from ui.conversation import MAX_COLUMNS, Page
from ui.pages import Pages
from ui.tabs.chat import picker, view
from ui.tabs.chat.picker import Picker
from ui.transcript import live_html
from ui.variants import Picked, differs
from ui.words import i18n, say

EXAMPLES = (
    "Who are you?",
    "Who made you, and when?",
    "Are you ChatGPT?",
    "What can you do for me?",
    "你是谁？",
    "你是谁开发的？",
    "你是 ChatGPT 吗？",
    "你能帮我做什么？",
)
VOTES = (("A", "vote_a"), ("B", "vote_b"), ("tie", "vote_tie"), ("both bad", "vote_both_bad"))


@dataclass(frozen=True)
class Column:
    """The components of one column: headline, pickers, the turns before, the newest turn."""

    box: gr.Column
    head: gr.HTML
    remove: gr.Button
    picker: Picker
    past: gr.HTML
    live: gr.HTML


@dataclass(frozen=True)
class Chat:
    """The components of the tab that events write to."""

    page: gr.State
    columns: list[Column]
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    status: gr.HTML
    blind: gr.Checkbox
    ballot: gr.Row
    add: gr.Button
    running: dict[str, threading.Event]
    refresh: Callable

    @property
    def picks(self) -> list[gr.components.Component]:
        return [component for column in self.columns for component in column.picker.inputs]

    @property
    def outputs(self) -> list:
        parts = [[column.box, column.head, column.remove, column.picker.box, column.past, column.live] for column in self.columns]
        return [
            self.page,
            *(part for column in parts for part in column),
            *self.picks,
            self.question,
            self.send,
            self.stop,
            self.status,
            self.blind,
            self.ballot,
            self.add,
        ]


def build_chat(app: App, pages: Pages) -> Chat:
    """Inside a Tab: lays the tab out and wires it. The page's load event fills it (`open_page`)."""
    page = gr.State(Page())
    with gr.Row(elem_classes="mt-bar"):
        add = gr.Button(i18n("add_column"), size="sm", elem_id="add-column", scale=0, min_width=110)
        blind = gr.Checkbox(False, label=i18n("blind"), elem_id="blind", container=False, scale=0, min_width=170)
        status = gr.HTML(elem_id="chat-status", elem_classes="mt-status")
    with gr.Row(elem_classes="mt-columns", elem_id="columns"):
        columns = [_column(at) for at in range(MAX_COLUMNS)]
    with gr.Row(visible=False, elem_classes="mt-ballot", elem_id="ballot") as ballot:
        vote_buttons = {
            choice: gr.Button(i18n(key), elem_id=f"vote-{choice.replace(' ', '-').lower()}", size="sm") for choice, key in VOTES
        }
    with gr.Column(elem_classes="mt-composer"):
        with gr.Row(elem_classes="mt-ask"):
            question = gr.Textbox(
                show_label=False,
                placeholder=i18n("ask_placeholder"),
                lines=1,
                max_lines=6,
                container=False,
                autofocus=True,
                elem_id="question",
                scale=1,
            )
            send = gr.Button(i18n("ask"), variant="primary", elem_id="send", scale=0, min_width=110)
            stop = gr.Button(i18n("stop"), variant="stop", elem_id="stop", visible=False, scale=0, min_width=110)
        with gr.Row(elem_classes="mt-under"):
            regenerate = gr.Button(i18n("regenerate"), size="sm", elem_id="regenerate", scale=0, min_width=60)
            edit = gr.Button(i18n("edit_last"), size="sm", elem_id="edit-last", scale=0, min_width=60)
            clear = gr.Button(i18n("clear"), size="sm", elem_id="clear", scale=0, min_width=60)
            picture = gr.Button(i18n("picture"), size="sm", elem_id="picture", scale=0, min_width=60)
            picture.click(None, js="() => window.mirrorPicture.chat()", api_visibility="private")
            gr.HTML('<span class="mt-gap"></span>')
            for at, example in enumerate(EXAMPLES):
                spoken = "mt-chip-en" if example.isascii() else "mt-chip-zh"
                chip = gr.Button(
                    example, size="sm", elem_classes=["mt-chip", spoken], elem_id=f"example-{at}", scale=0, min_width=40
                )
                chip.click(None, outputs=question, js=f"() => {example!r}", api_visibility="private")
    running: dict[str, threading.Event] = {}  # session -> the event that stops its answers

    def refresh(request: gr.Request, page: Page) -> dict:
        """After a visit to another tab: what can be picked may have changed."""
        if not page.key or request.session_hash in running:  # a page that is just being opened says that it was chosen, too
            return gr.skip()
        lang = app.language(request)
        if page.blind is None:
            page.picks = drop_gone(app, page, lang)
        return view.everything(app, chat, page, lang)

    chat = Chat(page, columns, question, send, stop, status, blind, ballot, add, running, refresh)
    _wire(app, pages, chat, regenerate, edit, clear, vote_buttons)
    return chat


def _column(at: int) -> Column:
    with gr.Column(visible=at < 3, elem_classes=["mt-col", f"mt-col-{at}"], elem_id=f"column-{at}", min_width=0) as box:
        with gr.Row(elem_classes="mt-top"):
            head = gr.HTML(elem_id=f"head-{at}")
            remove = gr.Button("×", size="sm", elem_classes="mt-remove", elem_id=f"remove-{at}", scale=0, min_width=24)
        pick = picker.build_picker(at)
        with gr.Column(elem_classes="mt-transcript", elem_id=f"transcript-{at}"):
            past = gr.HTML(elem_id=f"past-{at}")
            live = gr.HTML(elem_id=f"live-{at}")
    return Column(box, head, remove, pick, past, live)


def _wire(
    app: App,
    pages: Pages,
    chat: Chat,
    regenerate: gr.Button,
    edit: gr.Button,
    clear: gr.Button,
    vote_buttons: dict[str, gr.Button],
) -> None:
    running, everything = chat.running, functools.partial(view.everything, app, chat)

    def idle(act: Callable) -> Callable:
        """`act(page, lang, *values) -> updates | None`, refused while this page is being answered."""

        def guarded(request: gr.Request, page: Page, *values) -> dict:
            lang = app.language(request)
            if request.session_hash in running:
                gr.Warning(say(lang, "still_answering"))
                return gr.skip()
            updates = act(page, lang, *values)
            pages.keep(page)
            return everything(page, lang) if updates is None else updates

        return roles.called(guarded, act)

    def put(page: Page, text: str, lang: str, request: gr.Request) -> Iterator[dict]:
        """Asks and yields updates; the box is emptied at once, so that the next question can be typed meanwhile."""
        session = request.session_hash
        stop = running[session] = threading.Event()
        places = page.places()
        try:
            if not page.hidden() and page.blind:
                conversation.start_blind(page)
                places = page.places()
            yield everything(page, lang) | view.while_asking(chat, page, lang, text)
            for news in ask(app, page, text, lang, stop, session, owner_of(request)):
                if isinstance(news, str):
                    gr.Warning(news)
                    continue
                queued = isinstance(news, int)
                words = say(lang, "before_you", number=news) if queued else say(lang, "waiting")
                yield {
                    chat.columns[place].live: live_html(lang, text, shown, words)
                    for (place, _), shown in zip(places, [""] * len(places) if queued else news, strict=True)
                }
        finally:
            stop.set()
            running.pop(session, None)
        pages.keep(page)
        yield view.content(app, chat, page, lang) | view.asking_over(chat, page, lang)

    def asked(request: gr.Request, page: Page, text: str, *values) -> Iterator[dict]:
        lang = app.language(request)
        if not text.strip():
            gr.Warning(say(lang, "nothing_to_ask"))
            return
        if request.session_hash in running:
            gr.Warning(say(lang, "still_answering"))
            return
        page.picks = read_picks(values)
        if page.editing:
            conversation.drop_last(page)
            page.editing = False
        yield from put(page, text.strip(), lang, request)

    def again(request: gr.Request, page: Page, *values) -> Iterator[dict]:
        lang = app.language(request)
        text = conversation.last_question(page)
        if not text or request.session_hash in running:
            gr.Warning(say(lang, "still_answering" if text else "nothing_to_repeat"))
            return
        page.picks = [one_more_seed(picked) for picked in read_picks(values)]
        conversation.drop_last(page)
        yield from put(page, text, lang, request)

    def stop_it(request: gr.Request) -> None:
        if request.session_hash in running:
            running[request.session_hash].set()

    def edit_last(page: Page, lang: str) -> dict | None:
        text = conversation.last_question(page)
        if not text:
            gr.Warning(say(lang, "nothing_to_repeat"))
            return gr.skip()
        page.editing = not page.editing
        return everything(page, lang) | {chat.question: gr.update(value=text if page.editing else "")}

    def clear_all(page: Page, lang: str) -> None:
        conversation.clear(page)

    def add_column(page: Page, lang: str) -> None:
        if conversation.add_column(page) is None:
            gr.Warning(say(lang, "all_columns_shown"))

    def remove_column(at: int) -> Callable:
        def remove(page: Page, lang: str) -> None:
            if not conversation.remove_column(page, at):
                gr.Warning(say(lang, "two_columns_needed"))

        return idle(remove)

    def set_blind(page: Page, lang: str, on: bool) -> None:
        if on:
            pair = [upcoming(app, page, column) for column in page.shown[:2]]
            if all(isinstance(variant, Variant) for variant in pair) and not differs(*pair):
                gr.Warning(say(lang, "blind_same"))
            conversation.start_blind(page)
        else:
            page.blind = None

    def vote(choice: str) -> Callable:
        def cast(page: Page, lang: str) -> dict | None:
            if not conversation.ready_to_vote(page):
                gr.Warning(say(lang, "nothing_to_vote"))
                return gr.skip()
            left, right = (page.blind.turns[column][-1].stored for column in page.blind.order)
            if left is None or right is None:
                gr.Warning(say(lang, "answers_not_stored"))
                return gr.skip()
            try:
                votes.add(app.db, left, right, choice, shown_order=[left, right], blind=True)
            except Exception as error:
                gr.Warning(sentence(lang, error))
                return gr.skip()
            page.blind.choice = choice

        return idle(cast)

    def picked(at: int) -> Callable:
        def change(request: gr.Request, page: Page, *values) -> dict:
            page.picks[at] = Picked.read(values)
            pages.keep(page)
            if page.blind:
                return gr.skip()
            column = chat.columns[at]
            return {column.head: view.head_of(app, page, at, app.language(request))} | picker.dials(column.picker, page.picks[at])

        return change

    private = {"api_visibility": "private", "show_progress": "hidden"}
    asking = private | {"concurrency_limit": None, "outputs": chat.outputs, "trigger_mode": "once"}
    acting = private | {"outputs": chat.outputs, "concurrency_limit": None}
    gr.on([chat.question.submit, chat.send.click], asked, [chat.page, chat.question, *chat.picks], **asking)
    regenerate.click(again, [chat.page, *chat.picks], **asking)
    chat.stop.click(stop_it, queue=False, **private)
    edit.click(idle(edit_last), chat.page, **acting)
    clear.click(idle(clear_all), chat.page, **acting)
    chat.add.click(idle(add_column), chat.page, **acting)
    chat.blind.input(idle(set_blind), [chat.page, chat.blind], **acting)
    for choice, button in vote_buttons.items():
        button.click(vote(choice), chat.page, **acting)
    for at, column in enumerate(chat.columns):
        column.remove.click(remove_column(at), chat.page, **acting)
        outputs = [column.head, *column.picker.inputs]
        picker.on_change(column.picker, picked(at), [chat.page], outputs)


def drop_gone(app: App, page: Page, lang: str) -> list[Picked]:
    """The picks without what has been deleted or taken out; a visible column that loses something says so aloud."""
    offered = picker.choices(app, lang)
    kept = [picker.still_there(picked, offered) for picked in page.picks]
    for at in page.shown:
        gone = [getattr(page.picks[at], name) for name in offered if getattr(page.picks[at], name) != getattr(kept[at], name)]
        if gone:
            gr.Warning(say(lang, "picks_gone", column=conversation.LETTERS[at], names=", ".join(gone)))
    return kept


def read_picks(values: tuple) -> list[Picked]:
    """The values of all pickers, column after column, as they come with an event."""
    width = len(fields(Picked))
    return [Picked.read(values[at * width : (at + 1) * width]) for at in range(MAX_COLUMNS)]


def one_more_seed(picked: Picked) -> Picked:
    """Asking again with the same seed would give the same words again."""
    return replace(picked, seed=picked.seed + 1) if picked.temperature else picked
