"""Whose row is next: owners take turns, and so do the requests of one owner.

Places that become free go to the owner with the fewest rows in the batch, and among one owner's requests to the one with the
fewest. An owner with nearly nothing in it need not wait for a free place: a row of whoever has most is set aside.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from engine.decode import Part, Row

AT_ONCE = 4  # rows of an owner that need not wait for a free place: a page has two to six columns


def do_nothing(*_: object) -> None:
    pass


@dataclass(eq=False)
class Ask:
    """Rows that are asked together, and what is to be done with their news. All callbacks come from a computing thread.

    tell: the rows that have news. placed: how many are before this ask, while none of its rows has begun. ended: once, with what
    went wrong or None; nothing more comes then. check: raises, with the reason, if no row of it may begin (any more).
    A set `stop` ends all of it within one step; unfinished rows then finish as "stopped".
    """

    rows: Sequence[Row]
    owner: Hashable
    stop: threading.Event
    tell: Callable[[list[Row]], None] = do_nothing
    placed: Callable[[int], None] = do_nothing
    ended: Callable[[BaseException | None], None] = do_nothing
    check: Callable[[], None] = do_nothing
    waiting: deque[Row] = field(default_factory=deque)
    aside: deque[Part] = field(default_factory=deque)  # one row each
    inside: int = 0  # rows in the batch, or on their way into it
    begun: bool = False
    served: int = 0  # of all rows that have begun, which was the last of this ask
    before: int = 0  # what `placed` was told last

    @property
    def wants(self) -> bool:
        return bool(self.waiting or self.aside)


def rows_of_owners(asks: Sequence[Ask]) -> Counter[Hashable]:
    """Owner -> rows in the batch."""
    counts: Counter[Hashable] = Counter()
    for ask in asks:
        counts[ask.owner] += ask.inside
    return counts


def in_order(asks: Sequence[Ask], served: Mapping[Hashable, int]) -> list[Ask]:
    """Owners with the fewest rows in the batch first, and of those who have equally many whoever has waited longest for the
    last one; the same between the asks of one owner.

    served: owner -> which of all rows that have begun was the last of theirs.
    """
    owners = rows_of_owners(asks)
    return sorted(asks, key=lambda ask: (owners[ask.owner], served[ask.owner], ask.inside, ask.served))


def claims(ask: Ask, asks: Sequence[Ask]) -> bool:
    """Whether it need not wait for a free place: its owner has but few rows in the batch, or all of them in another ask."""
    if rows_of_owners(asks)[ask.owner] < AT_ONCE:
        return True
    return not ask.inside and any(other.owner == ask.owner and other.inside > 1 for other in asks)


def victim(ask: Ask, asks: Sequence[Ask], rows: Sequence[Row], of: Mapping[Row, Ask]) -> Row | None:
    """The row that is set aside for one of `ask`: the newest of whoever has most; None where nobody has clearly more.

    rows: those in the batch, the newest last, and `of`, whose they are.
    """
    owners = rows_of_owners(asks)
    if owners[ask.owner] >= AT_ONCE:
        rows = [row for row in rows if of[row].owner == ask.owner]
    richest = max(rows, key=lambda row: (owners[of[row].owner], of[row].inside), default=None)
    if richest is None:
        return None
    other = of[richest]
    more = other.inside - ask.inside if other.owner == ask.owner else owners[other.owner] - owners[ask.owner]
    return next(row for row in reversed(rows) if of[row] is other) if more > 1 else None
