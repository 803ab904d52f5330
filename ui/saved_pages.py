"""Open pages outlive a reload: switching the language or pressing F5 brings conversation and pickers back."""

from __future__ import annotations

import copy
import threading
import uuid
from collections import OrderedDict

from ui.conversation import Page

MOST = 100  # pages kept in memory; the answers themselves are in the database


class Pages:
    """The latest state of every page, by a key that only its own browser knows."""

    def __init__(self) -> None:
        self.known: OrderedDict[str, Page] = OrderedDict()
        self.lock = threading.Lock()  # guards `known`: events of different pages run in different threads

    def keep(self, page: Page) -> None:
        if not page.key:
            return
        with self.lock:
            self.known[page.key] = page
            self.known.move_to_end(page.key)
            while len(self.known) > MOST:
                self.known.popitem(last=False)

    def copy_of(self, key: str | None) -> Page | None:
        """A copy of the page with this key: the same page may be open twice."""
        with self.lock:
            page = self.known.get(key or "")
        return copy.deepcopy(page) if page else None


def own_key(known: object, who: str | None) -> str:
    """The key that a browser brings, if it is this person's, else a new one: two people who log in may share a browser."""
    own = f"{who or ''}/"
    return known if isinstance(known, str) and known.startswith(own) else own + uuid.uuid4().hex
