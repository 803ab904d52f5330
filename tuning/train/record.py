"""What a run writes down of its beginning, and whether one that is to be resumed is still the same."""

from __future__ import annotations

from pathlib import Path

from engine.bases import Base
from tuning.dataset.recipe import recipe_of
from tuning.train.checkpoint import Start
from tuning.train.plan import Plan
from tuning.train.run_files import FileError, read_json, write_json
from tuning.train.settings import Settings, SettingsError

SETTINGS = "settings.json"  # the run's, as `Settings.load` reads it
PLAN = "plan.json"  # what the settings do not say of it: the data it began with
# resuming with another of these would be another run
FIXED = (
    "base_model",
    "prompt_template_name",
    "batch_size",
    "cutoff_len",
    "train_on_inputs",
    "group_by_length",
    "seed",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "load_in_4bit",
    # the checkpoint's rate and decay would be taken whatever is asked for, and another schedule would begin in its middle
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "warmup_ratio",
    "weight_decay",
    "init_adapter",
)


def write_record(settings: Settings, plan: Plan, base: Base) -> None:
    """Write down what the run began with."""
    folder = Path(settings.output_dir)
    settings.save(folder / SETTINGS)
    begun = {"data_hash": plan.data_hash, "base_hash": base.hash, "steps": plan.steps, "report": plan.lines()}
    recipe = recipe_of(settings.data_path) if settings.data_path else None
    write_json(folder / PLAN, begun | ({"recipe": recipe.as_dict()} if recipe else {}))


def refuse_other_run(settings: Settings, plan: Plan, base: Base, start: Start | None = None) -> list[str]:
    """Raise SettingsError if the run to be resumed was another one. A base may have moved: its weights tell it.

    start: where it goes on from; the run that a checkpoint elsewhere was saved by counts as well. Lines on what cannot be known.
    """
    folders = {Path(settings.output_dir).resolve(), *([start.path.resolve().parent] if start else [])}
    known = sorted(folder for folder in folders if (folder / SETTINGS).is_file())
    changed = dict.fromkeys(line for folder in known for line in differences(folder, settings, plan, base))
    if changed:
        raise SettingsError([f"--resume_from_checkpoint: {one} Resume with the old value, or start anew." for one in changed])
    if known:
        return []
    where = start.path if start else settings.output_dir
    return [f"no {SETTINGS} lies beside {where}: whether rows and recipe are those it began with cannot be known."]


def differences(folder: Path, settings: Settings, plan: Plan, base: Base) -> list[str]:
    """In what the run in `folder` was another, a sentence each."""
    try:
        was, begun = read_json(folder / SETTINGS) or {}, read_json(folder / PLAN) or {}
    except FileError:
        return [f"{folder / SETTINGS} or {PLAN} is damaged, so that the run it began as is not known."]
    now, weights = settings.as_dict(), begun.get("base_hash")
    fixed = FIXED if weights is None else FIXED[1:]  # the base's name, where nothing better is known of it
    changed = [f"--{name} was {was[name]} and is {now[name]}." for name in fixed if name in was and was[name] != now[name]]
    if weights not in (None, base.hash):
        changed.append(f"The weights of --base_model {settings.base_model} are not those the run began with.")
    if begun.get("data_hash", plan.data_hash) != plan.data_hash:
        changed.append("The training rows are not the ones the run began with.")
    return changed
