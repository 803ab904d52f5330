"""LLaMA-Factory's dataset_info.json: which file or Hub data set is called how, holds which columns, and how its chats name
their parts. The same renaming serves columns that are mapped by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common.paths import EVERYWHERE, Opened, read_text
from tuning.dataset.rows import DataError
from tuning.dataset.tables import Table

INFO = "dataset_info.json"
MOST = 2**26  # bytes of it; LLaMA-Factory's own has 20 kB
# its names for columns -> ours
COLUMNS = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "system": "system",
    "messages": "messages",
    "tools": "tools",
    "images": "images",
    "videos": "videos",
    "audios": "audios",
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
}
# what by hand may be named, in the order of a form
BY_HAND = ("instruction", "input", "output", "system", "history", "messages")
SHAPES = ("alpaca", "sharegpt", "openai")
# its names for the roles of a chat -> the tags that a file may give them
ROLES = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "system_tag": "system",
    "observation_tag": "tool",
    "function_tag": "tool",
}


@dataclass(frozen=True)
class Described:
    """columns: of the file -> ours. role, content: keys of a message. roles: a message's role -> ours.

    samples: how many rows to draw, 0 for all. only: no other column is read. refused: why it cannot be done here, a sentence.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    role: str = ""
    content: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0
    only: bool = False
    refused: str = ""

    def renamed(self, table: Table) -> Table:
        """The table with its rows under our names, or the reason why they are not to be had."""
        if self.refused:
            return Table(problems=[self.refused])
        return replace(table, items=[self.row(item) if isinstance(item, dict) else item for item in table.items])

    def row(self, item: dict[str, Any]) -> dict[str, Any]:
        # columns are named beforehand: what else is called like one of ours is another thing
        taken = set(self.columns.values())
        found = {
            self.columns.get(key, f"{key} (not a column)" if key in taken or self.only else key): value
            for key, value in item.items()
        }
        if isinstance(found.get("messages"), list):
            found["messages"] = [self.message(one) if isinstance(one, dict) else one for one in found["messages"]]
        return found

    def message(self, said: dict[str, Any]) -> dict[str, Any]:
        names = {self.role: "role", self.content: "content"} if self.role or self.content else {}
        plain = {names.get(key, key): value for key, value in said.items()}
        if plain.get("role") in self.roles:
            plain["role"] = self.roles[plain["role"]]
        return plain


@dataclass(frozen=True)
class Entry:
    """One data set of a dataset_info.json. file: its path in the folder, of a file or a folder; hub: its name on the Hub, with
    the subset and the split that are meant. One of the two is given, or the description is refused."""

    described: Described
    file: str = ""
    hub: str = ""
    subset: str = ""
    split: str = "train"


def by_hand(columns: Mapping[str, str]) -> Described:
    """Columns of a file -> ours, as somebody chose them; no other is read. Raises DataError."""
    for theirs, ours in columns.items():
        if ours not in BY_HAND:
            raise DataError(f"The column {theirs!r} is mapped to {ours!r}; choose one of {', '.join(BY_HAND)}.")
    if twice := [ours for ours in BY_HAND if list(columns.values()).count(ours) > 1]:
        raise DataError(f"Several columns are mapped to {twice[0]!r}; keep one of them.")
    return Described(columns=dict(columns), only=True)


def find_description(path: Path, opened: Opened = EVERYWHERE) -> Described:
    """Of one file: by the dataset_info.json beside it or in the folder above. Raises DataError."""
    for folder in (path.parent, path.parent.parent):
        if own := read_descriptions(folder, opened).get(path.relative_to(folder).as_posix()):
            return own
    return Described()


def read_descriptions(folder: Path, opened: Opened = EVERYWHERE) -> dict[str, Described]:
    """What the folder's dataset_info.json says of its files, by their path in it; empty without one. Raises DataError."""
    found: dict[str, Described] = {}
    for entry in read_entries(folder, opened).values():
        for name in _files_of(folder, entry.file):
            if found.setdefault(name, entry.described) != entry.described:
                raise DataError(f"{INFO} describes {name} twice and differently; keep one of the entries.")
    return found


def read_entries(folder: Path, opened: Opened = EVERYWHERE) -> dict[str, Entry]:
    """The data sets of the folder's dataset_info.json by their names; empty without one. Raises DataError."""
    file = folder / INFO
    if not opened.holds(file) or not file.is_file():
        return {}
    try:
        plain = json.loads(read_text(file, MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{INFO} is not readable as JSON ({error}); mend it or take it out of the folder.") from None
    if not isinstance(plain, dict):
        raise DataError(f"{INFO} is no object of data sets; mend it or take it out of the folder.")
    # `datasets` has a file of this name, too; its entries name no source
    return {name: entry for name, about in plain.items() if isinstance(about, dict) and (entry := _entry(name, about))}


def _entry(name: str, about: Mapping[str, Any]) -> Entry | None:
    named = {
        key: about[key] for key in ("file_name", "hf_hub_url", "script_url") if isinstance(about.get(key), str) and about[key]
    }
    if "file_name" in named:
        file_name = named["file_name"].removeprefix("./")
        if not _is_path(file_name):
            raise DataError(f"{INFO} names the file {file_name[:60]!a}, which can be none; mend it or take the entry out.")
        return Entry(_described(name, about), file=file_name.rstrip("/"))
    if "hf_hub_url" in named:
        subset, split = (str(about.get(key) or "") for key in ("subset", "split"))
        return Entry(_described(name, about), hub=named["hf_hub_url"], subset=subset, split=split or "train")
    if "script_url" in named:
        why = f"{INFO} has {name!r} loaded by a script ({named['script_url']}); program code of a data set is not run here."
        return Entry(Described(refused=why))
    return None


def _files_of(folder: Path, name: str) -> list[str]:
    """The file itself, or the files in the folder that an entry names; none of an entry of the Hub."""
    place = folder / name
    try:
        inside = name and place.is_dir() and place.resolve().is_relative_to(folder.resolve())
    except OSError:  # a name that is too long for any file
        inside = False
    if not inside:
        return [name] if name else []
    return [path.relative_to(folder).as_posix() for path in sorted(place.rglob("*")) if path.is_file()]


def _is_path(text: str) -> bool:
    """Whether a file can be called so: not with a NUL byte or half of a character, which JSON may hold."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _described(name: str, about: Mapping[str, Any]) -> Described:
    if about.get("ranking"):
        return Described(refused=f"{INFO} says of {name!r} that it ranks answers; preferences are not learned here.")
    samples, shape = about.get("num_samples") or 0, about.get("formatting") or SHAPES[0]
    if type(samples) is not int or samples < 0:
        return Described(refused=f"{INFO} asks for num_samples {samples!r} of {name!r}; give a whole number, or take it out.")
    if shape not in SHAPES:
        return Described(refused=f"{INFO} says that {name!r} is formatted as {shape!r}; {', '.join(SHAPES)} are read here.")
    columns, tags = (part if isinstance(part := about.get(key), dict) else {} for key in ("columns", "tags"))
    return Described(
        columns={theirs: COLUMNS[ours] for ours, theirs in columns.items() if ours in COLUMNS and isinstance(theirs, str)},
        role=str(tags.get("role_tag") or ""),
        content=str(tags.get("content_tag") or ""),
        roles={str(tags[key]): role for key, role in ROLES.items() if key in tags},
        samples=samples,
    )
