"""An adapter as one zip file: packed for a download, and unpacked from an upload only if it is what it says. No Gradio."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import IO

from engine.adapters import CARD, CONFIG, LEGACY, SAFETENSORS, read_adapter
from engine.types import EngineError
from ui import passing

PACKED = (CONFIG, SAFETENSORS, LEGACY, CARD, "README.md")
# not the pickled form: safetensors cannot hold program code
EXPECTED = (CONFIG, SAFETENSORS, CARD, "README.md")
LIMIT = 512 * 2**20  # bytes unpacked; rank 64 on every layer of a 7B model takes 320 MB
CHUNK = 2**20


def pack(folder: str | Path, name: str) -> tuple[IO[bytes], int]:
    """A zip at its beginning, and its size in bytes: the adapter's own files under `name/`, without checkpoints and logs.

    The file has no name, so closing it, or the end of the program, is the end of it. EngineError if it cannot be written.
    """
    target = None
    try:
        target = passing.unnamed()
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
        raise EngineError(f"{name} cannot be packed ({error.strerror or error}); is there room in {passing.folder()}?") from error
    return target, size


def unpack(file: str | Path, shelf: Path) -> Path:
    """Checks a zip, reads the adapter in it, and only then keeps it on the shelf; its folder. Raises EngineError."""
    file = Path(file)
    try:
        with zipfile.ZipFile(file) as parcel:
            entries, inner = check(parcel, file.name)
            shelf.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=".upload-", dir=shelf))
            try:
                extract(parcel, entries, beside, file.name)
                read_adapter(beside, inner or file.stem)
                return settle(beside, shelf, inner or file.stem)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # damaged, encrypted, packed in an unknown way
        raise EngineError(f"{file.name} cannot be unpacked ({error}); pack the adapter's folder again as a plain zip.") from error


def check(parcel: zipfile.ZipFile, name: str) -> tuple[list[zipfile.ZipInfo], str]:
    """The entries to unpack and the folder they lie in ("" for none). Raises EngineError for anything that does not belong."""
    entries = [entry for entry in parcel.infolist() if not entry.is_dir()]
    if not entries:
        raise EngineError(f"{name} is empty; it should hold {CONFIG} and {SAFETENSORS}.")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:", entry.filename):
            raise EngineError(f"{name} holds {entry.filename!r}, which points outside of the adapter; it was not unpacked.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise EngineError(f"{name} holds the link {entry.filename!r}; an adapter has plain files only.")
        if path.name not in EXPECTED:
            hint = f"; save it as {SAFETENSORS}" if path.name == LEGACY else ""
            raise EngineError(f"{name} holds {entry.filename!r}, which an adapter does not need ({', '.join(EXPECTED)}){hint}.")
    folders = {PurePosixPath(entry.filename.replace("\\", "/")).parent for entry in entries}
    if len(folders) > 1:
        raise EngineError(f"{name} holds several folders; pack one adapter into a zip.")
    names = [PurePosixPath(entry.filename.replace("\\", "/")).name for entry in entries]
    missing = [wanted for wanted in (CONFIG, SAFETENSORS) if wanted not in names]
    if missing:
        raise EngineError(f"{name} is no adapter: {' and '.join(missing)} missing.")
    if len(set(names)) < len(names):
        raise EngineError(f"{name} holds a file twice; pack the adapter's folder again.")
    if sum(entry.file_size for entry in entries) > LIMIT:
        raise EngineError(f"{name} would take more than {LIMIT >> 20} MB unpacked; copy the folder by other means.")
    return entries, folders.pop().name


def extract(parcel: zipfile.ZipFile, entries: list[zipfile.ZipInfo], folder: Path, name: str) -> None:
    """Writes the entries flat into `folder`; counts what comes out, as sizes in a zip's directory may lie."""
    left = LIMIT
    for entry in entries:
        with parcel.open(entry) as packed, open(folder / PurePosixPath(entry.filename.replace("\\", "/")).name, "wb") as out:
            while chunk := packed.read(CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise EngineError(f"{name} would take more than {LIMIT >> 20} MB unpacked; copy the folder by other means.")
                out.write(chunk)


def settle(beside: Path, shelf: Path, wanted: str) -> Path:
    """Gives the unpacked folder a name that is free."""
    plain = re.sub(r"[^\w.-]+", "-", wanted).strip(".-") or "adapter"
    names = [plain, *(f"{plain}-{number}" for number in range(2, 10_000))]
    target = shelf / next(name for name in names if not (shelf / name).exists())
    beside.rename(target)
    target.chmod(0o755)
    return target
