"""Reads training data: alpaca JSON or JSONL, `messages` chats, folders of them, Hub data sets by name.

Every problem of a file is found before anything starts, and up to ten are told at once.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tuning.rows import DataError, Kind, Row, Turn, detect_lang

MOST_PROBLEMS = 10
SUFFIXES = (".json", ".jsonl")
# The same two fields under the names of the other self-cognition sets.
_SAME_FIELD = {"query": "instruction", "response": "output"}
_SAME_ROLE = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
_KNOWN = "an alpaca row has instruction, input, output; a chat has messages"


def read(source: str | Path, *, kind: Kind = "general", split: str = "train") -> list[Row]:
    """Rows of a file, of all .json and .jsonl files under a folder, or of a Hub data set.

    A path that exists is read from disk; otherwise a name like `owner/name` is asked for on the Hub.
    kind:  what rows are that do not say it themselves in a field `kind`.
    split: of a Hub data set only.
    Raises DataError with every problem found, up to ten.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _read_folder(path, kind)
    if path.exists():
        rows, problems = _read_file(path, path.name, kind)
        _refuse(problems)
        return rows
    name = str(source)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")) and path.suffix not in SUFFIXES:
        return read_hub(name, kind=kind, split=split)
    raise DataError(f"Data {name!r} does not exist{_near(path)}.")


def read_pair(train_dir: str | Path, valid_dir: str | Path | None, *, kind: Kind = "general") -> tuple[list[Row], list[Row]]:
    """Training rows and validation rows, each from a folder or a file; the problems of both in one DataError."""
    problems: list[str] = []
    both: list[list[Row]] = [[], []]
    for place, source in enumerate((train_dir, valid_dir)):
        if source is None:
            continue
        try:
            both[place] = read(source, kind=kind)
        except DataError as error:
            problems.extend(str(error).split("\n"))
    _refuse(problems)
    return both[0], both[1]


def read_hub(name: str, *, kind: Kind = "general", split: str = "train") -> list[Row]:
    """Rows of a Hub data set in alpaca or chat form. Needs the package `datasets` and a connection (or its cache)."""
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"Data {name!r} is no file or folder here, and reading it from the Hub needs the package datasets: "
            "install it with `pip install datasets`, or give the path of a local file."
        ) from None
    try:
        found = datasets.load_dataset(name, split=split)
    except Exception as error:  # the Hub client raises many kinds, all of them mean "not to be had"
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(
            f"Data {name!r} is no file or folder here and could not be fetched from the Hub ({reason}): "
            "check the name and the connection, or give the path of a local file."
        ) from error
    rows, problems = _rows(found, name, kind)
    _refuse(problems)
    return rows


def write(rows: Iterable[Row], path: str | Path) -> None:
    """Writes rows as JSONL that `read` gives back: alpaca fields for one question and answer, else messages."""
    with open(path, "w", encoding="utf-8") as out:
        for row in rows:
            if [turn.role for turn in row.turns] == ["user", "assistant"]:
                user, answer = row.turns
                plain: dict[str, Any] = {"instruction": user.content, "input": user.input, "output": answer.content}
            else:
                plain = {"messages": row.as_messages()}
            plain |= {"lang": row.lang, "kind": row.kind, "source": row.source}
            plain |= {"category": row.category} if row.category else {}
            out.write(json.dumps(plain, ensure_ascii=False) + "\n")


def _read_folder(folder: Path, kind: Kind) -> list[Row]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"Folder {str(folder)!r} holds no .json or .jsonl file: put the training data there.")
    rows: list[Row] = []
    problems: list[str] = []
    for path in files:
        more, wrong = _read_file(path, str(path.relative_to(folder)), kind)
        rows += more
        problems += wrong
    _refuse(problems)
    return rows


def _read_file(path: Path, name: str, kind: Kind) -> tuple[list[Row], list[str]]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return [], [f"{name} line {line}: not UTF-8 text; save the file as UTF-8."]
    if not text.strip():
        return [], [f"{name}: the file is empty."]
    if path.suffix == ".jsonl" or (path.suffix != ".json" and text.lstrip()[0] == "{"):
        return _read_lines(text, name, kind)
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip()[0] == "{":
            return _read_lines(text, name, kind)  # JSONL under the name .json, as many sets are published
        return [], [_broken(name, error, 0)]
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        return [], [f"{name}: holds a single {_type(data)}, not a list of rows ({_KNOWN})."]
    return _rows(data, name, kind)


def _read_lines(text: str, name: str, kind: Kind) -> tuple[list[Row], list[str]]:
    items: list[Any] = []
    numbers: list[int] = []
    problems: list[str] = []
    # split("\n") and not splitlines(): a JSON string may hold U+2028 as it is
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            items.append(json.loads(line))
            numbers.append(number)
        except json.JSONDecodeError as error:
            problems.append(_broken(name, error, number - 1))
    rows, wrong = _rows(items, name, kind, numbers)
    return rows, problems + wrong


def _broken(name: str, error: json.JSONDecodeError, lines_before: int) -> str:
    return f"{name} line {lines_before + error.lineno}, column {error.colno}: broken JSON ({error.msg})."


def _rows(items: Iterable[Any], name: str, kind: Kind, lines: list[int] | None = None) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    problems: list[str] = []
    for index, item in enumerate(items):
        where = f"{name} row {index + 1}" + (f" (line {lines[index]})" if lines else "")
        wrong: list[str] = []
        row = _row(item, where, kind, wrong)
        if row is not None and not wrong:
            rows.append(row)
        problems += [f"{where}: {what}." for what in wrong]
    if not rows and not problems:
        problems.append(f"{name}: holds no rows.")
    return rows, problems


def _row(item: Any, where: str, kind: Kind, wrong: list[str]) -> Row | None:
    if not isinstance(item, dict):
        wrong.append(f"is a {_type(item)}, not an object; {_KNOWN}")
        return None
    chat = item.get("messages", item.get("conversations"))
    turns = _chat_turns(chat, wrong) if chat is not None else _alpaca_turns(item, wrong)
    own_kind, lang = item.get("kind") or kind, item.get("lang")
    if own_kind not in ("identity", "general"):
        wrong.append(f"kind is {own_kind!r}, it is identity or general")
    if lang not in ("en", "zh"):
        lang = detect_lang(" ".join(turn.content for turn in turns)) if turns else "en"
    return Row(tuple(turns), str(item.get("source") or where), own_kind, lang, str(item.get("category") or ""))


def _alpaca_turns(item: dict, wrong: list[str]) -> list[Turn]:
    fields = {_SAME_FIELD.get(key, key): value for key, value in item.items()}
    if "instruction" not in fields or "output" not in fields:
        missing = " and ".join(key for key in ("instruction", "output") if key not in fields)
        wrong.append(f"has no {missing}, only {', '.join(map(repr, item)) or 'nothing'}; {_KNOWN}")
        return []
    values = {"instruction": fields["instruction"], "input": fields.get("input"), "output": fields["output"]}
    values["input"] = "" if values["input"] is None else values["input"]
    for key, value in values.items():
        if not isinstance(value, str):
            wrong.append(f"{key} is a {_type(value)}, not text")
    if wrong:
        return []
    if not values["instruction"].strip() and not values["input"].strip():
        wrong.append("instruction and input are both empty")
    return [Turn("user", values["instruction"], values["input"]), Turn("assistant", values["output"])]


def _chat_turns(chat: Any, wrong: list[str]) -> list[Turn]:
    if not isinstance(chat, list) or not chat:
        wrong.append("messages is not a list of {role, content}")
        return []
    turns: list[Turn] = []
    for number, message in enumerate(chat, 1):
        said = message if isinstance(message, dict) else {}
        role = _SAME_ROLE.get(said.get("role", said.get("from")))
        content = said.get("content", said.get("value"))
        extra = said.get("input") or ""
        if role is None:
            wrong.append(f"message {number} has role {said.get('role', said.get('from'))!r}, it is system, user or assistant")
        elif not isinstance(content, str) or not isinstance(extra, str):
            wrong.append(f"message {number} has content that is a {_type(content)}, not text")
        else:
            turns.append(Turn(role, content, extra))
    if wrong:
        return []
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(turn.role == "system" for turn in turns[1:]):
        wrong.append("has a system message that is not the first message")
    if spoken[::2] != ["user"] * len(spoken[::2]) or spoken[1::2] != ["assistant"] * len(spoken[1::2]):
        wrong.append("user and assistant do not take turns, starting with user")
    elif not spoken or spoken[-1] != "assistant":
        wrong.append("does not end with an answer of the assistant")
    return turns


def _refuse(problems: list[str]) -> None:
    if problems:
        more = len(problems) - MOST_PROBLEMS
        raise DataError("\n".join(problems[:MOST_PROBLEMS] + ([f"... and {more} more problems."] if more > 0 else [])))


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (nor does the folder {str(folder)!r})"
    close = difflib.get_close_matches(path.name, _names(folder), n=3, cutoff=0.5)
    return f"; in that folder there is {', '.join(close)}" if close else ""


def _names(folder: Path) -> Iterator[str]:
    return (path.name for path in folder.iterdir() if path.is_dir() or path.suffix in SUFFIXES)


def _type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "text", bool: "true/false", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
