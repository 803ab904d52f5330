"""Identity files: NAME.txt, the prompt, and NAME.yaml, the facts.

The first line of NAME.txt is the prompt; the two characters `\\n` inside it mean a newline; later lines are ignored.
An empty first line means no prompt at all. NAME-zh.txt, without a NAME-zh.yaml of its own, is the Chinese wording of
NAME and shares NAME.yaml: the facts hold both languages anyway. NAME.yaml alone is an identity without a prompt.

A file model_identity.txt in the folder where the program was started is one more identity, `model_identity`: it is edited
there, read anew each time, and given as a first turn. Its facts lie with the others.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.files import copy, write_text, write_together
from identities.facts import Facts, IdentityError, read_facts, read_text, to_yaml
from identities.order import natural_key

FOLDER = Path(__file__).parent
NONE = "none"
CHINESE = "-zh"
OWN = "model_identity"
OWN_FILE = Path("model_identity.txt")  # of the working folder
# CJK: the unified ideographs, their extension A, the compatibility block, and the ideographic zero
_NAME = re.compile(r"[A-Za-z0-9_\-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]{1,64}")
# file names Windows keeps for devices, whatever their ending
_DEVICE = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]", re.IGNORECASE)


@dataclass(frozen=True)
class Identity:
    """Who a model can be told to be.

    prompt:  the first line with real newlines, None if it is empty.
    ignored: the text after the first line, "" if there is none: an editor warns about it.
    path:    the file; for `none` it need not exist.
    """

    name: str
    prompt: str | None
    ignored: str
    facts: Facts | None
    path: Path

    @property
    def hash(self) -> str:
        """Twelve hex digits of SHA-256 over the prompt, as nothing else of an identity reaches the model."""
        return hashlib.sha256((self.prompt or "").encode()).hexdigest()[:12]

    @property
    def text(self) -> str:
        """What stands in the file, for an editor."""
        return to_line(self.prompt or "") + ("\n" + self.ignored if self.ignored else "")


def check_name(name: str) -> str:
    """`name` itself if it is plain, else IdentityError: never a path, never a file name with a meaning of its own."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise IdentityError(
            f"{_shortened(name)} is no name for an identity: use letters, digits, - and _ or Chinese characters, 1 to 64 of them."
        )
    if _DEVICE.fullmatch(name):
        raise IdentityError(f"{name!r} is no name for an identity, because Windows keeps it for a device; choose another.")
    return name


def names(folder: str | Path | None = None) -> list[str]:
    """Every identity of the folder: `none` first, it is always there, then by name."""
    there = [path for ending in ("*.txt", "*.yaml") for path in _folder(folder).glob(ending)]
    found = {path.stem for path in there if _NAME.fullmatch(path.stem)} | ({OWN} if own_file() else set())
    return [NONE, *sorted(found - {NONE}, key=natural_key)]


def own_file() -> Path | None:
    """model_identity.txt of the working folder, if there is one."""
    return OWN_FILE.absolute() if OWN_FILE.is_file() else None


def usual_mode(name: str) -> Literal["system", "first_turn"]:
    """How an identity is given where nobody says it: a file of one's own as a first turn, as where it comes from."""
    return "first_turn" if name == OWN else "system"


def with_prompt(folder: str | Path | None = None) -> list[str]:
    """The identities that a model can be told to be; one that cannot be read is among them, for whoever picks it is told why."""
    return [name for name in names(folder) if name != NONE and not _has_no_prompt(name, folder)]


def _has_no_prompt(name: str, folder: str | Path | None) -> bool:
    try:
        return load(name, folder).prompt is None
    except IdentityError:
        return False


def load(name: str, folder: str | Path | None = None) -> Identity:
    """The identity of that name, read anew each time. IdentityError if there is none or a file of its is faulty."""
    path = text_path(name, folder)
    facts = facts_path(name, folder)
    if not path.exists() and name != NONE and not _path(name, folder).with_suffix(".yaml").exists():
        raise IdentityError(f"There is no identity {name!r} in {path.parent}; there are {', '.join(names(folder))}.")
    first, _, rest = read_text(path).partition("\n") if path.exists() else ("", "", "")
    first = first.strip() if path == own_file() else first  # as the work does it that the file comes from
    return Identity(
        name=name,
        prompt=from_line(first) if first.strip() else None,
        ignored=rest.strip(),
        facts=read_facts(facts) if facts else None,
        path=path,
    )


def text_path(name: str, folder: str | Path | None = None) -> Path:
    """Where the prompt of `name` stands, or would."""
    own = own_file() if name == OWN else None
    return own or _path(name, folder)


def facts_path(name: str, folder: str | Path | None = None) -> Path | None:
    """The YAML file that speaks for `name`: its own, else for NAME-zh that of NAME, else None."""
    own = _path(name, folder).with_suffix(".yaml")
    shared = own.with_name(name.removesuffix(CHINESE) + ".yaml")
    return next((path for path in (own, shared) if path.exists()), None)


def from_line(line: str) -> str:
    """A prompt as it stands in its file -> as the model reads it."""
    return line.replace("\\n", "\n")


def to_line(prompt: str) -> str:
    """A prompt with real newlines -> the one line its file holds."""
    return prompt.replace("\r\n", "\n").replace("\n", "\\n")


def save(name: str, text: str, folder: str | Path | None = None) -> Identity:
    """Write `text` (the file's text: the first line is the prompt) to NAME.txt, whole or not at all."""
    write_text(text_path(name, folder), _checked(name, text))
    return load(name, folder)


def save_whole(name: str, text: str, facts: Facts | None, folder: str | Path | None = None) -> Identity:
    """`save`, with the facts: both files or neither. Facts that are as they were leave their file as it is, comments and all;
    without any, the file goes. NAME-zh that shares the facts of NAME changes those."""
    if name == NONE:
        raise IdentityError("The identity 'none' is the one without prompt and facts; save this one under another name.")
    path = text_path(name, folder)
    files: dict[Path, str | None] = {path: _checked(name, text)} if text.strip() or path.exists() or not facts else {}
    place = facts_path(name, folder)
    if facts != (read_facts(place) if place else None):
        files[place or _path(name, folder).with_suffix(".yaml")] = to_yaml(facts, f"{name}.yaml") if facts else None
    write_together(files)
    return load(name, folder)


def _checked(name: str, text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    if name == NONE and text.strip():
        raise IdentityError("The identity 'none' is the one without a prompt; save this one under another name.")
    return text + "\n"


def create(name: str, text: str, folder: str | Path | None = None) -> Identity:
    """As `save`, but refuses a name that is taken."""
    _refuse_taken(name, folder)
    return save(name, text, folder)


def rename(old: str, new: str, folder: str | Path | None = None) -> Identity:
    """NAME.txt and NAME.yaml move together; a Chinese wording that shared the facts keeps a copy of them."""
    path = _existing(old, folder, "renamed")
    check_name(new)
    if new.casefold() != old.casefold():
        _refuse_taken(new, folder)
    if new == old:
        return load(old, folder)
    source, target = _path(old, folder).with_suffix(".yaml"), _path(new, folder).with_suffix(".yaml")
    shared = facts_path(old, folder)
    _leave_facts_to_chinese(old, folder)
    # the facts first: until the text has moved it is the old identity, whole, and from then on the new one
    if source.exists():
        copy(source, target)
    elif shared and facts_path(new, folder) != shared:
        copy(shared, target)
    try:
        if path.exists():
            os.replace(path, target.with_suffix(".txt"))
    except OSError:
        if new.casefold() != old.casefold():
            target.unlink(missing_ok=True)
        raise
    if source.exists() and not (target.exists() and source.samefile(target)):
        source.unlink()
    return load(new, folder)


def delete(name: str, folder: str | Path | None = None) -> None:
    """Remove NAME.txt and NAME.yaml; a Chinese wording that shared the facts keeps a copy of them."""
    path = _existing(name, folder, "deleted")
    _leave_facts_to_chinese(name, folder)
    path.unlink(missing_ok=True)
    path.with_suffix(".yaml").unlink(missing_ok=True)


def _folder(folder: str | Path | None) -> Path:
    return Path(folder) if folder is not None else FOLDER


def _path(name: str, folder: str | Path | None) -> Path:
    return _folder(folder) / f"{check_name(name)}.txt"


def _existing(name: str, folder: str | Path | None, done: str) -> Path:
    path = _path(name, folder)
    if name == NONE:
        raise IdentityError(f"The identity 'none' is always there and cannot be {done}.")
    if name == OWN and (own := own_file()):
        raise IdentityError(f"{name!r} is the file {own}, which can be edited here but not {done}; do that in its folder.")
    if not path.exists() and not path.with_suffix(".yaml").exists():
        raise IdentityError(f"There is no identity {name!r} in {path.parent}, so it cannot be {done}.")
    return path


def _refuse_taken(name: str, folder: str | Path | None) -> None:
    check_name(name)
    # regardless of case, because two such files cannot lie side by side on every machine
    taken = next((other for other in names(folder) if other.casefold() == name.casefold()), None)
    if taken:
        raise IdentityError(f"There is already an identity {taken!r}; choose another name, or edit that one.")
    if _path(name, folder).with_suffix(".yaml").exists():
        raise IdentityError(f"There is already a file {name}.yaml, left by another identity; choose another name, or move it.")


def _leave_facts_to_chinese(name: str, folder: str | Path | None) -> None:
    own, twin = _path(name, folder).with_suffix(".yaml"), _folder(folder) / f"{name}{CHINESE}.txt"
    if own.exists() and twin.exists() and not twin.with_suffix(".yaml").exists():
        copy(own, twin.with_suffix(".yaml"))


def _shortened(name: object) -> str:
    said = repr(name)
    return said if len(said) <= 80 else said[:79] + "…"
