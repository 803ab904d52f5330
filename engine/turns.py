"""A lock that is given in the order of asking.

threading's own may be taken again at once by the very thread that let it go: one that computes step after step would keep
everybody else out for as long as it has work.
"""

from __future__ import annotations

import threading
from collections import deque


class FairLock:
    """Reentrant, for `with`. Whoever waits gets it before whoever lets it go gets it again."""

    def __init__(self) -> None:
        self.guard = threading.Lock()  # of the three fields below
        self.holder: int | None = None
        self.depth = 0
        self.waiting: deque[tuple[int, threading.Event]] = deque()

    def __enter__(self) -> FairLock:
        me, turn = threading.get_ident(), threading.Event()
        with self.guard:
            if self.holder in (None, me):
                self.holder, self.depth = me, self.depth + 1
                return self
            self.waiting.append((me, turn))
        try:
            turn.wait()
        except BaseException:  # Ctrl-C while waiting: the turn must not go to somebody who is no longer there
            self.leave(me, turn)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with self.guard:
            self.depth -= 1
            if self.depth == 0:
                self.hand_on()

    def hand_on(self) -> None:
        self.holder = None
        if self.waiting:
            self.holder, turn = self.waiting.popleft()
            self.depth = 1
            turn.set()

    def leave(self, me: int, turn: threading.Event) -> None:
        with self.guard:
            if turn.is_set():
                self.depth = 0
                self.hand_on()
            else:
                self.waiting.remove((me, turn))
