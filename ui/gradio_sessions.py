"""What the server keeps of an open page, small, and only as long as the page is there.

Gradio copies the description of every component for each session, for links to a page's state (which this page has not), keeps
a session until 10,000 others have come, and makes one for every call of a script.
"""

from __future__ import annotations

import time
from collections import ChainMap, Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradio.components import State
from gradio.state_holder import SessionState, StateHolder

MOST = 5000  # pages open at the same time
# Of pages that are gone: the page of a laptop that slept opens no second heartbeat, and is there again in the morning.
GONE, GONE_S = 100, 12 * 3600
KEPT, KEPT_S = 50, 600  # of sessions that never were a page: calls of scripts
CHECKED = ("choices", "minimum", "maximum")  # what a component holds a value that comes in against
HEARTBEAT = "/gradio_api/heartbeat/"


class Light(SessionState):
    """Only what answers depend on: states, and what can be chosen now where a component checks the choice."""

    def __init__(self, blocks):
        self.blocks_config = _Shared(blocks.default_config)
        self.config_values = {}
        self.state_data = {}
        self._state_ttl = {}
        self.is_closed = False
        # the component that an event has just changed: Gradio reads from it what it tells the browser, before it makes the next
        self.made: tuple[int, object] | None = None

    def __getitem__(self, key):
        return self.made[1] if self.made and self.made[0] == key else super().__getitem__(key)

    def __setitem__(self, key, value):
        common = self.blocks_config.common.blocks.get(key)
        if isinstance(common, State):
            self.state_data[key] = value
            return
        self.made = key, value
        if any(getattr(value, name, None) != getattr(common, name, None) for name in CHECKED):
            self.blocks_config.blocks[key] = value
        else:
            self.blocks_config.blocks.pop(key, None)

    def _update_config(self, key):
        pass

    def _update_value_in_config(self, key, value):
        pass


class _Shared:
    """The blocks' own configuration, with this session's components before it."""

    def __init__(self, common):
        self.common, self.blocks = common, ChainMap({}, common.blocks)

    def __getattr__(self, name):
        return getattr(self.common, name)


class Memory(StateHolder):
    """Gradio's sessions. A page holds a connection open (its heartbeat): without one it is gone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        super().__init__()
        self.clock = clock
        self.open: Counter[str] = Counter()  # session -> its heartbeats
        self.used: dict[str, float] = {}
        self.pages: set[str] = set()  # sessions that have had a heartbeat

    def __getitem__(self, session: str) -> SessionState:
        with self.lock:
            if session not in self.session_data:
                self.session_data[session] = Light(self.blocks)
            self.session_data.move_to_end(session)
            self.used[session] = self.clock()
            found = self.session_data[session]
            self._forget(keep=session)
            return found

    @contextmanager
    def alive(self, path: str) -> Iterator[None]:
        """For as long as a request to `path` lasts, if it is a page's heartbeat."""
        if not path.startswith(HEARTBEAT):
            yield
            return
        session = path.removeprefix(HEARTBEAT)
        with self.lock:
            self.open[session] += 1
            self.pages.add(session)
        try:
            yield
        finally:
            with self.lock:
                self.open[session] -= 1
                if self.open[session] <= 0:
                    del self.open[session]
                if session in self.used:
                    self.used[session] = self.clock()
                elif session not in self.open:
                    self.pages.discard(session)

    def delete_all_expired_state(self) -> None:
        """Gradio calls it every second."""
        with self.lock:
            self._forget()

    def _forget(self, keep: str = "") -> None:
        now = self.clock()
        gone = [session for session in self.session_data if session not in self.open and session != keep]
        dropped: set[str] = set()
        for was_page, most, seconds in ((True, GONE, GONE_S), (False, KEPT, KEPT_S)):
            these = [session for session in gone if (session in self.pages) == was_page]
            dropped |= {session for session in these if now - self.used[session] > seconds}
            dropped |= {*these[: max(0, len(these) - most)]}
        left = [session for session in self.session_data if session not in dropped and session != keep]
        dropped |= {*left[: max(0, len(left) + bool(keep) - MOST)]}
        for session in dropped:
            del self.session_data[session], self.used[session]
            if session not in self.open:
                self.pages.discard(session)
