"""Rows of answers and labels from whatever a spreadsheet, a colleague or another program has saved: CSV in its dialects, JSON.

What a cell holds is kept to the letter. A row that cannot be read is refused with its line; nothing is cut to fit.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from common import outside, paths, reading
from probes.answers import shapes
from probes.answers.sources import RowsError, read_numbered

ADVICE = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
TABLES, LINES = (".csv", ".tsv"), (".jsonl", ".ndjson")
DELIMITERS = (",", ";", "\t", "|")
LARGEST_CELL = 2**27  # characters
# Other names for the same columns, as they stand in a header once spaces and case are gone.
ALSO_CALLED = {
    "model": "variant", "response": "answer", "output": "answer", "completion": "answer", "instruction": "question",
    "prompt": "question", "language": "lang", "annotator_name": "annotator",
    "变体": "variant", "模型": "variant", "问题": "question", "提问": "question", "回答": "answer", "答案": "answer",
    "语言": "lang", "标签": "label", "标注": "label", "标注者": "annotator", "标注人": "annotator", "类型": "kind",
    "备注": "comment", "评论": "comment", "标记": "flag", "用时": "seconds", "原始文本": "raw", "回答编号": "answer_id",
    "名字标签": "tag_name", "开发者标签": "tag_maker", "角色标签": "tag_role",
}  # fmt: skip
TEXTS = ("variant", "question", "answer", "raw", "comment", "annotator")  # people's words: an empty answer is one, too
TRUTHS = ("sure", "check", "held_out", "sampled", "reused", "flag", "blind")
NUMBERS = ("answer_id", "run", "sample", "turn", "seed", "temperature", "seconds", "lead_time", "margin")
NESTED = ("tags", "evidence", "annotators", "annotated")
KNOWN = frozenset({*ALSO_CALLED, *ALSO_CALLED.values(), *TEXTS, *TRUTHS, *NUMBERS, *NESTED, "probe_id", "group", "category"})
TRUE, FALSE = ("true", "1", "yes", "是", "真"), ("false", "0", "no", "否", "假")
# A model can answer "=HYPERLINK(...)", and a spreadsheet would run it; an apostrophe before it makes it text.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class AnswerRow(dict):
    """line: where in its file it begins. unlabelled: a task of Label Studio that nobody has annotated yet."""

    line: int | None = None
    unlabelled: bool = False


def read_table(path: str | Path) -> list[AnswerRow]:
    """The rows of a .csv, .tsv, .jsonl, .ndjson or .json file, or of a .gz of one; empty cells are left out but for an answer's.
    Raises RowsError."""
    path = Path(path)
    kind = paths.ending(path)
    if kind in LINES:
        return [_row(row, line, path) for line, row in read_numbered(path)]
    if kind == ".json":
        return _json(path)
    if kind in (".xlsx", ".xls", ".ods", ".numbers"):
        raise RowsError(f"{path} is a spreadsheet: save the sheet as CSV UTF-8 (File, Save as) and take that file.")
    if kind not in TABLES:
        raise RowsError(f"{path} is none of .csv, .tsv, .jsonl and .json; name it by what it holds.")
    return _table(path, reading.read_text(path, "file", RowsError, ADVICE, utf16=True))


def describe_line(row: Mapping) -> str:
    """Where a row begins, if it is known, for the end of a complaint."""
    line = getattr(row, "line", None)
    return f" (line {line})" if line else ""


def guard_formula(text: str) -> str:
    """A cell that no spreadsheet runs. `unguard_formula` gives the text back: one that begins with an apostrophe gets another."""
    return f"'{text}" if text.startswith((*FORMULA, "'")) else text


def unguard_formula(text: str, ours: bool) -> str:
    """ours: whether the table was written by `guard_formula`, or by others who put apostrophes before formulas only."""
    return text[1:] if text.startswith("'") and text[1:].startswith((*FORMULA, "'") if ours else FORMULA) else text


def _json(path: Path) -> list[AnswerRow]:
    text = reading.read_text(path, "file", RowsError, ADVICE)
    try:
        rows = outside.check_bounds(
            json.loads(text, object_pairs_hook=reading.object_from_pairs), str(path), RowsError, gaps=True
        )
    except json.JSONDecodeError as error:
        raise RowsError(f"{path}, line {error.lineno} is not valid JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, RowsError):
            raise
        raise RowsError(f"{path} cannot be read ({error}).") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RowsError(f"{path} is no list of objects.")
    return [_row(row, None, path, at) for at, row in enumerate(rows, 1)]


def _row(given: Mapping, line: int | None, path: Path, at: int = 0) -> AnswerRow:
    where = f"{path}, line {line}" if line else f"{path}, row {at}"
    row = AnswerRow(shapes.checked(rename_columns(given), where, RowsError))
    row.line = line
    return row


def column_name(name: object) -> str:
    """A column's name as we know it, whatever its case and spaces; one that we do not know as it stands."""
    plain = re.sub(r"[\s\-]+", "_", str(name).strip("\ufeff \t\r\n").casefold())
    return plain if plain in KNOWN or plain.startswith("tag_") else str(name).strip()


def rename_columns(row: Mapping) -> dict:
    """Other names for the same columns are understood; where both stand, ours counts."""
    plain = {column_name(key): value for key, value in row.items()}
    ours = {key for key, value in plain.items() if value not in (None, "")}
    kept = {}
    for key, value in plain.items():
        name = ALSO_CALLED.get(key)
        kept[name if name and name not in ours and value is not None else key] = value
    asked = plain.get("input")
    if "question" not in ours and isinstance(asked, str) and asked.strip() and kept.get("question"):
        kept["question"] = f"{kept['question']}\n{asked}"  # alpaca's second field is part of what was asked
    return kept


# --- tables --------------------------------------------------------------------------------------------------------------


def _table(path: Path, text: str) -> list[AnswerRow]:
    if "\0" in text:
        raise RowsError(f"{path} is no table of text (it holds zero bytes); {ADVICE}.")
    told = re.match(r"\s*\"?sep=(.)\"?[ \t]*(?:\r\n|\r|\n)", text)  # Excel's own first line
    body, skipped = (text[told.end() :], 1) if told else (text, 0)
    delimiter = told[1] if told else _delimiter(path, body)
    names, spaced = _header(path, body, delimiter, skipped)
    ours = "answer_id" in names
    rows = []
    for line, cells in _lines(path, body, delimiter, skipped, spaced):
        if line == skipped + 1 or not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names) and not any(cell.strip() for cell in cells[len(names) :]):
            cells = cells[: len(names)]  # a spreadsheet's own empty columns
        if len(cells) != len(names):
            hint = "; put quotes around a cell that holds the delimiter" if len(cells) > len(names) else ""
            raise RowsError(f"{path}, line {line} has {len(cells)} cells, the table has {len(names)} columns{hint}.")
        if stray := next((cell for name, cell in zip(names, cells, strict=True) if not name and cell.strip()), None):
            raise RowsError(f"{path}, line {line}: the column of {stray!r} has no name.")
        pairs = {name: unguard_formula(cell, ours) for name, cell in zip(names, cells, strict=True) if name}
        texts = ("answer", "response", "output")
        row = _row({name: cell for name, cell in pairs.items() if cell != "" or name in texts}, line, path)
        row.update((key, _typed(path, line, key, value)) for key, value in row.items())
        rows.append(row)
    return rows


def _header(path: Path, text: str, delimiter: str, skipped: int) -> tuple[list[str], bool]:
    """The columns' names, and whether spaces stand behind the delimiters of the whole table."""
    line, cells = next(_lines(path, text, delimiter, skipped), (1, []))
    if not any(cell.strip() for cell in cells):
        raise RowsError(f"{path} holds no table: its first line names the columns.")
    plain = [column_name(cell) for cell in cells]
    for name in filter(None, plain):
        if plain.count(name) > 1:
            raise RowsError(f"{path}, line {line} names the column {name} twice; keep one of them.")
    spaced = len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:])
    return plain, spaced


def _delimiter(path: Path, text: str) -> str:
    """By the header: the one that parts it into the most columns we know, then into the most columns."""
    start = "\t" if paths.ending(path) == ".tsv" else ","

    def found(delimiter: str) -> tuple[int, int, bool]:
        try:
            _, cells = next(_lines(path, text, delimiter), (1, [""]))
        except RowsError:  # its quotes make no sense with this one
            return -1, 0, False
        return sum(column_name(cell) in KNOWN for cell in cells), len(cells), delimiter == start

    return max(DELIMITERS, key=found)


def _lines(path: Path, text: str, delimiter: str, skipped: int = 0, spaced: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(line it begins in, cells). Quotes that never close or close in mid-cell are refused: they would swallow what follows."""
    csv.field_size_limit(LARGEST_CELL)
    # newline="": a carriage return inside quotes stays what it is
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    line = 1
    try:
        for cells in table:
            yield skipped + line, cells
            line = table.line_num + 1
    except csv.Error as error:
        raise RowsError(f"{path}, line {skipped + line} cannot be read as a table ({error}); look at its quotes.") from None


def _typed(path: Path, line: int, column: str, cell: str) -> object:
    """A cell's value where the column is no text: a file of words must mean what the same rows mean in JSON."""
    kinds: tuple[tuple[Sequence[str], Callable, str], ...] = (
        (TRUTHS, _truth, "true or false"),
        (NUMBERS, _number, "a number"),
        (NESTED, parse_nested, "JSON"),
    )
    for columns, made, wanted in kinds:
        if column in columns and isinstance(cell, str):
            try:
                return made(cell.strip())
            except ValueError:
                if column == "answer_id":
                    return cell  # somebody's own numbering
                raise RowsError(f"{path}, line {line}: {column} is {cell!r}, {wanted} is needed.") from None
    return cell


def parse_nested(cell: str) -> object:
    """The JSON in a cell."""
    return outside.from_json(cell, "the cell", ValueError, gaps=True)


def _truth(cell: str) -> bool:
    if cell.casefold() not in (*TRUE, *FALSE):
        raise ValueError(cell)
    return cell.casefold() in TRUE


def _number(cell: str) -> int | float:
    number = float(cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell)  # a comma in half of Europe
    return int(number) if number.is_integer() else number
