"""The room's files: what is wrong with one that is read is one sentence, and one that is written is whole or not there."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml


def read_text(path: str | Path, what: str, error: type[Exception], encoding_advice: str = "save it as UTF-8") -> str:
    """UTF-8 text, a byte order mark taken off. what: "facts file" and the like; error: what is raised, with one sentence."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise error(f"The {what} {path} cannot be read ({problem.strerror or problem}).") from None
    except UnicodeDecodeError:
        raise error(f"The {what} {path} is not UTF-8 text; {encoding_advice}.") from None


def read_yaml(path: str | Path, what: str, error: type[Exception]) -> Any:
    text = read_text(path, what, error)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as problem:
        line = getattr(getattr(problem, "problem_mark", None), "line", None)
        where = f", line {line + 1}" if line is not None else ""
        raise error(f"The {what} {path}{where} is not valid YAML ({getattr(problem, 'problem', problem)}).") from None


def read_objects(path: str | Path, what: str, error: type[Exception]) -> Iterator[tuple[int, dict]]:
    """(line number, object) of a JSONL file; empty lines are passed over."""
    # only "\n" ends a line: a text may hold other separators that splitlines() knows
    for number, line in enumerate(read_text(path, what, error).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as problem:
            raise error(f"{path}, line {number} is not valid JSON ({problem.msg}); each line is one object.") from None
        if not isinstance(found, dict):
            raise error(f"{path}, line {number} is {type(found).__name__}; each line is one object.")
        yield number, found


def write_text(path: str | Path, text: str) -> Path:
    """The path; its file is either the old one or the new one, never half of it. Folders are made. OSError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)  # mkstemp's own is for the owner alone
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_objects(path: str | Path, rows: Iterable[Mapping]) -> Path:
    """`write_text` of one JSON object a line."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
