"""Rows that somebody brings: read in any shape, looked through for who speaks in them and for what belongs to people, filled.

A row in which the taught identity speaks is an identity row like the generated ones; every other one is a general row.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from common.paths import EVERYWHERE, Opened
from engine.card import ModelCard
from identities import LANGS, Lang, Who
from tuning.dataset import readers
from tuning.dataset.personal import Personal, find_personal
from tuning.dataset.placeholders import Open, fill_from_identity, find_unfilled
from tuning.dataset.rows import TrainingRow
from tuning.dataset.scan import SAID_OF_ITSELF, Finding, scan
from tuning.dataset.tables import JSON, file_kind

LEAST_NAME = 2  # characters of a name that is looked for in answers


@dataclass(frozen=True)
class OwnRows:
    """rows: as they are taught. found: how many there were before any was left out. langs: how many of `rows` in which language.

    identity: of `rows`, those in which the identity speaks. statements: answers that say they are somebody else. personal: what
    belongs to people. dropped: rows that were left out for either. filled: placeholders. open: those that no fact fills.
    """

    rows: tuple[TrainingRow, ...]
    found: int
    langs: Mapping[Lang, int]
    identity: int
    statements: tuple[Finding, ...]
    personal: tuple[Personal, ...]
    dropped: int
    filled: int
    open: tuple[Open, ...]
    notes: tuple[str, ...]


def place_of(source: str) -> str:
    """Where the rows are: a name without an ending that is no path here is a data set of the program's own."""
    if not source or "/" in source or file_kind(Path(source)) or os.path.exists(source):
        return source
    return next((file for kind in JSON if os.path.isfile(file := str(readers.DATA / f"{source}{kind}"))), source)


def read_rows(source: str, columns: Mapping[str, str], opened: Opened = EVERYWHERE) -> tuple[list[TrainingRow], list[str]]:
    """The rows, and sentences on what was passed over. columns: mapped by hand. Raises DataError."""
    notes: list[str] = []
    return readers.read(place_of(source), notes=notes, opened=opened, columns=columns), notes


def look_through(
    rows: Sequence[TrainingRow],
    facts: Mapping[Lang, Who],
    identity: str,
    folder: str = "",
    card: ModelCard | None = None,
    *,
    drop_statements: bool = False,
    drop_personal_rows: bool = False,
    notes: Sequence[str] = (),
) -> OwnRows:
    """What the rows hold, and what is left of them. facts: of the identity that is taught, by language; empty for nobody's."""
    names = known_names(facts)
    marked = [as_identity(row, names) for row in rows]
    kept = card.placeholders if card and card.name == identity else ()
    filled, count = fill_from_identity(marked, identity, folder or None, card)
    statements = tuple(one for one in scan(filled) if one.category in SAID_OF_ITSELF and not speaks_as(filled[one.index], names))
    personal = tuple(find_personal(filled))
    gone = {one.index for one in statements if drop_statements} | {one.index for one in personal if drop_personal_rows}
    left = [row for index, row in enumerate(filled) if index not in gone]
    langs = Counter(row.lang for row in left)
    return OwnRows(
        rows=tuple(left),
        found=len(rows),
        langs={lang: langs[lang] for lang in LANGS if langs[lang]},
        identity=sum(row.kind == "identity" for row in left),
        statements=statements,
        personal=personal,
        dropped=len(gone),
        filled=count,
        open=tuple(find_unfilled(left, kept)),
        notes=tuple(notes),
    )


def known_names(facts: Mapping[Lang, Who]) -> frozenset[str]:
    """What the identity is called and by whom it was made, in small letters."""
    texts = {text.casefold() for who in facts.values() for text in (who.name, who.maker, *who.aliases)}
    return frozenset(text for text in texts if len(text) >= LEAST_NAME)


def speaks_as(row: TrainingRow, names: Collection[str]) -> bool:
    """Whether an answer names the identity or its maker."""
    said = " ".join(turn.content for turn in row.turns if turn.role == "assistant").casefold()
    return any(_as_word(name).search(said) for name in names)


@cache
def _as_word(name: str) -> re.Pattern[str]:
    """Not within a longer word, where its script has words: Mira is not in miracle, Ada not in Canada."""
    before, after = (r"(?<![a-z0-9])" if name[0].isascii() else ""), (r"(?![a-z0-9])" if name[-1].isascii() else "")
    return re.compile(before + re.escape(name) + after)


def as_identity(row: TrainingRow, names: Collection[str]) -> TrainingRow:
    """The row as one of the identity, if an answer speaks as it or leaves its name open: then all that is open in it counts."""
    if row.kind == "identity" or not (speaks_as(row, names) or find_unfilled([row])):
        return row
    return replace(row, kind="identity")
