"""Where a run begins that is not to begin from nothing: a checkpoint of ours, whole, or the weights of a finished adapter.

transformers goes on from a checkpoint without its optimizer or schedule, too, and starts the learning rate anew without a
word. Here a checkpoint is whole or it is not gone on from; weights alone are the start of a new run, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

from common import leftovers
from common.seeming import not_what_it_seems
from engine.adapters import CONFIG, LEGACY, SAFETENSORS, find_misfit, read_adapter, read_config, read_tensors, scaling
from engine.bases import Base
from engine.types import EngineError
from tuning import legacy, merge_by_peft
from tuning.train.run_files import PARTS, missing_parts, read_json
from tuning.train.settings import Settings, SettingsError

STATE, OPTIMIZER, SCHEDULER, RANDOM = PARTS[0], PARTS[3], PARTS[4], "rng_state*.pth"
HOLDS = {OPTIMIZER: ("state", "param_groups"), SCHEDULER: ("last_epoch", "lr_lambdas", "base_lrs")}
WEIGHTS = (SAFETENSORS, LEGACY)
LAST = ("last", "true", "auto")
FLAG, INIT = "--resume_from_checkpoint", "--init_adapter"


@dataclass(frozen=True)
class Start:
    """step: done before, 0 for a new run from the weights in `path`. notes: lines for people. flag: what asked for it."""

    path: Path
    step: int = 0
    notes: tuple[str, ...] = ()
    flag: str = FLAG


def find_start(settings: Settings) -> Start | None:
    """Where the run goes on from, None for nowhere. Raises SettingsError, one sentence that says what is missing."""
    asked = settings.resume_from_checkpoint
    if not asked:
        return find_adapter(settings.init_adapter) if settings.init_adapter else None
    if asked.lower() in LAST:
        return find_last_whole(Path(settings.output_dir))
    path = Path(asked).expanduser()
    if not path.is_dir():
        raise SettingsError([f"{FLAG} {asked} is no folder; name a checkpoint folder, a finished adapter, or last."])
    if has_only_weights(path):
        return Start(path, notes=(f"a new run from the weights in {path}: step 0, the learning rate as of a new run.",))
    if wrong := faults(path):
        raise SettingsError([f"{FLAG} {asked} is not a whole checkpoint: {'; '.join(wrong)}; take an earlier one, or last."])
    return Start(path, step_of(path), tuple(random_note(path)))


def find_adapter(asked: str) -> Start:
    """The finished adapter of --init_adapter. Raises SettingsError."""
    path = Path(asked).expanduser()
    if not path.is_dir():
        raise SettingsError([f"{INIT} {asked} is no folder; name the folder of a finished adapter."])
    if not (legacy.is_checkpoint(path) or ((path / CONFIG).is_file() and any((path / name).is_file() for name in WEIGHTS))):
        raise SettingsError([f"{INIT} {asked} holds no adapter ({CONFIG} and {SAFETENSORS}); name the folder of a finished one."])
    return Start(path, notes=(f"a new run from the weights in {path}: step 0, the learning rate as of a new run.",), flag=INIT)


def init_problems(settings: Settings) -> list[str]:
    """What is wrong with --init_adapter, as far as its configuration shows it; nothing where a checkpoint is gone on from."""
    if not settings.init_adapter or settings.resume_from_checkpoint:
        return []
    try:
        start = find_adapter(settings.init_adapter)
        if (start.path / CONFIG).is_file():
            refuse_other_settings(read_config(start.path), settings, start)
    except SettingsError as error:
        return list(error.problems)
    except EngineError as error:
        return [f"{INIT}: {error}"]
    return []


def find_last_whole(folder: Path) -> Start:
    """The newest whole checkpoint of a run; what is passed over for it is said."""
    broken = []
    for path in sorted(folder.glob("checkpoint-*"), key=number_of, reverse=True):
        if not path.is_dir():
            continue
        if wrong := faults(path):
            broken.append(f"{path.name} is not whole and is passed over: {'; '.join(wrong)}.")
            continue
        return Start(path, step_of(path), (*broken, *random_note(path)))
    there = f" ({' '.join(broken)})" if broken else ""
    raise SettingsError([f"{FLAG}: {folder} holds no whole checkpoint{there}; start anew with --overwrite_output_dir."])


def number_of(path: Path) -> int:
    """The step that its name says, -1 if it says none."""
    digits = path.name.removeprefix("checkpoint-")
    return int(digits) if digits.isdecimal() else -1


def faults(path: Path) -> list[str]:
    """What keeps a checkpoint from being gone on from exactly."""
    return missing_parts(path) or find_damage(path)


def find_damage(path: Path) -> list[str]:
    """What its files hold that cannot be gone on from; opened, not only looked at."""
    state = read_json(path / STATE) or {}
    if lost := [name for name in ("max_steps", "train_batch_size") if type(state.get(name)) is not int]:
        return [f"{STATE} lacks {' and '.join(lost)}"]
    for name, keys in HOLDS.items():
        try:
            held = torch.load(path / name, map_location="cpu", weights_only=True, mmap=True)
        except Exception:  # whatever torch says of it: it is not what was saved
            return [f"{name} is cut off or damaged"]
        if not isinstance(held, dict) or any(key not in held for key in keys):
            return [f"{name} holds something else ({', '.join(keys)} are not all in it)"]
    for file in path.glob(RANDOM):
        if what := not_what_it_seems(file):
            return [f"{file.name} {what}, or delete this one file to go on without it"]
    try:
        read_tensors(path)
    except EngineError:
        return [f"{SAFETENSORS} is cut off or damaged"]
    return []


def step_of(path: Path) -> int:
    """The step that its state says."""
    return int((read_json(path / STATE) or {})["global_step"])


def random_note(path: Path) -> list[str]:
    """A line if the random numbers of an uninterrupted run are not in it."""
    if any(path.glob(RANDOM)):
        return []
    return [f"{path.name} has no {RANDOM.replace('*', '')}: dropout draws other random numbers than an uninterrupted run."]


def has_only_weights(path: Path) -> bool:
    """A finished adapter, or a checkpoint of alpaca-lora, whose optimizer belongs to another trainer."""
    if legacy.is_checkpoint(path):
        return True
    adapter = (path / CONFIG).is_file() and any((path / name).is_file() for name in WEIGHTS)
    return adapter and not any((path / name).exists() for name in (STATE, OPTIMIZER, SCHEDULER))


def take_weights(model: PeftModel, base: Base, settings: Settings, start: Start) -> None:
    """The fresh adapter gets the weights in `start.path`. Raises SettingsError or EngineError."""
    with leftovers.scratch_folder() as room:
        folder = start.path
        if legacy.is_checkpoint(folder):
            folder = legacy.convert(folder, room / "adapter", settings.lora_alpha)
        info, _ = read_adapter(folder)
        if misfit := find_misfit(info, base.name, base.hash, base.names):
            raise SettingsError([f"{start.flag} {start.path} belongs to another base: {misfit}."])
        config = read_config(folder)
        refuse_other_settings(config, settings, start)
        placed = merge_by_peft.place_tensors(base.model, folder, read_tensors(folder)[1])
        scaled = {key: as_strong(key, tensor, config, settings) for key, tensor in placed.items()}
        result = set_peft_model_state_dict(model, {f"base_model.model.{key}": tensor for key, tensor in scaled.items()})
    if lost := sorted(result.unexpected_keys):
        where = f"{len(lost)} of its tensors belong to layers that --lora_target_modules leaves out ({lost[0]}, ...)"
        raise SettingsError([f"{start.flag} {start.path}: {where}; give the adapter's own."])


def as_strong(key: str, tensor: torch.Tensor, config: Any, settings: Settings) -> torch.Tensor:
    """A tensor of another adapter, so that the pair does here what it did there: rsLoRA and alpha_pattern scale otherwise."""
    module, found, _ = key.partition(".lora_B")
    times = scaling(config, module, config.r) * settings.lora_r / settings.lora_alpha if found else 1.0
    return tensor if times == 1.0 else tensor * times


def refuse_misfit(model: PeftModel, settings: Settings, start: Start, steps: int) -> list[str]:
    """Lines on what is otherwise than in the checkpoint. Raises SettingsError if its weights or its step do not fit this run.

    steps: of the whole run, as it is planned now.
    """
    refuse_other_settings(read_config(start.path), settings, start)
    own = {key: tuple(tensor.shape) for key, tensor in get_peft_model_state_dict(model, save_embedding_layers=False).items()}
    saved = {key: tuple(tensor.shape) for key, tensor in read_tensors(start.path)[1].items()}
    if other := sorted(key for key in own.keys() | saved.keys() if own.get(key) != saved.get(key)):
        where = f"{other[0]} is {saved.get(other[0], 'missing')} there and {own.get(other[0], 'missing')} here"
        raise SettingsError(
            [f"{FLAG} {start.path} is of another base or other --lora_target_modules: {where}; give the run's own."]
        )
    if start.step > steps:
        raise SettingsError([f"{FLAG} {start.path} is of step {start.step} and the run has only {steps}; give it more steps."])
    was = (read_json(start.path / STATE) or {})["max_steps"]
    if was == steps:
        return []
    return [
        f"the checkpoint is of a run of {was} steps, this one has {steps}: from step {start.step} on the learning rate is that "
        f"of a run of {steps}."
    ]


def refuse_other_settings(config: Any, settings: Settings, start: Start) -> None:
    """Raise SettingsError if rank or alpha are not the adapter's, or it has several ranks."""
    if config.rank_pattern:
        raise SettingsError([f"{start.flag} {start.path} has layers of different ranks (rank_pattern); a run has one: merge it."])
    was = {"lora_r": config.r, "lora_alpha": config.lora_alpha}
    wrong = [name for name, value in was.items() if getattr(settings, name) != value]
    if wrong:
        other = [f"--{name} is {getattr(settings, name):g} and the adapter's is {was[name]:g}" for name in wrong]
        own = " ".join(f"--{name} {was[name]:g}" for name in wrong)
        raise SettingsError([f"{start.flag} {start.path}: {'; '.join(other)}; give the adapter's own: {own}."])
