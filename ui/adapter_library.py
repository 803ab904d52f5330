"""The folders in which adapters lie, and bringing what is found there into the bank. No Gradio."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from common import leftovers
from common.files import write_json, write_once
from common.outside import display_name, place_key, typed_path
from engine import adapter_shapes, packaged
from engine.adapters import AdapterInfo
from engine.packaged import BAYLING_MINI
from engine.types import EngineError
from identities import natural_key
from store import jobs as stored
from tuning.train import run_files
from ui.context import App, sentence

CONFIG = "adapter_config.json"
CARD = "card.json"
NAME = re.compile(r"[\w][\w.-]{0,79}")
GUEST = "~"  # how the names of adapters begin that are loaded for one question only
EXPERIMENTS = "experiments"  # where the adapters of cells lie, on the shelf of new ones; experiments themselves lie so in runs/
CHECKPOINT = re.compile(r"checkpoint-\d+$")


def adapter_folders(shelves: tuple[Path, ...]) -> list[Path]:
    """Every adapter folder on the shelves, one or two levels deep (a run keeps its checkpoints one level further)."""
    found = {config.parent for shelf in shelves for config in shelf.glob(f"*/{CONFIG}")}
    # a run that is under way has only checkpoints; alone on the shelf one is an adapter as trainers leave them
    deeper = [config.parent for shelf in shelves for config in shelf.glob(f"*/*/{CONFIG}")]
    found |= {folder for folder in deeper if not CHECKPOINT.match(folder.name)}
    outer = {folder for folder in found if not folder.name.startswith(".")}  # what is being written
    return sorted((folder for folder in outer if folder.parent not in outer), key=natural_key)


def rescan(app: App) -> list[str]:
    """Loads what is new on the shelves and forgets old refusals; the names that were added.

    The cells of experiments, of which there may be hundreds, are offered and loaded only when they are asked for.
    """
    app.refused.clear()
    new = [folder for folder in unloaded_folders(app) if folder.parent.name != EXPERIMENTS]
    return [name for folder in new if (name := try_load_folder(app, folder))]


def loaded_places(app: App) -> set[str]:
    return {place_key(info.path) for info in app.engine.adapters.values() if not is_passing(info.name)}


def is_passing(name: str) -> bool:
    """Whether an adapter is loaded for one question only, and belongs to whoever asks that."""
    return name.startswith(GUEST)


@contextmanager
def passing(app: App, wanted: Sequence[tuple[str, Path]]) -> Iterator[list[str]]:
    """Folders' adapters, loaded for the length of the block and offered to nobody else; their names, in order.

    wanted: (what it is called, folder). Raises EngineError.
    """
    names: list[str] = []
    try:
        for called, folder in wanted:
            place = opened_folder(app, folder)
            name = next(one for number in count() if (one := f"{GUEST}{called}{number or ''}") not in app.engine.adapters)
            names.append(app.engine.add_adapter(place, name, accept_other_base=app.accept_other_base))
        yield names
    finally:
        for name in names:
            app.engine.remove_adapter(name)


def kept_adapters(app: App) -> dict[str, AdapterInfo]:
    """The loaded adapters that can be picked."""
    return {name: info for name, info in app.engine.adapters.items() if not is_passing(name)}


def put_copy(app: App, folder: Path, target: Path, name: str) -> None:
    """A copy of an adapter's folder under a name of its own, whole or not at all. Raises EngineError where that name is taken."""
    if target.exists():
        raise EngineError(f"There is an adapter folder called {name} already; choose another name.")

    source = opened_folder(app, folder)

    def write(beside: Path) -> None:
        for file in source.iterdir():
            if file.is_file():
                shutil.copyfile(file, beside / file.name)
        card, wrong = card_of(beside)
        if card and not wrong:
            write_json(beside / CARD, card | {"name": name})

    write_once(target, write)


def sweep_leftovers(app: App) -> list[Path]:
    """Removes what programs that were killed left unfinished, wherever this one writes; what was removed."""
    shelves = [*app.adapters, *(run for shelf in app.adapters for run in shelf.glob("*") if run.is_dir())]
    runs = [app.runs, app.runs / "data", app.runs / "merged"]
    return leftovers.sweep([*shelves, app.identities, *runs, packaged.cache_dir(), tempfile.gettempdir()])


def is_in_base(app: App, folder: Path) -> bool:
    """Whether this is the starter adapter that the loaded base was made with: nothing to load, and nothing to complain of."""
    return app.base_spec == BAYLING_MINI.name and place_key(folder) == place_key(BAYLING_MINI)


def load_folder(app: App, folder: str | Path, name: str = "") -> str:
    """Loads one folder, as `name` if that is given and free; its name.

    Raises EngineError; of a path that can be one, `app.refused` then says why.
    """
    folder = typed_path(folder, EngineError)
    key = str(folder)
    app.refused.pop(key, None)
    try:
        if place_key(folder) in loaded_places(app):
            raise EngineError(f"The adapter in {folder} is loaded already.")
        folder = opened_folder(app, folder)
        called = name if name and name not in app.engine.adapters else free_name(app, folder)
        return app.engine.add_adapter(folder, called, accept_other_base=app.accept_other_base)
    except Exception as error:
        app.refused[key] = sentence("en", error)
        raise EngineError(app.refused[key]) from error


def try_load_folder(app: App, folder: str | Path) -> str | None:
    """`load_folder`; None if it was refused."""
    try:
        return load_folder(app, folder)
    except EngineError:
        return None


def opened_folder(app: App, folder: str | Path) -> Path:
    """The folder, if it and every file in it lie where the page may read, wherever links lead. Raises EngineError."""
    place = app.opened.place(folder, EngineError, "The adapter's folder")
    for file in sorted(place.iterdir()) if place.is_dir() else ():
        app.opened.place(file, EngineError, "The adapter's file")
    return place


def ensure_loaded(app: App, folder: str | Path, name: str = "") -> str:
    """The name under which a folder's adapter can be picked; loads it if need be, as `name` if that is free.

    Raises EngineError if it is refused.
    """
    here = place_key(folder)
    for known, info in kept_adapters(app).items():
        if place_key(info.path) == here:
            return known
    return load_folder(app, folder, name)


def is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / CONFIG).is_file()


def free_name(app: App, folder: Path) -> str:
    """The folder's name, or with its parent's before it, or a number behind it, where other adapters have that name already."""
    place = folder.resolve()
    name = display_name(place.name)
    names = [name, f"{display_name(place.parent.name)}-{name}", *(f"{name}-{number}" for number in range(2, 1000))]
    return next(name for name in names if name not in app.engine.adapters)


def list_adapters(app: App) -> list[dict]:
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
            "card_problem": card_of(info.path)[1],
            "size": weights_size(info.path),
            "problem": None,
        }
        for info in sorted(kept_adapters(app).values(), key=lambda info: natural_key(info.name))
    ]
    refused = {**app.refused, **stray_entries(app)}
    return loaded + [
        {"name": display_name(Path(path).name), "folder": display_name(path), "problem": why} for path, why in refused.items()
    ]


def unloaded_folders(app: App) -> list[Path]:
    """Folders on the shelves whose adapters are neither loaded nor refused: taken out, or made since the last look."""
    known = loaded_places(app) | {place_key(folder) for folder in app.refused}
    return [folder for folder in adapter_folders(app.adapters) if place_key(folder) not in known and not is_in_base(app, folder)]


def stray_entries(app: App) -> dict[str, str]:
    """What else stands on the shelves, by its path: no adapters, and none of a job that is under way; with a sentence each."""
    adapters = [os.path.abspath(folder) for folder in adapter_folders(app.adapters)]
    busy = [place_key(job["folder"]) for job in stored.unfinished(app.db)]
    found = {}
    for place in (place for shelf in app.adapters for place in entries(shelf)):
        path = os.path.abspath(place)
        if path in app.refused or any(f"{one}/".startswith(f"{path}/") for one in adapters):
            continue
        if any(f"{one}/".startswith(f"{place_key(place)}/") for one in busy) or is_training(place):
            continue
        if place.is_symlink() and not place.exists():
            found[path] = f"{display_name(place)} is a link that leads nowhere; remove it, or put there what it should lead to."
        elif place.is_dir():
            found[path] = f"{display_name(place)} holds no adapter ({CONFIG} is missing)."
    return found


def entries(shelf: Path) -> list[Path]:
    """What stands on a shelf and does not begin with a dot."""
    try:
        return sorted((place for place in shelf.iterdir() if not place.name.startswith(".")), key=natural_key)
    except OSError:  # no such shelf yet
        return []


def choices(app: App) -> dict[str, tuple[str, Path]]:
    """All that can be chosen on the page, by a name that only one has: what it is (loaded, unloaded, refused), and its folder."""
    infos = sorted(kept_adapters(app).values(), key=lambda info: natural_key(info.name))
    found = {info.name: ("loaded", Path(info.path)) for info in infos}
    others = [("unloaded", folder) for folder in unloaded_folders(app)]
    others += [("refused", Path(path)) for path in (*app.refused, *stray_entries(app))]
    for what, folder in others:
        name = display_name(folder.name)
        found[name if name not in found else display_name(folder)] = (what, folder)
    return found


def folder_of(app: App, name: str) -> Path:
    """Where something that the page lists lies, loaded or not. Raises EngineError."""
    if found := choices(app).get(name):
        return found[1]
    raise EngineError(f"There is no adapter {name!r} any more; rescan the folders.")


def read_card(folder: str | Path) -> dict:
    """What an adapter's card says, as far as it is what it should be."""
    return card_of(folder)[0]


def card_of(folder: str | Path) -> tuple[dict, str]:
    """`read_card`, and a sentence on what is wrong with it, "" for nothing."""
    try:
        return adapter_shapes.read_card(Path(folder) / CARD)
    except EngineError as error:
        return {}, str(error)


def weights_size(folder: str | Path) -> int:
    files = (file for pattern in ("*.safetensors", "*.bin") for file in Path(folder).glob(pattern))
    return sum(file.stat().st_size for file in files if file.is_file())


def rename(app: App, name: str, wanted: str) -> str:
    """Gives an adapter and its folder another name. Raises EngineError."""
    wanted = wanted.strip()
    folder = movable_folder(app, name)
    if folder.is_symlink():
        raise EngineError(f"{display_name(folder)} is a link; it can be removed here, and renamed only where it was made.")
    if not NAME.fullmatch(wanted):
        raise EngineError(f"{wanted!r} is no name for an adapter; use letters, digits, dots, - and _, at most 80.")
    target = folder.with_name(wanted)
    if target.exists() or wanted in app.engine.adapters:
        raise EngineError(f"There is an adapter called {wanted} already; choose another name.")
    refuse_promised(app, target)
    was_loaded = name in app.engine.adapters
    card, wrong = card_of(folder)
    kept = bool(card) and not wrong  # an odd one stays as it is: written anew it would lose what is odd
    if kept:  # first: should there be no room for it, nothing has changed
        write_json(folder / CARD, card | {"name": wanted})
    try:
        folder.rename(target)
    except OSError:
        if kept:
            write_json(folder / CARD, card)
        raise
    app.refused.pop(str(folder), None)
    if was_loaded:
        app.engine.remove_adapter(name)
        app.engine.add_adapter(target, wanted, accept_other_base=app.accept_other_base)
    return wanted


def delete(app: App, name: str) -> None:
    """Takes an adapter out of memory and removes its folder, or the link to it. Raises EngineError."""
    folder = movable_folder(app, name)
    if name in app.engine.adapters:
        app.engine.remove_adapter(name)
    app.refused.pop(str(folder), None)
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            leftovers.put_away(folder)
    except OSError as error:
        raise EngineError(f"{display_name(folder)} cannot be removed ({error.strerror or error}).") from error


def refuse_promised(app: App, folder: Path) -> None:
    """Raises EngineError if a training that waits in the queue is to write to the folder."""
    for job in stored.unfinished(app.db):
        if Path(job["folder"]).resolve() == folder.resolve():
            raise EngineError(f"Job {job['id']} ({job['name']}) is to write to {folder}; choose another name, or stop it first.")


def movable_folder(app: App, name: str) -> Path:
    """The folder, or link, of an adapter that may be renamed or deleted from the page. Raises EngineError."""
    given = folder_of(app, name)
    folder = given.parent.resolve() / given.name  # of a link itself, not of where it leads
    if not any(shelf.resolve() in folder.parents for shelf in app.adapters):
        raise EngineError(
            f"{display_name(folder)} lies on none of the page's shelves; it can be taken out, but not changed from here."
        )
    if place_key(folder) == place_key(BAYLING_MINI):
        raise EngineError("The base bayling-mini is made from this adapter; it stays as it is.")
    for job in stored.unfinished(app.db):
        if f"{place_key(job['folder'])}/".startswith(f"{place_key(folder)}/"):
            raise EngineError(f"Job {job['id']} ({job['name']}) writes to this folder; stop it first.")
    if is_training(folder):
        raise EngineError(
            f"A training from elsewhere writes to {display_name(folder)}; let it end, or stop it where it was started."
        )
    return folder


def is_training(folder: Path) -> bool:
    """Whether a training is at work in it, whoever started it."""
    try:
        state = run_files.read_state(folder)
        return state is not None and state.get("status") in ("starting", "running", "saving") and run_files.is_alive(state)
    except (OSError, run_files.FileError):
        return False
