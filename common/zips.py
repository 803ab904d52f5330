"""Zips, looked at before anything of them is unpacked or held in memory: whoever made one wrote its directory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DIRECTORY = 1 << 22  # bytes of a zip's: about 40,000 entries
PLAIN_ZIP = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
inside: Any = zipfile  # the module with what it does not publish


def open_zip(file: Path) -> zipfile.ZipFile:
    """The zip. Raises BadZipFile if it is none, and for a directory larger than DIRECTORY, which would all be read."""
    with open(file, "rb") as raw:
        end = inside._EndRecData(raw)  # zipfile reads all of it when it opens a file, and says its size nowhere else
    if end and end[inside._ECD_SIZE] > DIRECTORY:
        raise zipfile.BadZipFile(f"its directory takes {end[inside._ECD_SIZE]:,} bytes, at most {DIRECTORY:,} are read")
    return zipfile.ZipFile(file)


def other_packing(entries: Iterable[zipfile.ZipInfo]) -> str:
    """The first entry that is neither stored nor deflated, as the second part of a sentence; "" if there is none. Other methods
    are unpacked whole: a few bytes of bzip2 make gigabytes at one read.
    """
    for entry in entries:
        if entry.compress_type not in PLAIN_ZIP:
            method = inside.compressor_names.get(entry.compress_type, f"method {entry.compress_type}")
            return f"holds {entry.filename[:80]!r} packed with {method}; only stored and deflated entries are read"
    return ""


def wrong_in_saved(file: Path, size: int) -> str:
    """What is wrong with a file of torch.save, which packs nothing: its parts add up to the file. "" if nothing is."""
    try:
        with open_zip(file) as parcel:
            entries = parcel.infolist()
    except zipfile.BadZipFile as error:
        return f"is damaged ({error})"
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return "is a packed archive, which torch.save does not write (best as .safetensors)"
    if (held := sum(entry.file_size for entry in entries)) > size:
        return f"promises {held:,} bytes of weights in a file of {size:,}"
    return ""
