"""An adapter as one zip file: packed for a download, and unpacked from an upload only if it is what it says. No Gradio."""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import IO

from common import leftovers, space
from common.zips import open_zip, other_packing
from engine.adapter_shapes import CARD
from engine.adapters import CONFIG, LEGACY, SAFETENSORS, Unfit, read_adapter
from engine.types import EngineError
from ui import temp_files

# of an adapter that brings tokens of its own
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
PACKED = (CONFIG, SAFETENSORS, LEGACY, CARD, "README.md", *TOKENIZER)
# not the pickled form: safetensors cannot hold program code
TAKEN = (CONFIG, SAFETENSORS, CARD, "README.md", *TOKENIZER)
LIMIT = 512 * 2**20  # bytes unpacked; rank 64 on every layer of a 7B model takes 320 MB
CHUNK = 2**20


def pack(folder: str | Path, name: str) -> tuple[IO[bytes], int]:
    """A zip at its beginning, and its size in bytes: the adapter's own files under `name/`, without checkpoints and logs.

    The file has no name, so closing it, or the end of the program, is the end of it. EngineError if it cannot be written.
    """
    target = None
    try:
        target = temp_files.unnamed_file()
        # weights hardly get smaller; a file without a date (1970) is no reason to fail
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as parcel:
            for file in PACKED:
                if (Path(folder) / file).is_file():
                    parcel.write(Path(folder) / file, f"{name}/{file}")
        size = target.tell()
        target.seek(0)
    except OSError as error:
        if target:
            target.close()
        if space.is_full(error):
            raise EngineError(space.sentence(temp_files.program_folder(), f"{name} cannot be packed")) from error
        raise EngineError(f"{name} cannot be packed ({error.strerror or error}).") from error
    return target, size


def unpack(file: str | Path, shelf: Path, passed: list[str] | None = None) -> Path:
    """Checks a zip, reads the adapter in it, and only then keeps it on the shelf; its folder. Raises EngineError.

    passed: gets the names of entries that are no part of the adapter (checkpoints, logs, a Mac's notes) and stay behind.
    """
    file = Path(file)
    try:
        with space.room_for(f"The adapter in {file.name}", shelf), open_zip(file) as parcel:
            entries, inner, others = check_entries(parcel, file.name)
            if passed is not None:
                passed += others
            shelf.mkdir(parents=True, exist_ok=True)
            beside = leftovers.new_folder(shelf)
            try:
                extract(parcel, entries, beside, file.name)
                with contextlib.suppress(Unfit):  # it is kept on the shelf, to be merged
                    read_adapter(beside, inner or file.stem)
                return settle_folder(beside, shelf, inner or file.stem)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, packed in an unknown way
        raise EngineError(f"{file.name} cannot be unpacked ({error}); pack the adapter's folder again as a plain zip.") from error


def check_entries(parcel: zipfile.ZipFile, name: str) -> tuple[list[zipfile.ZipInfo], str, list[str]]:
    """The adapter's entries, the folder they lie in ("" for none), and the names of the others. Raises EngineError.

    The adapter is the highest folder with a configuration and weights; checkpoints below it are others.
    """
    entries = {path_of(entry): entry for entry in parcel.infolist() if not entry.is_dir()}
    if not entries:
        raise EngineError(f"{name} is empty; it should hold {CONFIG} and {SAFETENSORS}.")
    for path, entry in entries.items():
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", entry.filename):
            raise EngineError(f"{name} holds {entry.filename!r}, which points outside of the adapter; it was not unpacked.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise EngineError(f"{name} holds the link {entry.filename!r}; an adapter has plain files only.")
    if len(entries) < sum(not entry.is_dir() for entry in parcel.infolist()):
        raise EngineError(f"{name} holds a file twice; pack the adapter's folder again.")
    folder = adapter_folder(entries, name)
    taken = [path for path in entries if path.parent == folder and path.name in TAKEN]
    if otherwise := other_packing(entries[path] for path in taken):
        raise EngineError(f"{name} {otherwise}; pack the adapter's folder again as a plain zip.")
    if sum(entries[path].file_size for path in taken) > LIMIT:
        raise EngineError(f"{name} would take more than {LIMIT >> 20} MB unpacked; copy the folder by other means.")
    return [entries[path] for path in taken], folder.name, [str(path) for path in entries if path not in taken]


def path_of(entry: zipfile.ZipInfo) -> PurePosixPath:
    return PurePosixPath(entry.filename.replace("\\", "/"))


def adapter_folder(paths: Collection[PurePosixPath], name: str) -> PurePosixPath:
    """The one folder that holds an adapter. Raises EngineError where there is none, or more than one side by side."""
    folders = {path.parent for path in paths if path.name in (CONFIG, SAFETENSORS) and "__MACOSX" not in path.parts}
    whole = [folder for folder in folders if folder / CONFIG in paths and folder / SAFETENSORS in paths]
    if not whole:
        legacy = any(path.name == LEGACY for path in paths)
        hint = f"; {LEGACY} may hold program code and is not taken: save it as {SAFETENSORS}" if legacy else ""
        missing = [wanted for wanted in (CONFIG, SAFETENSORS) if not any(path.name == wanted for path in paths)]
        why = f"{' and '.join(missing)} missing" if missing else f"{CONFIG} and {SAFETENSORS} lie in different folders"
        raise EngineError(f"{name} is no adapter: {why}{hint}.")
    highest = min(len(folder.parts) for folder in whole)
    top = sorted(folder for folder in whole if len(folder.parts) == highest)
    if len(top) > 1:
        listed = ", ".join(str(folder) for folder in top[:6])
        raise EngineError(f"{name} holds several adapters ({listed}); pack one adapter into a zip.")
    return top[0]


def extract(parcel: zipfile.ZipFile, entries: list[zipfile.ZipInfo], folder: Path, name: str) -> None:
    """Writes the entries flat into `folder`; counts what comes out, as sizes in a zip's directory may lie."""
    left = LIMIT
    for entry in entries:
        with parcel.open(entry) as packed, open(folder / path_of(entry).name, "wb") as out:
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise EngineError(f"{name} would take more than {LIMIT >> 20} MB unpacked; copy the folder by other means.")
                out.write(chunk)


def settle_folder(beside: Path, shelf: Path, wanted: str) -> Path:
    """Gives the unpacked folder a name that is free."""
    plain = re.sub(r"[^\w.-]+", "-", wanted).strip(".-") or "adapter"
    names = [plain, *(f"{plain}-{number}" for number in range(2, 10_000))]
    target = shelf / next(name for name in names if not (shelf / name).exists())
    beside.rename(target)
    target.chmod(0o755)
    return target
