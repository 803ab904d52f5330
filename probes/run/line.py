"""Which conversations of a run are asked next. Taking some, or letting one go on, does not look at all the others."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from probes.run.plan import Conversation

Need = tuple[bool, bool, int, int]


class Line:
    """The conversations that have turns left. unlooked: those whose next turn nobody has looked for in the store.

    Conversations with many turns go first: each turn of theirs takes a round, which the others fill; and those that have begun
    before others, while the engine keeps what it computed for them; then the longest request.
    """

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self.place = {conversation: at for at, conversation in enumerate(conversations)}
        self.open: dict[Conversation, int] = {}  # and the number under which they wait
        self.waiting: list[tuple[Need, int, int, Conversation]] = []  # a heap; of each the entry with its latest number counts
        self.unlooked: dict[Conversation, None] = {}  # in their order
        self.number = 0
        for conversation in conversations:
            self.moved(conversation)

    def moved(self, conversation: Conversation) -> None:
        """It has another next turn now, or none; or it was taken, and not asked."""
        if not conversation.turns:
            self.open.pop(conversation, None)
            self.unlooked.pop(conversation, None)
            return
        self.number += 1
        self.open[conversation], self.unlooked[conversation] = self.number, None
        heapq.heappush(self.waiting, (need(conversation), self.place[conversation], self.number, conversation))

    def taken(self) -> Iterator[Conversation]:
        """In the order in which they are asked. One that is taken comes again when it has `moved`."""
        while self.waiting:
            _, _, number, conversation = heapq.heappop(self.waiting)
            if self.open.get(conversation) == number:
                yield conversation


def need(one: Conversation) -> Need:
    """The least goes first."""
    return not one.running, not one.said, -len(one.turns), -request_size(one)


def request_size(conversation: Conversation) -> int:
    """Characters of the next request, without what its variant puts before it."""
    return sum(len(message["content"]) for message in conversation.said) + len(conversation.turns[0].text)
