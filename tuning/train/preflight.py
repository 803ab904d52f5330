"""What call, disk and machine show of a run before anything is loaded: its rows, and all that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import paths
from engine import formats
from engine.adapters import CONFIG
from engine.types import EngineError
from tuning.dataset.mixing import split_off
from tuning.dataset.readers import read, read_pair
from tuning.dataset.rows import DataError, Kind, TrainingRow
from tuning.train import loading
from tuning.train.checkpoint import find_start
from tuning.train.settings import Settings, SettingsError


@dataclass(frozen=True)
class Rows:
    """The rows of a run, as they were read. notes: sentences on what was passed over."""

    train: Sequence[TrainingRow] = ()
    valid: Sequence[TrainingRow] = ()
    notes: Sequence[str] = ()


def prepare_rows(settings: Settings) -> Rows:
    """The rows of a run of which nothing is wrong. Raises SettingsError with all problems at once."""
    wrong, rows = settings.problems(), Rows()
    if settings.output_dir:
        found = machine_problems(settings)
        if settings.data_path or settings.train_dir:
            try:
                rows = read_rows(settings)
            except DataError as error:
                source = "--data_path" if settings.data_path else "--train_dir"
                found += [f"{source}: {line}" for line in str(error).split("\n")]
        found += folder_problems(settings)
        wrong += [problem for problem in found if problem not in wrong]
    if wrong:
        raise SettingsError(wrong)
    return rows


def problems(settings: Settings) -> list[str]:
    """What is wrong beside `Settings.problems`, for whoever has the rows already."""
    return machine_problems(settings) + folder_problems(settings)


def read_rows(settings: Settings) -> Rows:
    """Training and validation rows. Raises DataError."""
    kind: Kind = "identity" if settings.identity else "general"  # of rows that do not say it themselves
    source = settings.data_path or settings.train_dir
    notes: list[str] = []
    if settings.valid_dir:
        train, valid = read_pair(source, settings.valid_dir, kind=kind, notes=notes)
    else:
        train, valid = split_off(read(source, kind=kind, notes=notes), settings.val_set_size, settings.seed)
    return Rows(train, valid, notes)


def machine_problems(settings: Settings) -> list[str]:
    """What keeps this machine from the base, the format or the folders that are named."""
    found = loading.problems(settings)
    if settings.prompt_template_name:
        try:
            formats.find(settings.prompt_template_name)
        except EngineError as error:
            found.append(f"--prompt_template_name: {error}")
    for name in ("train_dir", "valid_dir"):
        folder = getattr(settings, name)
        if folder and not Path(folder).exists():
            found.append(f"--{name} {folder} does not exist.")
    return found


def folder_problems(settings: Settings) -> list[str]:
    """Why the run cannot write to its folder, or go on from where it is to."""
    folder = Path(settings.output_dir)
    try:
        start = find_start(settings)
    except SettingsError as error:
        return list(error.problems)
    if start and start.step:
        return []
    if odd := paths.why_no_file(folder):
        return [f"--output_dir {folder} {odd}."]
    if folder.is_file():
        return [f"--output_dir {folder} is a file; name a folder."]
    there = (folder / CONFIG).is_file() or any(folder.glob("checkpoint-*")) if folder.is_dir() else False
    if there and not settings.overwrite_output_dir:
        return [
            f"--output_dir {folder} already holds a run; name another folder, continue it with --resume_from_checkpoint last, "
            "or begin anew with --overwrite_output_dir."
        ]
    return []
