"""What a page remembers: columns, their turns, the blind comparison. Plain data, no Gradio, no model.

The conversation that is sent to a variant is made from these turns, never from what the page shows.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from engine.thoughts import spoken_text
from engine.types import Answer, Message
from ui.variants import Picked

MAX_COLUMNS = 6
MIN_COLUMNS = 2
LETTERS = "ABCDEF"


@dataclass(frozen=True)
class ChatTurn:
    """One question with its answer, or with the sentence that says why there is none."""

    question: str
    answer: Answer | None = None
    error: str = ""
    stored: int | None = None


@dataclass
class Blind:
    """One blind comparison. order: the columns behind the left and the right answer; choice: the vote, once given."""

    order: tuple[int, int]
    turns: dict[int, list[ChatTurn]]
    choice: str = ""


@dataclass
class Page:
    """One open page. shown: indices of the visible columns; turns and picks: one entry per column, hidden ones too."""

    shown: list[int] = field(default_factory=lambda: [0, 1, 2])
    turns: list[list[ChatTurn]] = field(default_factory=lambda: [[] for _ in range(MAX_COLUMNS)])
    picks: list[Picked] = field(default_factory=lambda: [Picked()] * MAX_COLUMNS)
    blind: Blind | None = None
    editing: bool = False
    key: str = ""

    def turns_of(self, column: int) -> list[ChatTurn]:
        return self.blind.turns[column] if self.blind else self.turns[column]

    def places(self) -> list[tuple[int, int]]:
        """(where it is shown, which column answers there), left to right."""
        if self.blind:
            return list(zip(self.shown[:2], self.blind.order, strict=True))
        return [(column, column) for column in self.shown]

    def hidden(self) -> bool:
        """True while names must not be seen."""
        return self.blind is not None and not self.blind.choice


def add_column(page: Page) -> int | None:
    """Shows the first column that is not shown, with an empty conversation; None when all are."""
    free = [column for column in range(MAX_COLUMNS) if column not in page.shown]
    if not free:
        return None
    page.turns[free[0]] = []
    page.shown = sorted([*page.shown, free[0]])
    return free[0]


def remove_column(page: Page, column: int) -> bool:
    """Hides a column and forgets its conversation; False when it is one of the last two."""
    if len(page.shown) <= MIN_COLUMNS:
        return False
    page.shown = [kept for kept in page.shown if kept != column]
    page.turns[column] = []
    return True


def start_blind(page: Page, rng: random.Random | None = None) -> Blind:
    """A new comparison of the first two columns, sides by lot, from an empty conversation.

    The open conversations stay as they are: continuing them would tell which side is which.
    """
    pair = page.shown[:2]
    (rng or random.SystemRandom()).shuffle(pair := list(pair))
    page.blind = Blind(order=(pair[0], pair[1]), turns={column: [] for column in pair})
    page.editing = False
    return page.blind


def clear(page: Page) -> None:
    page.editing = False
    if page.blind:
        start_blind(page)
    else:
        page.turns = [[] for _ in range(MAX_COLUMNS)]


def last_question(page: Page) -> str:
    """The question of the newest turn, "" when nothing has been asked."""
    newest = [page.turns_of(column)[-1] for _, column in page.places() if page.turns_of(column)]
    return newest[0].question if newest else ""


def drop_last(page: Page) -> None:
    """Takes back the newest turn of every visible column; an added column may have none."""
    question = last_question(page)
    for _, column in page.places():
        turns = page.turns_of(column)
        if turns and turns[-1].question == question:
            turns.pop()


def messages(turns: list[ChatTurn], question: str) -> list[Message]:
    """The conversation as the model is to see it: its own raw words without thoughts, failed turns left out."""
    said: list[Message] = []
    for turn in turns:
        if turn.answer is not None:
            reply = spoken_text(turn.answer.raw, turn.answer.prompt)
            said += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": reply}]
    return [*said, {"role": "user", "content": question}]


def ready_to_vote(page: Page) -> bool:
    """Both sides have answered the newest question and no vote was given yet."""
    blind = page.blind
    return blind is not None and not blind.choice and all(turns and turns[-1].answer for turns in blind.turns.values())
