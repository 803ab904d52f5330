"""Files from elsewhere for the Results tab: what each of them is, told by what it holds. No Gradio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import outside, paths
from common.seeming import not_what_it_seems
from identities import LANGS
from probes.answers import sources
from probes.answers.sources import RowsError

TRANSCRIPTS, ANSWERS, FACTS, REPORTED, ABOUT = KINDS = ("transcripts", "answers", "facts", "reported", "about")
BROKEN = "is neither JSON nor YAML"
ACCEPTED = (".jsonl", ".json", ".yaml", ".yml", ".gz")


class Unreadable(Exception):
    """What keeps a file from being YAML."""


@dataclass(frozen=True)
class GivenFile:
    """A file that somebody added. count: answers in it; None where it holds none."""

    path: str
    kind: str
    count: int | None = None

    @property
    def name(self) -> str:
        return Path(self.path).name


def recognise(path: str | Path) -> GivenFile:
    """Raises RowsError with what is wrong, or with what it could have been."""
    path = Path(path)
    if paths.ending(path) in (".jsonl", ".ndjson"):
        rows = sources.read_jsonl(path)
        kind = ANSWERS if {"variant", "probe_id"} <= set(rows[0]) else TRANSCRIPTS
        (sources.read_file if kind == ANSWERS else sources.read_transcripts)(path)  # says what is wrong with it
        return GivenFile(str(path), kind, len(rows))
    plain = _plain(path)
    if isinstance(plain, Mapping) and {"old", "new"} & set(plain):
        return GivenFile(str(path), FACTS)
    if isinstance(plain, Mapping) and plain and all(isinstance(of, Mapping) for of in plain.values()):
        verdicts = any(isinstance(of.get(lang), Mapping) for of in plain.values() for lang in LANGS)
        return GivenFile(str(path), REPORTED if verdicts else ABOUT)
    raise RowsError(
        f"{path.name} is none of these: answers or transcripts (.jsonl, .jsonl.gz), facts with old and new, verdicts reported "
        "elsewhere, what each model was trained on."
    )


def files_of_kind(files: Sequence[GivenFile], *kinds: str) -> list[GivenFile]:
    return [file for file in files if file.kind in kinds]


def _plain(path: Path) -> object:
    if odd := not_what_it_seems(path):
        raise RowsError(f"{path.name} {odd}.")
    where = f"The file {path.name}"
    try:
        raw = paths.unpacked(outside.read_bytes(path, RowsError), path, outside.LARGEST)
    except OSError as error:
        raise RowsError(f"{where} cannot be read ({error.strerror}).") from None
    if paths.ending(path) == ".json":
        return outside.from_json(raw, where, RowsError, gaps=True, broken=f"{BROKEN} in UTF-8")
    try:
        return outside.from_yaml(raw.decode("utf-8-sig"), "it", Unreadable)
    except Unreadable as error:
        raise RowsError(f"{where} {BROKEN} ({str(error).rstrip('.')}).") from None
    except UnicodeDecodeError:
        raise RowsError(f"The file {path.name} is not UTF-8 text; save it as UTF-8.") from None
