"""Files and folders that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from common import leftovers, paths
from common.space import room_for


@contextmanager
def atomic_file(path: str | Path, binary: bool = False, sync: bool = True) -> Iterator[IO[Any]]:
    """A file to write into, UTF-8 with the newlines it is given; it takes its place when the block ends without an error.

    Until then, and after an error, an earlier file of this name stays as it was. Folders are made. sync: it also survives the
    machine going down. DiskFull or another OSError.
    """
    path = Path(path)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # the file changes, and the link stays
    if odd := paths.why_no_file(path):  # the new file would take the place of the device
        raise OSError(errno.EINVAL, f"it {odd}", str(path))
    with room_for(str(path), path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = leftovers.new_file(path.parent)
        try:
            with os.fdopen(handle, "wb") if binary else os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                yield file
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            # its own mode is for the owner alone
            os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_text(path: str | Path, text: str, sync: bool = True) -> Path:
    """The path; its file is either the old one or the new one, never half of it. See `atomic_file`."""
    with atomic_file(path, sync=sync) as file:
        file.write(text)
    return Path(path)


def write_json(path: str | Path, plain: Any, sync: bool = True) -> Path:
    return write_text(path, json.dumps(plain, indent=1, ensure_ascii=False, default=str) + "\n", sync)


def write_objects(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """`write_text` of one JSON object a line."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_together(texts: Mapping[Path, str | None]) -> None:
    """Several files as one: all stand ready on the disk before the first takes its place, and where one then cannot, those that
    had are put back. None: the file goes. Only the machine going down between two renames leaves some of them new.

    DiskFull or another OSError, and then everything is as it was.
    """
    places = {Path(os.path.realpath(path)): text for path, text in texts.items()}
    before = {path: path.read_bytes() if path.exists() else None for path in places}
    ready: dict[Path, Path] = {}
    done: list[Path] = []
    try:
        for path, text in places.items():
            if text is not None:
                handle, ready[path] = leftovers.new_file(path.parent)
                os.close(handle)
                write_text(ready[path], text)
                os.chmod(ready[path], path.stat().st_mode & 0o777 if path.exists() else 0o644)
        for path in places:
            done.append(path)
            if path in ready:
                os.replace(ready[path], path)
            else:
                path.unlink(missing_ok=True)
    except BaseException:
        for path in done:
            _put_back(path, before[path])
        raise
    finally:
        for temporary in ready.values():
            temporary.unlink(missing_ok=True)


def _put_back(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_bytes() != content:
        with atomic_file(path, binary=True) as file:
            file.write(content)


def copy(source: str | Path, target: str | Path) -> Path:
    with atomic_file(target, binary=True) as out, open(source, "rb") as file:
        shutil.copyfileobj(file, out)
    return Path(target)


def write_once(target: Path, write: Callable[[Path], object]) -> Path:
    """Fill `target` through a temporary folder beside it, so that it is there whole or not at all.

    Two processes may do this at once; the one that renames second throws its copy away. DiskFull or another OSError.
    """
    with room_for(str(target), target):
        target.parent.mkdir(parents=True, exist_ok=True)
        leftovers.sweep([target.parent])  # half a model of a merge that was killed, for instance
        temporary = leftovers.new_folder(target.parent)
        try:
            write(temporary)
            temporary.chmod(0o755)  # its own mode is for the owner alone
            settle_on_disk(temporary)
            try:
                os.replace(temporary, target)
            except OSError:
                if not target.is_dir():
                    raise
        finally:
            leftovers.remove(temporary)
    return target


def settle_on_disk(folder: Path) -> None:
    """Returns when its files would survive the machine going down: a name that does and contents that do not are damage."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def replace_folder(target: Path, write: Callable[[Path], object]) -> Path:
    """As `write_once`, in place of what is there. A program killed at the wrong moment leaves the earlier one as NAME.before."""
    if not target.exists():
        return write_once(target, write)
    leftovers.remove(target.with_name(f"{target.name}.before"))  # of a program that was killed
    fresh, before = write_once(target.with_name(f"{leftovers.prefix()}new"), write), target.with_name(f"{target.name}.before")
    os.replace(target, before)
    try:
        os.replace(fresh, target)
    except OSError:
        os.replace(before, target)
        leftovers.remove(fresh)
        raise
    leftovers.remove(before)
    return target
