"""Files that are not what their name says: pointers, error pages, nothing at all, or only their beginning.

Downloads leave them behind, and the readers' own errors ("header too large") do not say so. Cheap: beginnings and sizes are
looked at, only a .gz is read to its end. What is no file at all (a device, a pipe) is told before it is opened.
"""

from __future__ import annotations

import gzip
import json
import re
import zipfile
import zlib
from pathlib import Path

from common import paths, zips

HEADER = 1 << 25  # bytes; the largest published one-file models have 12 million
HEAD = 4096  # bytes looked at; a pointer has 130, an error page says so in its first line
POINTERS = ((b"version https://git-lfs", "git lfs pull"), (b"version https://hawser", "git lfs pull"))
MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
FORMS = (  # how files of the other kinds begin
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"GGUF", "a GGUF model"),
    (b"PAR1", "a parquet table"),
    (b"%PDF", "a PDF"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
)
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".jinja", ".yaml", ".yml")
# forms that belong under a suffix; .bin is torch's zip or its older pickle
OWN = {".bin": "a zip archive", ".pt": "a zip archive", ".pth": "a zip archive", ".gz": "a gzip archive"}
OWN |= {".gguf": "a GGUF model", ".parquet": "a parquet table", ".zip": "a zip archive", ".xlsx": "a zip archive"}
UNPACKED = 2 << 30  # bytes of a .gz
MUST = (".gguf", ".gz", ".parquet", ".zip", ".xlsx")  # begin in their form or are something else


def not_what_it_seems(path: Path) -> str | None:
    """What is wrong with the file, as the second part of a sentence whose first is its name; None if nothing is odd.

    A file that is simply not there is None too; whoever wants it says so.
    """
    try:
        if path.is_symlink() and not path.exists():
            return "is a link to a file that is not there: copy the file itself, or download it again"
        if odd := paths.why_no_file(path):
            return odd
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            head = file.read(HEAD)
        return wrong_beginning(path, head) or cut_off(path, head)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def wrong_beginning(path: Path, head: bytes) -> str | None:
    suffix = path.suffix.lower()
    if not head:
        return "is empty: download or copy it again"
    if fetch := next((fetch for start, fetch in POINTERS if head.startswith(start)), None):
        size = re.search(rb"^size (\d+)", head, re.MULTILINE)
        of = f" (to {int(size[1]):,} bytes)" if size else ""
        return f"is a Git LFS pointer{of}, not the file itself: fetch it with {fetch}"
    if head.startswith((b"/annex/objects/", b"../.git/annex/", b".git/annex/")):
        return "is a git-annex pointer, not the file itself: fetch it with git annex get"
    if suffix not in (".html", ".htm") and MARKUP.match(head):
        return "is an HTML page (an error page saved under this name?): download it again"
    if path.with_name(path.name + ".aria2").exists():
        return f"is not downloaded to its end ({path.name}.aria2 is still beside it): let the download finish"
    if len(head) > 16 and not any(head):
        return "begins with nothing but zeros (an unfinished download?): download it again"
    form = next((form for start, form in FORMS if head.startswith(start)), None)
    if form and suffix in (*WEIGHTS, *TEXTS, *MUST) and form != OWN.get(suffix):
        return f"is {form}, not what its name says: give it its right ending, or get the right file"
    if suffix in WEIGHTS and (said := first_line_of_text(head)):
        return f"is a text, not weights: it says {said!r}; download it again"
    if suffix in MUST and form != OWN[suffix]:
        return f"is not {OWN[suffix]}, as its ending says: get it again"
    return None


def first_line_of_text(head: bytes) -> str | None:
    """The first line, if all of the beginning is plain text, such as the Hub's "Entry not found"."""
    if head[8:9] == b"{" or any(byte < 9 for byte in head):  # a safetensors header is JSON behind eight bytes of length
        return None
    try:
        text = head.decode("utf-8").strip()
    except UnicodeDecodeError:
        return None
    return text.splitlines()[0][:60] if text else None


def cut_off(path: Path, head: bytes) -> str | None:
    """A file whose beginning is right and whose end is missing."""
    suffix, size = path.suffix.lower(), path.stat().st_size
    if suffix == ".safetensors":
        return cut_safetensors(path, head, size)
    if head.startswith(b"PK\x03\x04") and suffix in OWN and not zipfile.is_zipfile(path):
        return f"is cut off ({size:,} bytes are there, its end is missing): download or copy it again"
    if head.startswith(b"PK\x03\x04") and suffix in WEIGHTS and (wrong := zips.wrong_in_saved(path, size)):
        return f"{wrong}: get it again"
    if suffix == ".parquet" and not ends_with(path, b"PAR1"):
        return f"is cut off ({size:,} bytes are there, its end is missing): download or copy it again"
    if suffix == ".gz":
        return cut_gzip(path)
    return cut_gguf(path) if suffix == ".gguf" else None


def cut_safetensors(path: Path, head: bytes, size: int) -> str | None:
    """By its header: eight bytes of length, then JSON with the places of the tensors."""
    length = int.from_bytes(head[:8], "little")
    again = "download or copy it again"
    if size < 8:
        return f"is cut off ({size} bytes are there): {again}"
    if HEADER < length < size:
        return f"is no file of weights (its header takes {length:,} bytes, at most {HEADER:,} are read): {again}"
    if head[8:9] != b"{" and size > 8:
        return f"is no safetensors file (it does not begin with a header), or is damaged: {again}"
    promised = 8 + length
    if promised <= size:
        with open(path, "rb") as file:
            file.seek(8)
            try:
                header = json.loads(file.read(length))
                promised += max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
                return f"is damaged (its header is not readable): {again}"
    if promised > size:
        return f"is cut off (its header promises {promised:,} bytes, there are {size:,}): {again}"
    return None


def cut_gzip(path: Path) -> str | None:
    try:
        unpacked = 0
        with gzip.open(path) as file:
            while chunk := file.read(2**20):
                unpacked += len(chunk)
                if unpacked > UNPACKED:
                    return f"unpacks to more than {UNPACKED >> 30} GiB: unpack it and give it in parts"
    except EOFError:
        return "is cut off (its end is missing): download or copy it again"
    except (gzip.BadGzipFile, zlib.error) as error:
        return f"is damaged ({error}): download or copy it again"
    return None


def cut_gguf(path: Path) -> str | None:
    from gguf import GGUFReader

    try:
        GGUFReader(path)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError, OverflowError) as error:
        told = " ".join(str(error).split())[:80]
        return f"is cut off or damaged ({path.stat().st_size:,} bytes are there; {told}): download or copy it again"
    return None


def ends_with(path: Path, end: bytes) -> bool:
    with open(path, "rb") as file:
        file.seek(-len(end), 2)
        return file.read() == end
