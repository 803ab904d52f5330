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
from tuning.dataset.readers import read, read_named, read_pair
from tuning.dataset.rows import DataError, Kind, TrainingRow
from tuning.train import loading
from tuning.train.checkpoint import find_start, init_problems
from tuning.train.reporting import missing_package
from tuning.train.settings import SOURCES, Settings, SettingsError


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
        if settings.source:
            try:
                rows = read_rows(settings)
            except DataError as error:
                source = next(f"--{name}" for name in SOURCES if getattr(settings, name))
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
    notes: list[str] = []
    if settings.dataset:
        train = read_named(settings.dataset, settings.dataset_dir, kind=kind, notes=notes)
        valid = read(settings.valid_dir, kind=kind, notes=notes) if settings.valid_dir else []
    else:
        train, valid = read_pair(settings.source, settings.valid_dir or None, kind=kind, notes=notes)
    if not settings.valid_dir:
        train, valid = split_off(train, settings.val_set_size, settings.seed)
    return Rows(train, valid, notes)


def machine_problems(settings: Settings) -> list[str]:
    """What keeps this machine from the base, the format or the folders that are named."""
    found = loading.problems(settings)
    if settings.prompt_template_name:
        try:
            formats.find(settings.prompt_template_name)
        except EngineError as error:
            found.append(f"--prompt_template_name: {error}")
    found += [*missing_package(settings.report_to), *init_problems(settings)]
    for name in ("train_dir", "valid_dir", "dataset_dir"):
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
