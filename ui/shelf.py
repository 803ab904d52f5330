"""The folders in which adapters lie, and bringing what is found there into the bank. No Gradio."""

from __future__ import annotations

from pathlib import Path

from engine.types import EngineError
from ui.house import House, sentence

CONFIG = "adapter_config.json"


def folders(shelves: tuple[Path, ...]) -> list[Path]:
    """Every adapter folder on the shelves, one or two levels deep (a run keeps its checkpoints one level further)."""
    found = [config.parent for shelf in shelves for pattern in (f"*/{CONFIG}", f"*/*/{CONFIG}") for config in shelf.glob(pattern)]
    outer = set(found)
    return sorted(folder for folder in outer if folder.parent not in outer)


def rescan(house: House) -> list[str]:
    """Loads what is new on the shelves and forgets old refusals; the names that were added."""
    loaded = {Path(info.path).resolve() for info in house.engine.adapters.values()}
    house.refused.clear()
    return [name for folder in folders(house.adapters) if folder.resolve() not in loaded and (name := add(house, folder))]


def add(house: House, folder: str | Path) -> str | None:
    """Loads one folder; None if it was refused, and `house.refused` then says why."""
    folder = Path(str(folder).strip()).expanduser()
    house.refused.pop(str(folder), None)
    try:
        if any(Path(info.path).resolve() == folder.resolve() for info in house.engine.adapters.values()):
            raise EngineError(f"The adapter in {folder} is loaded already.")
        return house.engine.add_adapter(folder, free_name(house, folder), accept_other_base=house.accept_other_base)
    except Exception as error:
        house.refused[str(folder)] = sentence("en", error)
        return None


def free_name(house: House, folder: Path) -> str:
    """The folder's name, or with its parent's before it where another adapter has that name already."""
    name = folder.resolve().name
    return name if name not in house.engine.adapters else f"{folder.resolve().parent.name}-{name}"


def listing(house: House) -> list[dict]:
    """Every loaded adapter, then every refused folder, as plain data."""
    loaded = [
        {
            "name": info.name,
            "folder": info.path,  # not "path": gradio_client takes an object with one for a file to fetch
            "hash": info.hash,
            "rank": info.rank,
            "targets": list(info.targets),
            "parameters": info.parameters,
            "format": info.format,
            "card": info.card,
            "problem": None,
        }
        for _, info in sorted(house.engine.adapters.items())
    ]
    return loaded + [{"name": Path(path).name, "folder": path, "problem": why} for path, why in house.refused.items()]
