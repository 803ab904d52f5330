"""Reads training data: files and folders of them in the shapes that the field publishes, Hub data sets by name.

Every problem of a file is found before anything starts, and up to ten are told at once.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from common import paths
from common.errors import nearest
from common.files import atomic_file
from common.paths import EVERYWHERE, Opened
from tuning.dataset import tables
from tuning.dataset.dataset_info import INFO, Described, by_hand, find_description, read_descriptions, read_entries
from tuning.dataset.rows import DataError, Kind, TrainingRow
from tuning.dataset.shapes import KNOWN, Notes, read_row
from tuning.dataset.tables import Table, file_kind, is_saved_folder, read_saved_folder, read_table

MOST_PROBLEMS = 10
DATA = Path(__file__).parents[2] / "data"  # the program's own
LOOKED_AT = 200  # rows, for the names of their columns
DRAWN_BY = 42  # the seed of num_samples
# what tools put beside data: never rows
METADATA = ("dataset_infos.json", "dataset_dict.json", "state.json", "package.json", "metadata.json")


def read(
    source: str | Path, *, kind: Kind = "general", split: str = "train", notes: list[str] | None = None,
    opened: Opened = EVERYWHERE, columns: Mapping[str, str] | None = None,
) -> list[TrainingRow]:  # fmt: skip
    """Rows of a file, of all files of rows under a folder, or of a Hub data set.

    A path that exists is read from disk; otherwise a name like `owner/name` is asked for on the Hub.
    kind:  what rows are that do not say it themselves in a field `kind`.
    split: of a Hub data set only.
    notes: gets a sentence for everything that was passed over.
    opened: the folders in which a path is read, and where what it leads to has to lie.
    columns: of the files -> ours, mapped by hand; no dataset_info.json counts then.
    Raises DataError with every problem found, up to ten.
    """
    described = by_hand(columns) if columns else None
    return _read(source, kind, split, notes if notes is not None else [], opened, described)


def _read(
    source: str | Path, kind: Kind, split: str, told: list[str], opened: Opened, own: Described | None
) -> list[TrainingRow]:
    """own: what is known of the columns; None looks for a dataset_info.json."""
    name = str(source)
    on_hub = is_hub_name(name)
    try:
        path = opened.place(source, DataError, "The data")
    except DataError:
        if on_hub and not Path(source).exists():
            return read_hub(name, kind=kind, split=split, notes=told, described=own)
        raise
    if path.is_dir():
        return _read_folder(path, kind, told, opened, own)
    if path.exists():
        rows, problems = _rows(read_table(path, path.name), path.name, kind, told, own or find_description(path, opened))
        _refuse(problems)
        return rows
    if on_hub:
        return read_hub(name, kind=kind, split=split, notes=told, described=own)
    raise DataError(f"Data {name!r} does not exist{_near(path)}.")


def is_hub_name(source: str) -> bool:
    """Whether a source reads like `owner/name` on the Hub and not like a path."""
    return source.count("/") == 1 and not source.startswith((".", "/", "~")) and not file_kind(Path(source))


def read_pair(
    train_dir: str | Path, valid_dir: str | Path | None, *, kind: Kind = "general", notes: list[str] | None = None
) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Training rows and validation rows, each from a folder or a file; the problems of both in one DataError."""
    problems: list[str] = []
    both: list[list[TrainingRow]] = [[], []]
    for place, source in enumerate((train_dir, valid_dir)):
        if source is None:
            continue
        try:
            both[place] = read(source, kind=kind, notes=notes)
        except DataError as error:
            problems.extend(str(error).split("\n"))
    _refuse(problems)
    return both[0], both[1]


def read_named(
    names: str, folder: str | Path = "", *, kind: Kind = "general", notes: list[str] | None = None, opened: Opened = EVERYWHERE
) -> list[TrainingRow]:
    """Rows of data sets by their names, with commas between them, as LLaMA-Factory's --dataset takes them.

    A name is an entry of a dataset_info.json or a file NAME.json, .jsonl, ... in `folder`; without one, in ./data or in the
    program's own data. Raises DataError with every problem found.
    """
    rows: list[TrainingRow] = []
    problems: list[str] = []
    told = notes if notes is not None else []
    for name in filter(None, (part.strip() for part in names.split(","))):
        try:
            rows += _read_one(name, [Path(folder)] if folder else [Path("data"), DATA], kind, told, opened)
        except DataError as error:
            problems += str(error).split("\n")
    _refuse(problems)
    return rows


def _read_one(name: str, folders: list[Path], kind: Kind, notes: list[str], opened: Opened) -> list[TrainingRow]:
    known: list[str] = []
    for folder in folders:
        place = opened.place(folder, DataError, "The folder of data sets")
        if not place.is_dir():
            continue
        entries = read_entries(place, opened)
        if entry := entries.get(name):
            if entry.described.refused:
                raise DataError(entry.described.refused)
            if not entry.hub:
                return _read(place / entry.file, kind, entry.split, notes, opened, entry.described)
            about: dict[str, Any] = {"split": entry.split, "subset": entry.subset, "described": entry.described}
            return read_hub(entry.hub, kind=kind, notes=notes, **about)
        files = {path.name.split(".")[0]: path for path in sorted(place.iterdir()) if file_kind(path) and path.name != INFO}
        if name in files:
            return read(files[name], kind=kind, notes=notes, opened=opened)
        known += [*entries, *files]
    where = " or ".join(str(folder) for folder in folders)
    close = nearest(name, known, most=3, cutoff=0.5) or sorted(set(known))[:8]
    there = f"there is {', '.join(close)}" if close else "there is none"
    raise DataError(f"No data set is called {name!r} in {where}: {there}; --data_path takes any path.")


def columns_of(source: str | Path, opened: Opened = EVERYWHERE) -> list[str]:
    """The names of a file's columns, of a folder its first file's, in their order; empty where there are none to be seen."""
    path = opened.place(source, DataError, "The data")
    if path.is_dir():
        path = next(
            (one for one in _files_under(path, opened) if file_kind(one) and not _is_metadata(one.relative_to(path))), path
        )
    if not path.is_file():
        return []
    items = [item for item in read_table(path, path.name).items[:LOOKED_AT] if isinstance(item, Mapping)]
    return list(dict.fromkeys(str(key) for item in items for key in item))


def read_hub(
    name: str, *, kind: Kind = "general", split: str = "train", notes: list[str] | None = None, subset: str = "",
    described: Described | None = None,
) -> list[TrainingRow]:  # fmt: skip
    """Rows of a Hub data set in any shape that files may have. Needs a connection, or its cache."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"Data {name!r} is no file or folder here, and reading it from the Hub needs the package datasets: "
            "install it with `pip install datasets`, or give the path of a local file."
        ) from None
    try:
        found = datasets.load_dataset(name, *filter(None, [subset]), split=split)
    except Exception as error:  # the Hub client raises many kinds, all of them mean "not to be had"
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"Data {name!r} is no file or folder here and could not be fetched from the Hub ({reason}): "
            "check the name and the connection, or give the path of a local file."
        ) from error
    rows, problems = _rows(Table(list(found)), name, kind, notes if notes is not None else [], described)
    _refuse(problems)
    return rows


def write(rows: Iterable[TrainingRow], path: str | Path) -> None:
    """Writes rows as JSONL that `read` gives back: alpaca fields for one question and answer, else messages. DataError for a
    path that is a device or a pipe."""
    if odd := paths.why_no_file(path):
        raise DataError(f"{path} {odd}.")
    with atomic_file(path) as out:
        for row in rows:
            pair = [turn.role for turn in row.turns] == ["user", "assistant"] and all(turn.learn for turn in row.turns)
            if pair and (row.turns[0].content.strip() or row.turns[0].input.strip()):  # alpaca has no question of nothing
                user, answer = row.turns
                plain: dict[str, Any] = {"instruction": user.content, "input": user.input, "output": answer.content}
            else:
                flags = ({} if turn.learn else {"weight": 0} for turn in row.turns)
                plain = {"messages": [{**message, **flag} for message, flag in zip(row.as_messages(), flags, strict=True)]}
            plain |= {"lang": row.lang, "kind": row.kind, "source": row.source}
            plain |= {"category": row.category} if row.category else {}
            out.write(json.dumps(plain, ensure_ascii=False) + "\n")


def _read_folder(
    folder: Path, kind: Kind, notes: list[str], opened: Opened, described: Described | None = None
) -> list[TrainingRow]:
    below = _files_under(folder, opened)
    rows: list[TrainingRow] = []
    problems: list[str] = []
    if is_saved_folder(folder):
        rows, problems = _rows(read_saved_folder(folder, folder.name), folder.name, kind, notes, described)
        _refuse(problems)
        return rows
    infos = [path.parent for path in below if path.name == INFO]
    listed = {info / name: own for info in infos for name, own in read_descriptions(info, opened).items()}
    root = os.path.realpath(folder)
    outside = [path for path in listed if not Path(os.path.realpath(path)).is_relative_to(root) or not opened.holds(path)]
    files = {path for path in below if file_kind(path) and path.is_file()}
    files |= {path for path in listed if path not in outside and os.path.isfile(path)}  # a name may be too long for any file
    passed = sorted(path for path in files if _is_metadata(path.relative_to(folder)))
    missing = [os.path.relpath(path, folder) for path in listed if path not in outside and not os.path.exists(path)]
    wanted = sorted(files - set(passed))
    if not wanted:
        raise DataError(f"Folder {str(folder)!r} holds no file of rows: put training data there ({tables.READ}).")
    for path in wanted:
        name = str(path.relative_to(folder))
        more, wrong = _rows(read_table(path, name), name, kind, notes, described or listed.get(path))
        rows += more
        problems += wrong
    if passed:
        notes.append(f"Not rows, passed over: {', '.join(str(path.relative_to(folder)) for path in passed)}.")
    elsewhere = [f"{name} ({entry.hub})" for info in infos for name, entry in read_entries(info, opened).items() if entry.hub]
    if elsewhere:
        notes.append(
            f"{INFO} names data sets of the Hub, which --dataset NAME reads, but not the folder: {', '.join(elsewhere)}."
        )
    if missing:
        notes.append(f"{INFO} names files that are not there: {', '.join(missing)}.")
    if outside:
        named = ", ".join(os.path.relpath(path, folder) for path in outside)
        notes.append(f"{INFO} names files outside of the folder, which are not read: {named}.")
    _refuse(problems)
    return rows


def _files_under(folder: Path, opened: Opened) -> list[Path]:
    """All files of a folder. DataError for one that is no file, or that a link takes out of the folders that were opened, and
    for more than is read."""
    below = paths.files_under(folder, DataError)
    read = [path for path in below if path.name == INFO or (file_kind(path) and not _is_metadata(path.relative_to(folder)))]
    places = [opened.place(path, DataError, "The data's file") for path in read]
    size = sum(place.stat().st_size for place in places if place.is_file())
    if size > paths.MOST:
        raise DataError(f"The folder {folder} is not read: {paths.too_large_sentence(size)}.")
    return below


def _is_metadata(path: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return hidden or path.name in (INFO, *METADATA) or path.name.endswith(".recipe.json")


def _rows(
    table: Table, name: str, kind: Kind, told: list[str], described: Described | None = None
) -> tuple[list[TrainingRow], list[str]]:
    described = described or Described()
    table = described.renamed(table)
    rows: list[TrainingRow] = []
    problems, notes = list(table.problems), Notes()
    notes.more += table.notes
    for index, item in enumerate(table.items):
        where = f"{name} row {index + 1}" + (f" (line {table.lines[index]})" if table.lines else "")
        wrong: list[str] = []
        row = read_row(item, where, kind, wrong, notes)
        if row is not None and not wrong:
            rows.append(row)
        problems += [f"{where}: {what}." for what in wrong]
    if not rows and not problems:
        problems.append(f"{name}: holds no rows ({KNOWN}).")
    if described.samples and rows:
        asked, there = described.samples, len(rows)
        rows = random.Random(DRAWN_BY).sample(rows, min(asked, there))
        notes.more.append(f"{name}: {len(rows):,} of {there:,} rows are drawn, as num_samples {asked} asks (seed {DRAWN_BY}).")
    told += notes.lines(name)
    return rows, problems


def _refuse(problems: list[str]) -> None:
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise DataError("\n".join(problems[:MOST_PROBLEMS] + ([f"... and {more} more problems."] if more > 0 else [])))


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (nor does the folder {str(folder)!r})"
    close = nearest(path.name, _names(folder), most=3, cutoff=0.5)
    return f"; in that folder there is {', '.join(close)}" if close else ""


def _names(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if path.is_dir() or file_kind(path))
