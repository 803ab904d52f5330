"""The board: every variant that was voted on with its strength, blind votes and open ones, and languages, each on their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlite_utils import Database

import store
from probes.answers import sources
from probes.report.preferences import variant_names
from probes.report.wording import language, say
from probes.verdicts import strengths
from probes.verdicts.strengths import WIDEST, Contest, Strength

COLUMNS = ("place", "variant", "how", "lang", "strength", "chance", "wins", "losses", "ties", "bad", "questions")
SCORES = {"A": 1.0, "B": 0.0}  # a tie, and both being bad, is half a win for either


@dataclass(frozen=True)
class BoardRow:
    """One variant among those it was compared with. ties, bad: votes that found neither better, and both bad."""

    blind: bool
    lang: str
    fitted: Strength
    wins: int
    losses: int
    ties: int
    bad: int

    @property
    def variant(self) -> str:
        return self.fitted.variant


def read_board(db: str | Path | Database) -> list[BoardRow]:
    """Of all votes that stand: blind ones before open ones, in each language the strongest first. Raises StoreError."""
    votes = store.votes.standing(db)
    names = variant_names(votes)
    boards: dict[tuple[bool, str], list[Mapping]] = {}
    for vote in votes:
        if vote["key_a"] != vote["key_b"]:  # a variant beside itself says nothing of either
            boards.setdefault((not vote["blind"], sources.lang_of(vote)), []).append(vote)
    found = []
    for (seen, lang), given in sorted(boards.items(), key=lambda board: board[0]):
        counts = _count(given, names)
        contests = [
            Contest(names[vote["key_a"]], names[vote["key_b"]], vote["question"], SCORES.get(vote["choice"], 0.5))
            for vote in given
        ]
        for one in strengths.fit_strengths(contests):
            of = counts[one.variant]
            found.append(BoardRow(not seen, lang, one, of["win"], of["loss"], of["tie"], of["both bad"]))
    return found


def _count(votes: Sequence[Mapping], names: Mapping[str, str]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {}
    for vote in votes:
        for side, key in (("A", "key_a"), ("B", "key_b")):
            word = vote["choice"] if vote["choice"] not in SCORES else "win" if vote["choice"] == side else "loss"
            counts.setdefault(names[vote[key]], Counter())[word] += 1
    return counts


def cells(row: BoardRow, lang: str = "en") -> dict[str, str]:
    """The row in words, by column of COLUMNS."""
    of = row.fitted
    return {
        "place": f"{of.place}" if of.place else "",
        "variant": row.variant,
        "how": say(lang, "votes_blind" if row.blind else "votes_open"),
        "lang": language(lang, row.lang),
        "strength": _strength(of) if of.enough else describe_lack(of, lang),
        "chance": f"{100 * of.chance:.0f} % [{100 * of.chance_low:.0f}–{100 * of.chance_high:.0f}]" if of.enough else "",
        **{key: f"{getattr(row, key):,}" for key in ("wins", "losses", "ties", "bad")},
        "questions": f"{of.questions:,}",
    }


def _strength(of: Strength) -> str:
    middle, low, high = (f"{value + 0.0:+.2f}".replace("-", "−") for value in (of.strength, of.low, of.high))
    return f"{middle} [{low} … {high}]"


def describe_lack(of: Strength, lang: str = "en") -> str:
    """That there are not enough votes, and how many more questions it would take."""
    few = say(lang, "board_few")
    if of.more is None:
        return say(lang, "board_alone", few=few)
    return say(lang, "board_more_one" if of.more == 1 else "board_more", few=few, count=of.more)


def headings(lang: str = "en") -> dict[str, str]:
    return {key: say(lang, f"board_{key}") for key in COLUMNS}


def note(lang: str = "en") -> str:
    return say(lang, "board_note", widest=round(100 * WIDEST))


def csv_rows(found: Sequence[BoardRow]) -> list[dict]:
    """Rows for CSV: every number by itself; a strength that there are not enough votes for is left out."""
    rows = []
    for row in found:
        of = row.fitted
        known = (of.strength, of.low, of.high, of.chance, of.chance_low, of.chance_high) if of.enough else (None,) * 6
        keys = ("strength", "strength_low", "strength_high", "chance", "chance_low", "chance_high")
        rows.append(
            {"blind": row.blind, "lang": row.lang, "place": of.place, "variant": row.variant, "enough_votes": of.enough}
            | dict(zip(keys, known, strict=True))
            | {"wins": row.wins, "losses": row.losses, "ties": row.ties, "both_bad": row.bad, "questions": of.questions}
            | {"more_questions": of.more}
        )  # fmt: skip
    return rows
