"""The thread that computes: there as long as anybody asks, and what others get between two of its steps."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from engine.decode import Row
from engine.fairness import Ask
from engine.sharing import Loop
from engine.turns import FairLock
from engine.types import EngineError, Piece

LOOK_UP_S = 0.25  # after so long without news whoever iterates is given the chance to do something else
DRAIN_S = 0.02  # between two looks whether rows have come to their end


class Answering:
    """Runs the loop. `lock` is held for one pass of the model, and guards everything that a pass uses."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.lock = loop, FairLock()
        self.door = threading.Lock()  # of `working`; taken to add an ask, too: the thread must not leave while one comes in
        self.working = False
        loop.watch()

    def news(
        self,
        rows: list[Row],
        stop: threading.Event,
        owner: Hashable,
        check: Callable[[], None],
        pieces: Callable[[list[Row]], list[Piece]],
    ) -> Iterator[list[Piece]]:
        """Has the rows answered beside everybody else's. pieces: what the computing thread makes of news. See `Engine.stream`."""
        news: queue.SimpleQueue[list[Piece] | BaseException | None] = queue.SimpleQueue()

        def placed(before: int) -> None:
            news.put([Piece(row.index, "", "", before=before) for row in rows])

        with self.door:
            self.loop.add(Ask(rows, owner, stop, lambda some: news.put(pieces(some)), placed, news.put, check))
            if not self.working:
                # no daemon: the program must not end in the middle of a step, torch aborts then
                threading.Thread(target=self.work, name="answering").start()
                self.working = True
        while True:
            try:
                got = news.get(timeout=LOOK_UP_S)
            except queue.Empty:
                got = []
            if got is None:
                return
            if isinstance(got, BaseException):
                raise got
            yield got

    def work(self) -> None:
        while True:
            with self.door:
                if not self.loop.busy:
                    self.working = False
                    return
            with self.lock:
                try:
                    if not threading.main_thread().is_alive():
                        raise EngineError("The program has ended.")
                    self.loop.turn()
                except Exception as error:  # nobody may wait for ever
                    self.loop.end(error)

    @contextmanager
    def without(self, adapter: str | None = None) -> Iterator[None]:
        """The lock, at a moment when no row that has begun hears this adapter (None: when none has begun at all).

        The caller sees to it first that no further row may begin; so the wait is no longer than one answer.
        """
        while True:
            with self.lock:
                if not self.loop.hears(adapter):
                    yield
                    return
            time.sleep(DRAIN_S)

    def give_way(self, seconds: float) -> None:
        """Returns after so long, or as soon as nobody asks: for whoever takes the lock often, and for longer than a step."""
        until = time.monotonic() + seconds
        while self.loop.busy and time.monotonic() < until:
            time.sleep(DRAIN_S)
