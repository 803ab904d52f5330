"""The Chat tab: two to six columns and one question box for all of them. What happens in it is in events."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import gradio as gr

from store.votes import Choice
from ui.conversation import MAX_COLUMNS, Page
from ui.tabs.chat import picker
from ui.tabs.chat.picker import Picker
from ui.words import i18n

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
AT_FIRST = range(len(Page().shown))
VOTES: tuple[tuple[Choice, str], ...] = (("A", "vote_a"), ("B", "vote_b"), ("tie", "vote_tie"), ("both bad", "vote_both_bad"))


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
    """The components of the tab. later: holds the columns that are not shown at first; votes: choice -> its button;
    running: session -> the event that stops its answers."""

    page: gr.State
    columns: list[Column]
    later: gr.Column
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    status: gr.HTML
    blind: gr.Checkbox
    ballot: gr.Row
    votes: dict[Choice, gr.Button]
    add: gr.Button
    regenerate: gr.Button
    edit: gr.Button
    clear: gr.Button
    running: dict[str, threading.Event] = field(default_factory=dict)

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


def build_chat() -> Chat:
    """Inside a Tab: lays the tab out; the page's load event fills it."""
    page = gr.State(Page())
    with gr.Row(elem_classes="mt-bar"):
        add = gr.Button(i18n("add_column"), size="sm", elem_id="add-column", scale=0, min_width=110)
        blind = gr.Checkbox(False, label=i18n("blind"), elem_id="blind", container=False, scale=0, min_width=170)
        status = gr.HTML(elem_id="chat-status", elem_classes="mt-status")
    with gr.Row(elem_classes="mt-columns", elem_id="columns"):
        columns = [_column(at) for at in AT_FIRST]
        with gr.Column(elem_classes="mt-later", elem_id="later-columns", min_width=0) as later:
            columns += [_column(at) for at in range(len(columns), MAX_COLUMNS)]
    with gr.Row(visible=False, elem_classes="mt-ballot", elem_id="ballot") as ballot:
        votes = {
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
            regenerate = _small("regenerate", "regenerate")
            edit = _small("edit_last", "edit-last")
            clear = _small("clear", "clear")
            picture = _small("picture", "picture")
            picture.click(None, js="() => window.mirrorPicture.chat()", api_visibility="private")
            gr.HTML('<span class="mt-gap"></span>')
            _examples(question)
    return Chat(
        page=page, columns=columns, later=later, question=question, send=send, stop=stop, status=status, blind=blind,
        ballot=ballot, votes=votes, add=add, regenerate=regenerate, edit=edit, clear=clear,
    )  # fmt: skip


def _column(at: int) -> Column:
    with gr.Column(visible=at in AT_FIRST, elem_classes=["mt-col", f"mt-col-{at}"], elem_id=f"column-{at}", min_width=0) as box:
        with gr.Row(elem_classes="mt-top"):
            head = gr.HTML(elem_id=f"head-{at}")
            remove = gr.Button("×", size="sm", elem_classes="mt-remove", elem_id=f"remove-{at}", scale=0, min_width=24)
        pick = picker.build_picker(at)
        with gr.Column(elem_classes="mt-transcript", elem_id=f"transcript-{at}"):
            past = gr.HTML(elem_id=f"past-{at}")
            live = gr.HTML(elem_id=f"live-{at}")
    return Column(box=box, head=head, remove=remove, picker=pick, past=past, live=live)


def _small(key: str, elem_id: str) -> gr.Button:
    return gr.Button(i18n(key), size="sm", elem_id=elem_id, scale=0, min_width=60)


def _examples(question: gr.Textbox) -> None:
    """Questions that a click puts into the box."""
    for at, example in enumerate(EXAMPLES):
        spoken = "mt-chip-en" if example.isascii() else "mt-chip-zh"
        chip = gr.Button(example, size="sm", elem_classes=["mt-chip", spoken], elem_id=f"example-{at}", scale=0, min_width=40)
        chip.click(None, outputs=question, js=f"() => {example!r}", api_visibility="private")
