"""How a program ends: at Ctrl-C and SIGTERM at any moment, with the exit code that shells expect and without a trace of calls."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from common.space import DiskFull

SIGNALS = (signal.SIGINT, signal.SIGTERM)
CLEANING_S = 5.0  # what is removed at the end is removed at the next start if it takes longer


class Bell:
    """Rings at Ctrl-C or SIGTERM. Before `waiting`, the program ends at once; then whoever waits for it is woken instead.

    An exception would come up at a random place, in the middle of an import or of somebody else's `except`, so there is none.
    A second ring ends the program at once.
    """

    def __init__(self) -> None:
        self.number = 0
        self.wake: Callable[[], object] | None = None

    @contextmanager
    def hanging(self) -> Iterator[Bell]:
        """For the length of the block; in another thread than a program's first, where no signal arrives, it never rings."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self.ring) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def ring(self, number: int, _frame: object) -> None:
        again, self.number = self.number, number
        if again or self.wake is None:
            leave(exit_code(number))
        start_thread(self.wake)

    def waiting(self, wake: Callable[[], object]) -> None:
        self.wake = wake

    @property
    def code(self) -> int:
        return exit_code(self.number) if self.number else 0


def start_thread(call: Callable[[], object]) -> None:
    """In a thread of its own: the one that was interrupted may hold the very lock that the call needs."""
    threading.Thread(target=call, name="bell", daemon=True).start()


def exit_code(number: int) -> int:
    return 128 + number


def leave(status: int) -> NoReturn:
    """Ends the process now. Threads that compute are not waited for: their libraries abort when the interpreter is taken down."""
    cleaning = threading.Thread(target=clean, daemon=True)
    cleaning.start()
    cleaning.join(CLEANING_S)
    os._exit(status)


def clean() -> None:
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue


@contextmanager
def stop_on_signal(stop: Callable[[], object]) -> Iterator[list[int]]:
    """The first Ctrl-C or SIGTERM in the block calls `stop` and is listed; the second does what it would do elsewhere."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def hear(number: int, _frame: object) -> None:
        received.append(number)
        restore()
        start_thread(stop)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, hear)
    try:
        yield received
    finally:
        restore()


def run(main: Callable[[], int]) -> NoReturn:
    """`sys.exit(main())` for a command: Ctrl-C and SIGTERM end it with 130 and 143, a full disk with its sentence and 1."""
    received: list[int] = []

    def end(number: int, _frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    if before[signal.SIGTERM] == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(file=sys.stderr)
        leave(exit_code(received[0] if received else signal.SIGINT))
    except DiskFull as error:
        print(error, file=sys.stderr)
        sys.exit(1)
