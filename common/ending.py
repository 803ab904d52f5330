"""How a program ends: at Ctrl-C and SIGTERM at any moment, with the exit code that shells expect and without a trace of calls."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable
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

    def hang(self) -> Bell:
        """From here on; only a program's first thread may call it."""
        for number in SIGNALS:
            signal.signal(number, self.ring)
        return self

    def ring(self, number: int, _frame: object) -> None:
        again, self.number = self.number, number
        if again or self.wake is None:
            leave(code(number))
        self.wake()

    def waiting(self, wake: Callable[[], object]) -> None:
        self.wake = wake

    @property
    def code(self) -> int:
        return code(self.number) if self.number else 0


def code(number: int) -> int:
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
        sys.exit(code(received[0] if received else signal.SIGINT))
    except DiskFull as error:
        print(error, file=sys.stderr)
        sys.exit(1)
