"""Where an experiment's things lie, and what of it is kept: each step under the hash of all that went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import outside
from common.errors import UserError
from common.files import write_json

CHECKOUT = Path(__file__).parents[1]


class ExperimentError(UserError):
    """An experiment cannot be begun, or a cell cannot be made; one sentence."""


@dataclass(frozen=True)
class Places:
    """out: the experiment's own folder, which several plans may share. db, adapters: where answers and adapters lie for the
    whole program, so that the chat, the label queues and the results find them. identities: None for the program's own."""

    out: Path
    db: Path = CHECKOUT / "runs" / "mirror.db"
    adapters: Path = CHECKOUT / "runs" / "adapters" / "experiments"
    identities: Path | None = None

    plan = property(lambda self: self.out / "plan.yaml")
    state = property(lambda self: self.out / "state.json")
    log = property(lambda self: self.out / "log.txt")
    stop = property(lambda self: self.out / "stop")
    report = property(lambda self: self.out / "report")

    def data(self, key: str) -> Path:
        return self.out / "data" / f"{key}.jsonl"

    def kept(self, kind: str, key: str) -> Path:
        """Where a step's result stands: kind is `runs` or `suggestions`."""
        return self.out / "kept" / kind / f"{key}.json"

    def as_arguments(self) -> list[str]:
        """The flags that make these places on a command line."""
        words = ["--out", str(self.out), "--db", str(self.db), "--adapters-dir", str(self.adapters)]
        return words + (["--identities-dir", str(self.identities)] if self.identities else [])


def key_of(*parts: Any) -> str:
    """Sixteen hex digits over plain data, the same for equal parts in any process."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_of_files(*paths: Path) -> str:
    """Over the contents of files and of all files in folders, by name."""
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def read_kept(path: Path) -> dict[str, Any] | None:
    """A step's result, None where there is none. Raises ExperimentError for a file that is none of ours."""
    if not path.is_file():
        return None
    plain = outside.read_json(path, ExperimentError, gaps=True, largest=2**28)
    if not isinstance(plain, dict):
        raise ExperimentError(f"{path} holds no object; remove it, and the step is done again.")
    return plain


def keep(path: Path, plain: Mapping[str, Any]) -> Mapping[str, Any]:
    """Writes a step's result, whole or not at all."""
    write_json(path, plain)
    return plain
