"""The folders in which adapters lie, and bringing what is found there into the bank. No Gradio."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from engine.packaged import BAYLING_MINI
from engine.types import EngineError
from identities import natural
from store import jobs as stored
from ui.house import House, sentence

CONFIG = "adapter_config.json"
CARD = "card.json"
NAME = re.compile(r"[\w][\w.-]{0,79}")
PASSING = re.compile(r"checkpoint-\d+$|\.")


def folders(shelves: tuple[Path, ...]) -> list[Path]:
    """Every adapter folder on the shelves, one or two levels deep (a run keeps its checkpoints one level further)."""
    found = [config.parent for shelf in shelves for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}") for config in shelf.glob(pattern)]
    # a run that is under way has only checkpoints, and what is being written begins with a dot
    outer = {folder for folder in found if not PASSING.match(folder.name)}
    return sorted((folder for folder in outer if folder.parent not in outer), key=natural)


def rescan(house: House) -> list[str]:
    """Loads what is new on the shelves and forgets old refusals; the names that were added."""
    loaded = {Path(info.path).resolve() for info in house.engine.adapters.values()}
    house.refused.clear()
    new = [folder for folder in folders(house.adapters) if folder.resolve() not in loaded and not in_base(house, folder)]
    return [name for folder in new if (name := add(house, folder))]


def in_base(house: House, folder: Path) -> bool:
    """Whether this is the starter adapter that the loaded base was made with: nothing to load, and nothing to complain of."""
    return house.base_spec == BAYLING_MINI.name and folder.resolve() == BAYLING_MINI.resolve()


def add(house: House, folder: str | Path) -> str | None:
    """Loads one folder; None if it was refused, and `house.refused` then says why."""
    folder = Path(str(folder).strip()).expanduser()
    key = str(folder)
    house.refused.pop(key, None)
    try:
        if any(Path(info.path).resolve() == folder.resolve() for info in house.engine.adapters.values()):
            raise EngineError(f"The adapter in {folder} is loaded already.")
        folder = inside(house, folder)
        return house.engine.add_adapter(folder, free_name(house, folder), accept_other_base=house.accept_other_base)
    except Exception as error:
        house.refused[key] = sentence("en", error)
        return None


def inside(house: House, folder: str | Path) -> Path:
    """The folder, if it and every file in it lie where the page may read, wherever links lead. Raises EngineError."""
    place = house.opened.place(folder, EngineError, "The adapter's folder")
    for file in sorted(place.iterdir()) if place.is_dir() else ():
        house.opened.place(file, EngineError, "The adapter's file")
    return place


def loaded(house: House, folder: str | Path) -> str:
    """The name under which a folder's adapter can be picked; loads it if need be. Raises EngineError if it is refused."""
    here = Path(folder).resolve()
    for name, info in house.engine.adapters.items():
        if Path(info.path).resolve() == here:
            return name
    if name := add(house, folder):
        return name
    raise EngineError(house.refused[str(folder)])


def is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / CONFIG).is_file()


def free_name(house: House, folder: Path) -> str:
    """The folder's name, or with its parent's before it where another adapter has that name already."""
    name = folder.resolve().name
    return name if name not in house.engine.adapters else f"{folder.resolve().parent.name}-{name}"


def listing(house: House) -> list[dict]:
    """Every loaded adapter, then every refused folder, as plain data."""
    loaded = [
        {
            "name": info.name,
            "loaded": True,
            "folder": info.path,  # not "path": gradio_client takes an object with one for a file to fetch
            "hash": info.hash,
            "rank": info.rank,
            "targets": list(info.targets),
            "parameters": info.parameters,
            "format": info.format,
            "card": info.card,
            "size": weights_size(info.path),
            "problem": None,
        }
        for info in sorted(house.engine.adapters.values(), key=lambda info: natural(info.name))
    ]
    return loaded + [{"name": Path(path).name, "folder": path, "problem": why} for path, why in house.refused.items()]


def resting(house: House) -> list[Path]:
    """Folders on the shelves whose adapters are neither loaded nor refused: taken out, or made since the last look."""
    known = {Path(info.path).resolve() for info in house.engine.adapters.values()}
    known |= {Path(folder).resolve() for folder in house.refused}
    return [folder for folder in folders(house.adapters) if folder.resolve() not in known and not in_base(house, folder)]


def folder_of(house: House, name: str) -> Path:
    """Where an adapter that the page lists lies, loaded or not. Raises EngineError."""
    if name in house.engine.adapters:
        return Path(house.engine.adapters[name].path)
    for folder in (*resting(house), *map(Path, house.refused)):
        if folder.name == name:
            return folder
    raise EngineError(f"There is no adapter {name!r} any more; rescan the folders.")


def read_card(folder: str | Path) -> dict:
    """What an adapter's card says; empty if it has none that can be read."""
    try:
        card = json.loads((Path(folder) / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def weights_size(folder: str | Path) -> int:
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in Path(folder).glob(pattern))


def rename(house: House, name: str, wanted: str) -> str:
    """Gives an adapter and its folder another name. Raises EngineError."""
    wanted = wanted.strip()
    folder = movable(house, name)
    if not NAME.fullmatch(wanted):
        raise EngineError(f"{wanted!r} is no name for an adapter; use letters, digits, dots, - and _, at most 80.")
    target = folder.with_name(wanted)
    if target.exists() or wanted in house.engine.adapters:
        raise EngineError(f"There is an adapter called {wanted} already; choose another name.")
    was_loaded = name in house.engine.adapters
    folder.rename(target)
    if card := read_card(target):
        text = json.dumps(card | {"name": wanted}, indent=1, ensure_ascii=False)
        (target / CARD).write_text(text + "\n", encoding="utf-8")
    house.refused.pop(str(folder), None)
    if was_loaded:
        house.engine.remove_adapter(name)
        house.engine.add_adapter(target, wanted, accept_other_base=house.accept_other_base)
    return wanted


def delete(house: House, name: str) -> None:
    """Takes an adapter out of memory and removes its folder. Raises EngineError."""
    folder = movable(house, name)
    if name in house.engine.adapters:
        house.engine.remove_adapter(name)
    house.refused.pop(str(folder), None)
    shutil.rmtree(folder)


def movable(house: House, name: str) -> Path:
    """The folder of an adapter that may be renamed or deleted from the page. Raises EngineError."""
    folder = folder_of(house, name).resolve()
    if not any(shelf.resolve() in folder.parents for shelf in house.adapters):
        raise EngineError(f"{folder} lies on none of the page's shelves; it can be taken out, but not changed from here.")
    if folder == BAYLING_MINI.resolve():
        raise EngineError("The base bayling-mini is made from this adapter; it stays as it is.")
    busy = [job for job in stored.unfinished(house.db) if Path(job["folder"]).resolve() == folder]
    if busy:
        raise EngineError(f"Job {busy[0]['id']} ({busy[0]['name']}) writes to this folder; stop it first.")
    return folder
