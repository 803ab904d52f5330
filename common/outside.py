"""What comes from outside - files, requests, paths that somebody typed - is read here: bounded before it is parsed, its types
checked after it, and whatever is wrong said in one sentence: which file or argument, which field, what it is, what is wanted.

Every function takes the type of error that its caller's room has for people.
"""

from __future__ import annotations

import math
import os
import reprlib
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydantic_core
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from common import paths

LARGEST = 4 * 2**20  # bytes of one JSON text; the longest card of a training has some 50 kB
LARGEST_YAML = 512 * 1024  # its parser takes a second for as much
DEPTH = 64  # lists and objects in one another; what we write has five
NODES = 100_000  # of YAML with every alias written out
INT64 = 2**63  # larger whole numbers fit into no database and no browser
LONGEST_PATH = 4096  # bytes, Linux's PATH_MAX
SAID = 6  # faults that are told one by one
WANTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "an object",
    "model_type": "an object",
    "list_type": "a list",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "one of {expected}",
}

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 60
_brief.maxlevel = 3


class Shape(BaseModel):
    """A base for what something has to look like: types as they stand, no text for a number; further fields are let be."""

    model_config = ConfigDict(strict=True, extra="allow")


# --- reading


def read_bytes(path: str | Path, error: type[Exception], largest: int = LARGEST) -> bytes:
    """A plain file of at most `largest` bytes: no device, no pipe, nothing that never ends."""
    found = None
    if odd := paths.why_no_file(path):
        raise error(f"{display_name(path)} {odd}.")
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                found = file.read(largest + 1)
    except (OSError, ValueError) as problem:
        raise error(f"{display_name(path)} cannot be read ({getattr(problem, 'strerror', None) or problem}).") from None
    if found is None:
        raise error(f"{display_name(path)} is no plain file; give the file itself.")
    if len(found) > largest:
        raise error(f"{display_name(path)} has more than {size(largest)}, too much for such a file; is it the right one?")
    return found


def read_json(path: str | Path, error: type[Exception], *, gaps: bool = False, largest: int = LARGEST) -> Any:
    """`from_json` of a file."""
    return from_json(read_bytes(path, error, largest), display_name(path), error, gaps=gaps, largest=largest)


def from_json(
    raw: str | bytes, where: str, error: type[Exception], *, gaps: bool = False, largest: int = LARGEST,
    broken: str = "is not readable as JSON",
) -> Any:  # fmt: skip
    """Plain data in which every number is finite and has at most 64 bits, nested no deeper than DEPTH.

    where: what it is, the beginning of every sentence. gaps: NaN and infinity, which our own files may hold, become None; else
    they are refused.
    """
    raw = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw.removeprefix(b"\xef\xbb\xbf")
    if len(raw) > largest:
        raise error(f"{where} has more than {size(largest)}; that is too much at once.")
    try:
        plain = pydantic_core.from_json(raw, allow_inf_nan=True)
    except ValueError as problem:  # also of text that is no UTF-8
        if "recursion" in str(problem):  # the parser's own bound is 200
            raise error(f"{where} is nested more than {DEPTH} deep; nothing that is read here is.") from None
        raise error(f"{where} {broken}: {problem}.") from None
    return check_bounds(plain, where, error, gaps)


def check_bounds(plain: Any, where: str, error: type[Exception], gaps: bool = False, depth: int = 0) -> Any:
    """Plain data that another parser has read, held to what `from_json` promises."""
    if depth > DEPTH:
        raise error(f"{where} is nested more than {DEPTH} deep; nothing that is read here is.")
    if isinstance(plain, list):
        return [check_bounds(item, where, error, gaps, depth + 1) for item in plain]
    if isinstance(plain, dict):
        return {key: check_bounds(value, where, error, gaps, depth + 1) for key, value in plain.items()}
    if isinstance(plain, float) and not math.isfinite(plain):
        if gaps:
            return None
        raise error(f"{where} holds {plain}, which is no finite number.")
    if isinstance(plain, int) and not -INT64 <= plain < INT64:
        raise error(f"{where} holds a whole number of more than 64 bits; nothing here is counted so far.")
    return plain


def from_yaml(
    text: str, where: str, error: type[Exception], loader: type = yaml.SafeLoader,
    look: Callable[[yaml.Node], object] | None = None, broken: str = " is not valid YAML",
) -> Any:  # fmt: skip
    """Plain data of YAML; aliases are followed as long as they stay small: a few hundred bytes can name themselves for ever.

    look: is shown the whole, bounded, before it becomes plain data.
    """
    if len(text) > LARGEST_YAML:
        raise error(f"{where} has more than {size(LARGEST_YAML)}; that is too much for such a file.")
    try:
        reading = loader(text)
        try:
            node = reading.get_single_node()
            if node is None:
                return None
            _written_out(node, where, error, broken)
            if look:
                look(node)
            return reading.construct_document(node)
        finally:
            reading.dispose()
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise error(f"{where}{line}{broken} ({problem.problem or problem.context}).") from None
    except yaml.YAMLError as problem:
        raise error(f"{where}{broken} ({' '.join(str(problem).split())}).") from None
    except RecursionError:
        raise error(f"{where} is nested too deep; nothing that is read here is.") from None
    except (ValueError, OverflowError) as problem:  # a date of the 99th, a number of 5,000 digits
        if isinstance(problem, error):
            raise
        raise error(f"{where} holds a value that is none ({problem}); put it in quotes if it is a text.") from None


def _written_out(node: yaml.Node, where: str, error: type[Exception], broken: str) -> None:
    """Raises `error` for what would be endless, too deep or too much with every alias written out."""
    counted: dict[int, int] = {}
    under_way: set[int] = set()

    def count(one: yaml.Node, depth: int) -> int:
        if id(one) in under_way:
            raise error(f"{where}, line {one.start_mark.line + 1}{broken} (an alias makes it contain itself).")
        if depth > DEPTH:
            raise error(f"{where} is nested more than {DEPTH} deep; nothing that is read here is.")
        if id(one) not in counted:
            under_way.add(id(one))
            counted[id(one)] = 1 + sum(count(part, depth + 1) for part in _parts(one))
            under_way.discard(id(one))
        if counted[id(one)] > NODES:
            raise error(f"{where} becomes more than {NODES:,} values once its aliases are written out; write out what is meant.")
        return counted[id(one)]

    count(node, 0)


def _parts(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


# --- checking


def faults(shape: type[BaseModel] | TypeAdapter, plain: Any, root: str = "") -> dict[str, str]:
    """What is wrong with plain data, by field: `losses.first` -> "is 'low', a number is needed". root: the data's own name."""
    try:
        (shape if isinstance(shape, TypeAdapter) else TypeAdapter(shape)).validate_python(plain)
    except ValidationError as problem:
        found: dict[str, str] = {}
        for one in problem.errors(include_url=False):
            place = ".".join(filter(None, (root, *map(str, one["loc"]))))
            found.setdefault(place, _wrong(one))
        return found
    return {}


def check(shape: type[BaseModel] | TypeAdapter, plain: Any, where: str, error: type[Exception], advice: str = "") -> None:
    """Raises `error`, one sentence with all that is wrong. advice: what to do about it, the sentence's end."""
    if wrong := faults(shape, plain):
        raise error(f"{where}: {describe_faults(wrong)}{f'; {advice}' if advice else ''}.")


def describe_faults(wrong: Mapping[str, str]) -> str:
    """`faults` as a part of a sentence."""
    told = [f"{field or 'it'} {what}" for field, what in list(wrong.items())[:SAID]]
    more = f"; and {len(wrong) - SAID} more" if len(wrong) > SAID else ""
    return "; ".join(told) + more


def abbreviate(value: object) -> str:
    """A value in a sentence, whatever it is and however long."""
    return whole_characters(_brief.repr(value))


def _wrong(one: Mapping[str, Any]) -> str:
    kind, about = one["type"], one.get("ctx") or {}
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not known"
    if kind in ("string_too_long", "too_long"):
        return f"is too long, at most {about['max_length']} are taken"
    wanted = str(about["error"]) if kind == "value_error" else WANTED.get(kind, "").format(**about)
    return f"is {abbreviate(one['input'])}, {wanted} is needed" if wanted else f"is {abbreviate(one['input'])} ({one['msg']})"


# --- paths


def typed_path(text: str | Path, error: type[Exception]) -> Path:
    """The path that somebody typed, ~ written out. Raises `error` for one that no file can have, or that leads nowhere."""
    told = str(text).strip()
    if not told:
        raise error("No path is given; type one.")
    if "\0" in told:
        raise error(f"{abbreviate(told)} holds a NUL byte, which no path has; type it again.")
    parts = os.fsencode(told).split(b"/") if is_encodable(told) else []
    if not parts:
        raise error(f"{abbreviate(told)} holds half of a character, which no path has; type it again.")
    if len(os.fsencode(told)) > LONGEST_PATH or max(map(len, parts)) > 255:
        raise error(f"{abbreviate(told)} is too long for a path; type it again.")
    try:
        path = Path(told).expanduser()
        path.resolve()
    except (OSError, RuntimeError, ValueError) as problem:  # a loop of links, a home that is not known
        why = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
        raise error(f"{abbreviate(told)} is no path that can be followed ({why}); type another.") from None
    return path


def is_encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def place_key(path: str | Path) -> str:
    """A key by which two paths are known to lead to one place; never an error, whatever the path is."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def display_name(path: str | Path) -> str:
    """A path or name of a file as a page can show it: a name that is no UTF-8 would stop the whole page."""
    return whole_characters(str(path))


def whole_characters(text: str) -> str:
    """The text with U+FFFD for what no UTF-8 can hold: halves of a surrogate pair, and the bytes of a file's name."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def size(number: int) -> str:
    return f"{number >> 20} MB" if number >= 2**20 else f"{number >> 10} kB"


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that nobody writes to would be waited for for ever
