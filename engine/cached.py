"""Models that were converted once and kept: known to be whole before they are loaded, made anew when they are not."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

from common import leftovers
from common.files import write_json, write_once
from common.seeming import not_what_it_seems
from engine.types import EngineError

LISTED = "whole.json"  # every file's size and CRC-32, written last
CHUNK = 2**20
ALL = 2**30  # bytes; of a larger file as much is read, spread over it: a few seconds, not the minute that all of it may take


def make_once(target: Path, say: Callable[[str], None], making: str, write: Callable[[Path], object]) -> Path:
    """The folder, filled by `write` unless it is there whole. making: what is said before, "Converting x into y".

    Raises EngineError if a damaged one cannot be removed.
    """
    if (target / "config.json").is_file():
        damage = find_damage(target)
        if not damage:
            return target
        say(f"{damage}; it is made anew.")
    if target.exists():
        try:
            leftovers.put_away(target)
        except OSError as error:
            raise EngineError(f"{target} is damaged and cannot be removed ({error.strerror or error}); delete it.") from error
    say(f"{making}, once, into {target} ...")

    def fill(folder: Path) -> None:
        write(folder)
        write_json(folder / LISTED, {path.name: [path.stat().st_size, crc(path)] for path in sorted(folder.iterdir())})

    return write_once(target, fill)


def find_damage(folder: Path) -> str:
    """What is wrong with a kept model, "" for nothing. What it reads, loading need not read again."""
    try:
        listed = json.loads((folder / LISTED).read_text(encoding="utf-8"))
        for name, (size, checksum) in listed.items():
            path = folder / name
            if path.stat().st_size != size or crc(path) != checksum:
                return f"The kept model in {folder} is damaged ({name} is not as it was written)"
    except FileNotFoundError as error:
        if Path(error.filename).name != LISTED:
            return f"The kept model in {folder} is damaged ({Path(error.filename).name} is missing)"
        return damage_unlisted(folder)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"The kept model in {folder} is damaged ({LISTED}: {error})"
    return ""


def damage_unlisted(folder: Path) -> str:
    """Of one that a version before this kept, as far as headers and syntax show it."""
    for path in sorted(folder.iterdir()):
        what = not_what_it_seems(path)
        if not what and path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                what = f"is no JSON ({error})"
        if what:
            return f"The kept model in {folder} is damaged ({path.name} {what.partition(':')[0]})"
    missing = [name for name in ("tokenizer_config.json",) if not (folder / name).is_file()]
    missing += [] if any(folder.glob("model*.safetensors")) else ["model.safetensors"]
    return f"The kept model in {folder} is damaged ({' and '.join(missing)} missing)" if missing else ""


def crc(path: Path) -> int:
    value, size = 0, path.stat().st_size
    places = range(0, size, CHUNK) if size <= ALL else [size * at // (ALL // CHUNK) for at in range(ALL // CHUNK)]
    with open(path, "rb") as file:
        for at in places:
            file.seek(at)
            value = zlib.crc32(file.read(CHUNK), value)
    return value
