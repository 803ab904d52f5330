"""Files that people bring, read: whatever is wrong with one is one sentence."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import outside, paths
from common.seeming import not_what_it_seems


class TwiceError(ValueError):
    """An object has the same key twice; only one of the two could be kept."""


def object_from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """`object_pairs_hook` of json: the object. TwiceError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise TwiceError(f"{next(key for key in keys if keys.count(key) > 1)!r} stands twice in one object")
    return found


def read_text(
    path: str | Path, what: str, error: type[Exception], encoding_advice: str = "save it as UTF-8", *, utf16: bool = False
) -> str:
    """UTF-8 text, a byte order mark taken off. what: "facts file" and the like; error: what is raised, with one sentence.

    A .gz is unpacked. utf16: with its mark, as spreadsheets write "Unicode text", is read as well. Line ends stay as they are.
    """
    if odd := not_what_it_seems(Path(path)):
        raise error(f"The {what} {path} {odd}.")
    try:
        found = paths.read_unpacked(path)
        if utf16 and found.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return found.decode("utf-16")
        return found.decode("utf-8-sig")
    except OSError as problem:
        raise error(f"The {what} {path} cannot be read ({problem.strerror or problem}).") from None
    except UnicodeDecodeError:
        guess = " (GBK?)" if _looks_like_gbk(found) else ""
        raise error(f"The {what} {path} is not UTF-8 text{guess}; {encoding_advice}.") from None


def _looks_like_gbk(found: bytes) -> bool:
    try:
        return bool(re.search("[\u4e00-\u9fff]", found.decode("gb18030")))
    except UnicodeDecodeError:
        return False


def read_yaml(path: str | Path, what: str, error: type[Exception]) -> Any:
    text = read_text(path, what, error)
    return outside.from_yaml(text, f"The {what} {path}", error)


def read_objects(path: str | Path, what: str, error: type[Exception]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSONL file; empty lines are passed over. A list of objects under that name is read as well."""
    text = read_text(path, what, error)
    if text.lstrip().startswith("["):
        yield from _listed(path, text, error)
        return
    # only "\n" ends a line: a text may hold other separators that splitlines() knows
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line, object_pairs_hook=object_from_pairs)
        except json.JSONDecodeError as problem:
            raise error(f"{path}, line {number} is not valid JSON ({problem.msg}); each line is one object.") from None
        except (ValueError, RecursionError) as problem:  # a key that stands twice, a number of 5,000 digits
            raise error(f"{path}, line {number} cannot be read ({problem}).") from None
        if not isinstance(found, dict):
            raise error(f"{path}, line {number} is {type(found).__name__}; each line is one object.")
        yield number, outside.check_bounds(found, f"{path}, line {number}", error, gaps=True)


def _listed(path: str | Path, text: str, error: type[Exception]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list with the line that each begins in."""
    decoder, at, number, counted = json.JSONDecoder(object_pairs_hook=object_from_pairs), text.index("[") + 1, 1, 0
    try:
        while not (end := re.compile(r"\s*\]\s*").match(text, at)):
            if blank := re.compile(r"\s*").match(text, at):  # as ever: it may be empty
                at = blank.end()
            number, counted = number + text.count("\n", counted, at), at
            found, at = decoder.raw_decode(text, at)
            if not isinstance(found, dict):
                raise error(f"{path}, line {number} is {type(found).__name__}, not an object.")
            yield number, outside.check_bounds(found, f"{path}, line {number}", error, gaps=True)
            if not (more := re.compile(r"\s*(,|(?=\]))").match(text, at)):
                raise json.JSONDecodeError("a comma or the end of the list is missing", text, at)
            at = more.end()
        if end.end() < len(text):
            raise json.JSONDecodeError("something stands after the list", text, end.end())
    except json.JSONDecodeError as problem:
        raise error(f"{path}, line {problem.lineno} is not valid JSON ({problem.msg}).") from None
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, error):
            raise
        raise error(f"{path}, line {number} cannot be read ({problem}).") from None
