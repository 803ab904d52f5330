"""An identity data set as one small recipe: the form's, the command line's and the one saved beside the rows.

The same recipe makes the same rows again; it stands in NAME.recipe.json beside NAME.jsonl.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

import identities
from common import outside
from common.files import write_json
from common.outside import Shape
from common.paths import EVERYWHERE, Opened, files_under
from engine.card import BAYLING, ModelCard
from identities import Facts, IdentityError, Lang
from tuning.dataset import own, readers
from tuning.dataset.generate import Style, generate
from tuning.dataset.mixing import mix
from tuning.dataset.own import OwnRows
from tuning.dataset.placeholders import fill_from_identity, known_facts
from tuning.dataset.rows import DataError, TrainingRow
from tuning.dataset.scan import drop, scan

GENERAL = Path(__file__).parents[2] / "data" / "general.jsonl"
MOST_TIMES = 1000
MOST_ROWS = 200_000  # a slip of the hand should not fill a disk


class Recipe(Shape):
    """What is said of a data set in a file or a request, as far as types go."""

    identity: Annotated[str, Field(max_length=64)] | None = None
    langs: list[Lang] | None = None
    style: Literal["singular", "diverse"] | None = None
    old: Annotated[str, Field(max_length=64)] | None = None
    card: Annotated[str, Field(max_length=64)] | None = None
    general: str | None = None
    clean: bool | None = None
    rows: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    general_share: FiniteFloat | None = None
    own: str | None = None
    own_columns: dict[str, str] | None = None
    own_times: Annotated[int, Field(ge=0, lt=2**53)] | None = None
    own_drop_statements: bool | None = None
    own_drop_personal: bool | None = None
    identities_dir: str | None = None
    name: Annotated[str, Field(max_length=200)] | None = None


@dataclass(frozen=True)
class Dataset:
    """rows: of the identity. general_share: of the whole, below 1. old: the identity to be denied. card: an identity whose
    placeholders the base writes for names. clean: general rows that say who the speaker is are left out.

    own: rows that somebody brings: a path, a Hub data set or self_cognition. own_columns: (column, what it is), mapped by hand.
    own_times: how often each is taken. own_drop_statements, own_drop_personal: those that speak as somebody else, or hold what
    belongs to people, are left out.
    """

    identity: str = ""
    langs: tuple[Lang, ...] = ("en", "zh")
    rows: int = 200
    style: Style = "diverse"
    old: str = ""
    general: str = str(GENERAL)
    general_share: float = 0.5
    clean: bool = True
    own: str = ""
    own_columns: tuple[tuple[str, str], ...] = ()
    own_times: int = 1
    own_drop_statements: bool = False
    own_drop_personal: bool = False
    seed: int = 42
    card: str = ""
    identities_dir: str = ""

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"langs": list(self.langs), "own_columns": dict(self.own_columns)}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Dataset:
        known = {one.name for one in dataclasses.fields(cls)}
        unknown = sorted(set(plain) - known)
        if unknown:
            raise DataError(f"A data set has no {', '.join(unknown)}; it has {', '.join(sorted(known))}.")
        columns = tuple(dict(plain.get("own_columns") or ()).items())
        return cls(**dict(plain) | {"langs": tuple(plain.get("langs", cls.langs)), "own_columns": columns})

    def as_arguments(self) -> list[str]:
        """The command line that makes this data set, defaults left out."""
        words = []
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name == "own_columns" and value:
                words += ["--own_columns", json.dumps(dict(value), ensure_ascii=False)]
            elif value != one.default or one.name == "identity":
                words += [f"--{one.name}", ",".join(value) if isinstance(value, tuple) else str(value)]
        return words

    def problems(self) -> list[str]:
        found = []
        if not self.identity and (self.rows or not self.own):
            found.append("No identity is chosen; choose who the model is to become, or ask for 0 identity rows beside your own.")
        if not (0 if self.own else 1) <= self.rows <= MOST_ROWS:
            least = "0 to" if self.own else "1 to"
            found.append(f"{self.rows} identity rows are asked for; give {least} {MOST_ROWS:,}.")
        if not 1 <= self.own_times <= MOST_TIMES:
            found.append(f"Your rows are to be taken {self.own_times} times; give 1 to {MOST_TIMES:,}.")
        if not self.langs:
            found.append("No language is chosen; choose English, Chinese or both.")
        if not 0 <= self.general_share < 1:
            found.append(f"The share of general rows is {self.general_share:g}; give 0 or more, below 1.")
        return found


@dataclass(frozen=True)
class Composed:
    """rows: as they are written. wanted_general: what the share asks for; general: what there was. dropped: by `clean`.
    filled: placeholders of general rows that the identity's facts fill. notes: what was passed over in the files. own: what
    somebody brought.
    """

    rows: tuple[TrainingRow, ...]
    general: int
    wanted_general: int
    dropped: int
    filled: int = 0
    notes: tuple[str, ...] = ()
    own: OwnRows | None = None


def compose(dataset: Dataset, opened: Opened = EVERYWHERE) -> Composed:
    """The rows of a data set, shuffled. opened: where files of general rows may lie. Raises DataError or IdentityError."""
    if problems := dataset.problems():
        raise DataError("\n".join(problems))
    stamps = [facts_stamp(dataset, name) for name in (dataset.identity, dataset.old, dataset.card)]
    stamps += [general_stamp(source, opened) for source in (dataset.general, own.place_of(dataset.own))]
    return _compose(dataset, opened, *stamps)


@lru_cache(maxsize=8)
def _compose(dataset: Dataset, opened: Opened, *_stamps: str) -> Composed:
    made: list[TrainingRow] = []
    if dataset.rows:
        facts = load_facts(dataset, dataset.identity)
        old = load_facts(dataset, dataset.old) if dataset.old and dataset.old != dataset.identity else None
        card = card_placeholders(dataset)
        made = generate(facts, dataset.rows, dataset.style, dataset.langs, dataset.seed, old=old, card=card)
    brought = own_rows(dataset, opened) if dataset.own else None
    if brought:
        made += list(brought.rows) * dataset.own_times
        if not made:
            raise DataError(f"All {brought.found:,} of your rows are left out; keep some of them.")
    notes = list(brought.notes if brought else ())
    if not dataset.general or not dataset.general_share:
        return Composed(tuple(mix(made, (), seed=dataset.seed)), 0, 0, 0, notes=tuple(notes), own=brought)
    there, dropped = general_rows(dataset.general, dataset.clean, notes, opened)
    there, filled = fill_from_identity(there, dataset.identity, dataset.identities_dir, model_card(dataset))
    wanted = round(len(made) * dataset.general_share / (1 - dataset.general_share))
    taken = min(wanted, len(there))
    rows = mix(made, there, count=len(made), general_count=taken, seed=dataset.seed)
    return Composed(tuple(rows), taken, wanted, dropped, filled, tuple(notes), brought)


def own_rows(dataset: Dataset, opened: Opened = EVERYWHERE) -> OwnRows:
    """What somebody brings, looked through and filled. Raises DataError."""
    kept = (
        "identity",
        "card",
        "identities_dir",
        *(one.name for one in dataclasses.fields(Dataset) if one.name.startswith("own")),
    )
    alone = dataclasses.replace(Dataset(), **{name: getattr(dataset, name) for name in kept})
    stamps = [facts_stamp(dataset, name) for name in (dataset.identity, dataset.card)]
    return _own_rows(alone, opened, *stamps, general_stamp(own.place_of(dataset.own), opened))


@lru_cache(maxsize=4)
def _own_rows(dataset: Dataset, opened: Opened, *_stamps: str) -> OwnRows:
    rows, notes = own.read_rows(dataset.own, dict(dataset.own_columns), opened)
    facts = known_facts(dataset.identity, dataset.identities_dir)
    return own.look_through(
        rows,
        facts,
        dataset.identity,
        dataset.identities_dir,
        model_card(dataset),
        drop_statements=dataset.own_drop_statements,
        drop_personal_rows=dataset.own_drop_personal,
        notes=notes,
    )


def own_columns(dataset: Dataset, opened: Opened = EVERYWHERE) -> list[str]:
    """The columns of what somebody brings; empty where there are none to be seen. Raises DataError."""
    place = own.place_of(dataset.own)
    return _own_columns(place, opened, general_stamp(place, opened)) if dataset.own else []


@lru_cache(maxsize=4)
def _own_columns(place: str, opened: Opened, _stamp: str) -> list[str]:
    return readers.columns_of(place, opened)


def model_card(dataset: Dataset) -> ModelCard:
    return ModelCard(dataset.card, card_placeholders(dataset) or {})


def load_facts(dataset: Dataset, name: str) -> Facts:
    """The facts of identity `name`. Raises DataError if it has none, or IdentityError."""
    facts = identities.load(name, dataset.identities_dir or None).facts
    if facts is None:
        raise DataError(f"Identity {name!r} has no facts; write its name, maker, role and date into {name}.yaml.")
    return facts


def facts_stamp(dataset: Dataset, name: str) -> str:
    """Changes with the facts; empty without a name."""
    return repr(identities.load(name, dataset.identities_dir or None).facts) if name else ""


def general_stamp(source: str, opened: Opened = EVERYWHERE) -> str:
    """Changes with the files: what was read of them is kept."""
    if not source or (readers.is_hub_name(source) and not Path(source).exists()):
        return ""
    path = opened.place(source, DataError, "The data")
    files = files_under(path, DataError) if path.is_dir() else [path]
    return repr([(str(one), one.stat().st_mtime_ns) for one in files if one.is_file()])


def card_placeholders(dataset: Dataset) -> Mapping[str, str] | None:
    """What the base writes -> what people read, if the data set's card has such; None otherwise."""
    if not dataset.card:
        return None
    try:
        known = load_facts(dataset, dataset.card).placeholders
    except (DataError, IdentityError):
        known = None
    return known or (BAYLING.placeholders if dataset.card == BAYLING.name else None)


def general_rows(
    source: str, clean: bool, notes: list[str] | None = None, opened: Opened = EVERYWHERE
) -> tuple[list[TrainingRow], int]:
    """Rows and how many were left out because they say who the speaker is. notes: gets what was passed over in the file."""
    path = Path(source).expanduser()
    stamp = path.stat().st_mtime_ns if path.is_file() else None
    if stamp is None:
        rows = readers.read(source, notes=notes, opened=opened)
    else:
        rows, said = _read(source, stamp, opened)
        if notes is not None:
            notes += said
    kept = _cleaned(source, stamp, opened) if clean and stamp is not None else drop(rows, scan(rows)) if clean else rows
    return kept, len(rows) - len(kept)


@lru_cache(maxsize=2)
def _read(source: str, _stamp: int, opened: Opened) -> tuple[list[TrainingRow], list[str]]:
    notes: list[str] = []
    return readers.read(source, notes=notes, opened=opened), notes


@lru_cache(maxsize=2)
def _cleaned(source: str, stamp: int, opened: Opened) -> list[TrainingRow]:
    rows, _ = _read(source, stamp, opened)
    return drop(rows, scan(rows))


def recipe_file(rows_file: str | Path) -> Path:
    """Where the recipe of a rows file stands."""
    return Path(rows_file).with_suffix(".recipe.json")


def write(dataset: Dataset, file: str | Path, say: Callable[[str], object] = lambda _: None, opened: Opened = EVERYWHERE) -> Path:
    """The rows as JSONL and the recipe beside them. say: is told what was passed over and filled."""
    file = Path(file)
    composed = compose(dataset, opened)
    for note in (*composed.notes, *own_lines(dataset, composed.own)):
        say(note)
    if composed.filled:
        say(f"placeholders: {composed.filled:,} filled from identity {dataset.identity}.")
    file.parent.mkdir(parents=True, exist_ok=True)
    readers.write(composed.rows, file)
    write_json(recipe_file(file), dataset.as_dict())
    return file


def own_lines(dataset: Dataset, brought: OwnRows | None) -> list[str]:
    """What was found in the rows that somebody brings, a sentence each."""
    if not brought:
        return []
    counts = ", ".join(f"{count:,} {lang}" for lang, count in brought.langs.items())
    lines = [f"{dataset.own}: {len(brought.rows):,} of {brought.found:,} rows ({counts}), {brought.identity:,} of the identity."]
    for found, what, gone in (
        (brought.statements, "speak as somebody else", dataset.own_drop_statements),
        (brought.personal, "hold what belongs to people", dataset.own_drop_personal),
    ):
        if found:
            examples = "; ".join(f"{one.source}: {one.text}" for one in found[:3])
            done = (
                "left out"
                if gone
                else f"kept; --own_drop_{'statements' if found is brought.statements else 'personal'} leaves them out"
            )
            lines.append(f"{dataset.own}: {len({one.index for one in found}):,} rows {what} ({examples}); they are {done}.")
    if brought.filled:
        lines.append(f"{dataset.own}: {brought.filled:,} placeholders filled from identity {dataset.identity}.")
    return [*lines, *(f"{one}." for one in brought.open)]


def recipe_of(rows_file: str | Path) -> Dataset | None:
    """The recipe of a rows file, None if it has none that can be read."""
    if not Path(rows_file).name:
        return None
    try:
        plain = outside.read_json(recipe_file(rows_file), DataError)
        outside.check(Recipe, plain, outside.display_name(recipe_file(rows_file)), DataError)
        return Dataset.from_dict({name: value for name, value in plain.items() if value is not None})
    except DataError:
        return None
