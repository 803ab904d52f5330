"""What a data file holds: raw rows and the line each stands in. JSON in all its habits, CSV, TSV, Parquet, Arrow, .gz of them.

Nothing here knows what a row means; that is `tuning.dataset.shapes`.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from common import leftovers, paths
from common.seeming import not_what_it_seems

JSON, TABLES, BINARY = (".json", ".jsonl", ".ndjson"), (".csv", ".tsv"), (".parquet", ".arrow")
PLAIN = (*JSON, *TABLES, *BINARY)
UNREAD = (".xlsx", ".xls", ".ods", ".zip", ".zst", ".bz2", ".xz", ".7z", ".rar", ".tar", ".pkl", ".pt", ".html", ".pdf", ".docx")
READ = "give .json, .jsonl, .csv, .tsv, .parquet or a .gz of them"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
# where a file of rows hides them, best first
WRAPPERS = ("train", "data", "rows", "examples", "items", "records")


class Twice(tuple):
    """The different values of a key that stands twice in an object; json alone would keep the last without a word."""


@dataclass
class Table:
    """Raw rows; lines: where each begins in the file, empty where that is not known. notes: what was passed over."""

    items: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def file_kind(path: Path) -> str:
    """The ending that says what a file holds: of `rows.json.gz` it is .json; empty for none that is read."""
    found = paths.ending(path)
    return found if found in PLAIN else ""


def read_table(path: Path, name: str) -> Table:
    """The rows of a file. name: what problems call it. Raises nothing: what is wrong stands in `problems`."""
    if what := not_what_it_seems(path):
        return Table(problems=[f"{name} {what}."])
    suffix = path.suffix.lower()
    if suffix in UNREAD:
        return Table(problems=[f"{name}: {suffix} files are not read; {READ}."])
    kind = file_kind(path)
    if kind in BINARY:
        if suffix == ".gz":
            return Table(problems=[f"{name}: a gzipped {kind} file is not read; unpack it first (gunzip)."])
        return _through_datasets(path, name, kind)
    try:
        raw = paths.read_unpacked(path)
        text = raw.decode("utf-16") if kind in TABLES and raw.startswith(UTF16) else raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return Table(problems=[f"{name} line {line}: not UTF-8 text; save the file as UTF-8."])
    except OSError as error:
        return Table(problems=[f"{name} cannot be read ({error.strerror or error})."])
    if not text.strip():
        return Table(problems=[f"{name}: the file is empty."])
    return _unwrapped(_from_table(text, name, kind) if kind in TABLES else _from_json(text, name, kind), name)


def _from_json(text: str, name: str, kind: str) -> Table:
    first = text.lstrip()[0]
    if (kind in (".jsonl", ".ndjson") and first != "[") or (kind not in JSON and first == "{"):
        return _from_lines(text, name)
    try:
        data = _loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # lines or objects one after another, under the name .json, as many sets are published
            return _from_lines(text, name)
        if kind in (".jsonl", ".ndjson") and len(text.strip().split("\n")) > 1 and _starts_with_whole_line(text):
            return _from_lines(text, name)
        return Table(problems=[_broken(name, error, 0)])
    if not isinstance(data, (dict, list)):
        return Table(problems=[f"{name}: holds a single {type_of(data)}, not a list of rows."])
    return Table(data if isinstance(data, list) else [data])


def _starts_with_whole_line(text: str) -> bool:
    try:
        _loads(text.strip().split("\n")[0])
    except json.JSONDecodeError:
        return False
    return True


def _from_lines(text: str, name: str) -> Table:
    """One row a line; where that does not do, objects one after another, each over as many lines as it likes."""
    lines = Table()
    # split("\n") and not splitlines(): a JSON string may hold U+2028 as it is
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines.items.append(_loads(line))
            lines.lines.append(number)
        except json.JSONDecodeError as error:
            lines.problems.append(_broken(name, error, number - 1))
    if lines.problems:
        objects = _from_objects(text, name)
        if not objects.problems or (not lines.items and objects.items):
            return objects
    return lines


def _from_objects(text: str, name: str) -> Table:
    found, at = Table(), 0
    while (at := _next(text, at)) < len(text):
        try:
            item, end = _told(partial(_DECODER.raw_decode, text, at), text, at)
        except json.JSONDecodeError as error:
            found.problems.append(_broken(name, error, 0))
            break
        found.items.append(item)
        found.lines.append(text.count("\n", 0, at) + 1)
        at = end
    return found


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n,":
        at += 1
    return at


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        for key in plain:
            different = [value for at, (one, value) in enumerate(pairs) if one == key and (key, value) not in pairs[:at]]
            plain[key] = Twice(different) if len(different) > 1 else different[0]
    return plain


# pandas writes an empty cell as NaN, which is no JSON and means null
_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=lambda _: None)


def _loads(text: str) -> Any:
    return _told(lambda: json.loads(text, object_pairs_hook=_object, parse_constant=lambda _: None), text, 0)


def _told(parse: Callable[[], Any], text: str, at: int) -> Any:
    """What else a parser stumbles over, as an error with a place."""
    try:
        return parse()
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deep", text, at) from None
    except ValueError as error:  # a number of 5,000 digits
        raise json.JSONDecodeError(str(error), text, at) from None


def _broken(name: str, error: json.JSONDecodeError, lines_before: int) -> str:
    where = f"{name} line {lines_before + error.lineno}, column {error.colno}: broken JSON"
    before, behind = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if re.match(r"(?:,\s*)?[\]}]", behind) and (before.endswith(",") or behind.startswith(",")):
        return f"{where} (a comma stands before the closing {behind.lstrip(', ')[:1]}; take it out)."
    if not behind.strip() or (error.msg.startswith("Unterminated string") and '"' not in behind[1:]):
        return f"{where} (it ends in the middle: the file is cut off; download or copy it again)."
    return f"{where} ({error.msg})."


def _from_table(text: str, name: str, kind: str) -> Table:
    """CSV or TSV, every line as wide as its header. Not through pandas, which shifts the columns of a line that is too
    long, fills up one that is too short and takes the answer "NA" for nothing, all without a word (docs/decisions.md)."""
    begun = 0
    delimiter = "\t" if kind == ".tsv" else ""
    if declared := re.match(r'"?sep=(.)"?\r?\n', text):  # Excel's own first line
        delimiter, begun = declared[1], 1
        text = text[declared.end() :]
    delimiter = delimiter or max(",;\t|", key=lambda one: len(next(csv.reader(io.StringIO(text, newline=""), delimiter=one), ())))
    csv.field_size_limit(2**31 - 1)
    reader, found, header, line = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), Table(), None, 0
    while True:
        start = line
        try:
            cells = next(reader, None)
        except csv.Error as error:
            found.problems.append(f"{name} line {begun + start + 1}: a broken table ({error}).")
            break
        line = reader.line_num
        if cells is None:
            break
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = [cell.strip() for cell in cells]
        elif len(cells) != len(header):
            wide = f"has {len(cells)} cells, the table has {len(header)} columns"
            found.problems.append(f"{name} line {begun + start + 1} {wide}; put a cell that holds {delimiter!r} into quotes.")
        else:
            found.items.append(_object(list(zip(header, cells, strict=True))))
            found.lines.append(begun + start + 1)
    return found


def _through_datasets(path: Path, name: str, kind: str) -> Table:
    def read(datasets: Any, cache: str) -> Any:
        _refuse_large(path, kind)
        if kind == ".arrow":
            return datasets.Dataset.from_file(str(path), in_memory=True)
        return datasets.Dataset.from_parquet(str(path), cache_dir=cache, keep_in_memory=True)

    what = "Parquet" if kind == ".parquet" else "Arrow"
    return _asked(read, lambda reason: f"{name} is no whole {what} file ({reason}): download or copy it again.")


def _refuse_large(path: Path, kind: str) -> None:
    """ValueError. A Parquet file tells beforehand what it unpacks to; an Arrow file is as large as its rows."""
    import pyarrow.parquet

    size = path.stat().st_size
    if kind == ".parquet":
        about = pyarrow.parquet.read_metadata(path)
        size = max(size, sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups)))
    if size > paths.MOST:
        raise ValueError(paths.too_large_sentence(size))


def read_saved_folder(folder: Path, name: str) -> Table:
    """The rows of a folder that `datasets` wrote with save_to_disk; of several splits the one called train."""

    def read(datasets: Any, _cache: str) -> Any:
        found = datasets.load_from_disk(str(folder), keep_in_memory=True)
        return found if isinstance(found, datasets.Dataset) else found["train"]

    return _asked(read, lambda reason: f"{name} is no whole data set that was saved by the package datasets ({reason}).")


def is_saved_folder(folder: Path) -> bool:
    return (folder / "dataset_dict.json").is_file() or ((folder / "state.json").is_file() and any(folder.glob("*.arrow")))


def _asked(read: Callable[[Any, str], Any], sentence: Callable[[str], str]) -> Table:
    """What `datasets` reads, with its cache in a folder that goes again and without its bars and log."""
    try:
        import datasets
    except ImportError:
        return Table(problems=[sentence("reading it needs the package datasets: pip install datasets")])
    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)
    with leftovers.scratch_folder() as cache:
        try:
            return Table(read(datasets, str(cache)).to_list())
        except Exception as error:  # pyarrow's many kinds, all of them mean "not readable"
            reason = " ".join(str(error.__cause__ or error).split())[:160] or type(error).__name__
            return Table(problems=[sentence(reason)])


def _unwrapped(table: Table, name: str) -> Table:
    """A single object may hold the rows under `data` or `train`, or column by column."""
    if table.problems or len(table.items) != 1 or not isinstance(table.items[0], dict):
        return table
    data, notes = table.items[0], []
    while isinstance(data, dict):
        chosen = next((key for key in WRAPPERS if _holds_rows(data.get(key))), None)
        if chosen is not None:
            notes += [f"{name}: {key!r} beside {chosen!r} is not read." for key in data if key != chosen]
            data = data[chosen]
        elif columns := table_from_columns(data):
            return Table(columns.items, [], [f"{name}: {one}." for one in columns.problems], notes)
        else:
            return table
    return Table(data, notes=notes)


def _holds_rows(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, dict) and not {"role", "from"} & set(one) for one in value)
    return isinstance(value, dict) and (table_from_columns(value) is not None or any(map(_holds_rows, value.values())))


def table_from_columns(data: dict[str, Any]) -> Table | None:
    """The rows of {column: [values]} or, as pandas writes it, {column: {row: value}}; None if this is neither."""
    values = [list(one.values()) if isinstance(one, dict) else one for one in data.values()]
    if len(values) < 2 or not all(isinstance(one, list) and one for one in values) or _is_chat(values):
        return None
    lengths = {key: len(one) for key, one in zip(data, values, strict=True)}
    if not all(isinstance(cell, (str, int, float, list, type(None))) for one in values for cell in one):
        return None
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key!r} {length}" for key, length in lengths.items())
        return Table(problems=[f"its columns are of different lengths ({told})"])
    return Table([dict(zip(data, row, strict=True)) for row in zip(*values, strict=True)])


def _is_chat(values: Sequence[list]) -> bool:
    return any(isinstance(cell, dict) for one in values for cell in one)


def type_of(value: Any) -> str:
    """A value's type, in the words of JSON."""
    names = {dict: "object", list: "list", str: "text", bool: "true/false", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def quote(names: Iterable[Any]) -> str:
    """Names as a sentence lists them."""
    return ", ".join(map(repr, names))
