"""Which of two variants people prefer: the votes of the store, counted per pair, and what they come to.

Blind votes and open ones are never added up, nor are languages. Votes on one question are not independent, so the interval of
the share of wins is clustered by question, as verdicts are by probe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlite_utils import Database

import store
from identities import natural_key
from probes.answers import sources
from probes.report import table
from probes.report.wording import language, say, term
from probes.verdicts import statistics
from probes.verdicts.rules import UNDETERMINED
from probes.verdicts.statistics import Interval

COLUMNS = ("first", "second", "how", "lang", "wins", "losses", "ties", "bad", "share", "word", "people")
EVEN = 0.5  # the share of wins at which neither is preferred


@dataclass(frozen=True)
class Preference:
    """Votes between two variants, blind or open, on questions in one language. share: of `first` among the votes that chose one
    of the two. preferred: its name, "" while the interval holds both sides of EVEN; more: further questions like those asked
    that would settle it. people: who voted how often, "" being nobody in particular."""

    first: str
    second: str
    blind: bool
    lang: str
    wins: int
    losses: int
    ties: int
    bad: int
    share: Interval
    preferred: str = ""
    more: int | None = None
    people: Mapping[str, int] = field(default_factory=dict)

    @property
    def votes(self) -> int:
        return self.wins + self.losses + self.ties + self.bad


def read_preferences(db: str | Path | Database) -> list[Preference]:
    """Every pair that was voted on: by names, blind votes before open ones. Raises StoreError."""
    counted = store.votes.tally(db, by=lambda vote: (not vote["blind"], sources.lang_of(vote)))
    names = variant_names(counted)
    found = [_preference(pair, names) for pair in counted]
    return sorted(found, key=lambda one: (natural_key(one.first), natural_key(one.second), not one.blind, one.lang))


def _preference(pair: Mapping, names: Mapping[str, str]) -> Preference:
    """The pair with the name that sorts first on the left."""
    turned = natural_key(names[pair["key_b"]]) < natural_key(names[pair["key_a"]])
    first, second = ("b", "a") if turned else ("a", "b")
    share = statistics.clustered_interval({ask: [chosen != turned for chosen in won] for ask, won in pair["chose_a"].items()})
    sides = names[pair[f"key_{first}"]], names[pair[f"key_{second}"]]
    word = "" if share.share is None else sides[0] if share.low > EVEN else sides[1] if share.high < EVEN else ""
    open_vote, lang = pair["by"]
    return Preference(
        *sides, not open_vote, lang, pair[first], pair[second], pair["tie"], pair["both bad"], share, word,
        None if word or share.share is None else statistics.probes_to_settle(lambda more: _settled(share, more)),
        dict(sorted(pair["people"].items(), key=lambda of: (-of[1], natural_key(of[0])))),
    )  # fmt: skip


def _settled(share: Interval, more: int) -> bool:
    later = statistics.with_more_probes(share, more)
    return later.low > EVEN or later.high < EVEN


def variant_names(counted: Iterable[Mapping]) -> dict[str, str]:
    """key -> name; where several variants have the same one, the beginning of the key tells them apart."""
    names: dict[str, str] = {}
    for pair in counted:
        for side in ("a", "b"):
            names.setdefault(pair[f"key_{side}"], pair[f"variant_{side}"])
    shared = Counter(names.values())
    return {key: name if shared[name] == 1 else f"{name} ({key[:6]})" for key, name in names.items()}


def cells(one: Preference, lang: str = "en") -> dict[str, str]:
    """A row of the table in words, by column of COLUMNS."""
    people = (f"{name or say(lang, 'votes_unnamed')} {count:,}" for name, count in one.people.items())
    return {
        "first": one.first,
        "second": one.second,
        "how": say(lang, "votes_blind" if one.blind else "votes_open"),
        "lang": language(lang, one.lang),
        **{key: f"{getattr(one, key):,}" for key in ("wins", "losses", "ties", "bad")},
        "share": table.format_interval(one.share),
        "word": describe_preference(one, lang),
        "people": say(lang, "and").join(people),
    }


def describe_preference(one: Preference, lang: str = "en") -> str:
    """Who is preferred, or that it is open and what would settle it."""
    if one.preferred:
        return one.preferred
    if one.more:
        return say(lang, "votes_more_one" if one.more == 1 else "votes_more", word=term(lang, UNDETERMINED), count=one.more)
    return term(lang, UNDETERMINED)


def headings(lang: str = "en") -> dict[str, str]:
    return {key: say(lang, f"votes_{key}") for key in COLUMNS}


def csv_rows(found: Sequence[Preference]) -> list[dict]:
    """Rows for CSV and scripts: every number by itself."""
    return [
        {
            "first": one.first, "second": one.second, "blind": one.blind, "lang": one.lang, "votes": one.votes,
            "wins": one.wins, "losses": one.losses, "ties": one.ties, "both_bad": one.bad, "share": one.share.share,
            "share_low": one.share.low, "share_high": one.share.high, "questions": one.share.probes,
            "verdict": "preferred" if one.preferred else UNDETERMINED, "preferred": one.preferred,
            "more_questions": one.more, "people": dict(one.people),
        }
        for one in found
    ]  # fmt: skip
