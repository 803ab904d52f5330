"""LLaMA-Factory's dataset_info.json: which file holds which columns, and how its chats name their parts."""

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
    "chosen": "chosen",
    "rejected": "rejected",
    "kto_tag": "kto_tag",
}
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

    refused: what it asks for that cannot be done here, a sentence.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    role: str = ""
    content: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""

    def renamed(self, table: Table) -> Table:
        """The table with its rows under our names, or the reason why they are not to be had."""
        if self.refused:
            return Table(problems=[self.refused])
        return replace(table, items=[self.row(item) if isinstance(item, dict) else item for item in table.items])

    def row(self, item: dict[str, Any]) -> dict[str, Any]:
        # columns are named beforehand: what else is called like one of ours is another thing
        taken = set(self.columns.values())
        found = {self.columns.get(key, f"{key} (not a column)" if key in taken else key): value for key, value in item.items()}
        if isinstance(found.get("messages"), list):
            found["messages"] = [self.message(one) if isinstance(one, dict) else one for one in found["messages"]]
        return found

    def message(self, said: dict[str, Any]) -> dict[str, Any]:
        names = {self.role: "role", self.content: "content"} if self.role or self.content else {}
        plain = {names.get(key, key): value for key, value in said.items()}
        if plain.get("role") in self.roles:
            plain["role"] = self.roles[plain["role"]]
        return plain


def find_description(path: Path, opened: Opened = EVERYWHERE) -> Described:
    """Of one file: by the dataset_info.json beside it or in the folder above. Raises DataError."""
    for folder in (path.parent, path.parent.parent):
        if own := read_descriptions(folder, opened).get(path.relative_to(folder).as_posix()):
            return own
    return Described()


def read_descriptions(folder: Path, opened: Opened = EVERYWHERE) -> dict[str, Described]:
    """What the folder's dataset_info.json says of its files, by their path in it; empty without one. Raises DataError."""
    file = folder / INFO
    if not opened.holds(file) or not file.is_file():
        return {}
    try:
        plain = json.loads(read_text(file, MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{INFO} is not readable as JSON ({error}); mend it or take it out of the folder.") from None
    if not isinstance(plain, dict):
        raise DataError(f"{INFO} is no object of data sets; mend it or take it out of the folder.")
    found: dict[str, Described] = {}
    for name, about in plain.items():
        # `datasets` has a file of this name, too; its entries name no file
        if isinstance(about, dict) and isinstance(about.get("file_name"), str):
            file_name, own = about["file_name"].removeprefix("./"), _described(name, about)
            if not _is_path(file_name):
                raise DataError(f"{INFO} names the file {file_name[:60]!a}, which can be none; mend it or take the entry out.")
            if found.setdefault(file_name, own) != own:
                raise DataError(f"{INFO} describes {file_name} twice and differently; keep one of the entries.")
    return found


def _is_path(text: str) -> bool:
    """Whether a file can be called so: not with a NUL byte or half of a character, which JSON may hold."""
    try:
        return bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _described(name: str, about: Mapping[str, Any]) -> Described:
    if about.get("ranking"):
        return Described(refused=f"{INFO} says of {name!r} that it ranks answers; preferences are not learned here.")
    if about.get("num_samples"):
        asked = f"{INFO} asks for num_samples {about['num_samples']} of {name!r}"
        return Described(refused=f"{asked}; rows are not drawn here: take it out, or keep that many in the file.")
    columns, tags = (part if isinstance(part := about.get(name), dict) else {} for name in ("columns", "tags"))
    return Described(
        columns={theirs: COLUMNS[ours] for ours, theirs in columns.items() if ours in COLUMNS and isinstance(theirs, str)},
        role=str(tags.get("role_tag") or ""),
        content=str(tags.get("content_tag") or ""),
        roles={str(tags[key]): role for key, role in ROLES.items() if key in tags},
    )
