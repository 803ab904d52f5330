"""What a run will do, worked out and checked before it starts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common import paths
from engine import formats
from engine.adapters import CONFIG
from engine.bases import Base
from engine.prompts import end_id
from engine.types import EngineError, short_hash
from tuning.dataset.mixing import split_off
from tuning.dataset.placeholders import fill_from_identity
from tuning.dataset.readers import read, read_pair
from tuning.dataset.rows import DataError, TrainingRow
from tuning.train import loading
from tuning.train.batches import Batches, schedule
from tuning.train.checkpoint import Start, start_of
from tuning.train.estimate import CostEstimate, estimate_memory, report
from tuning.train.packing import Share
from tuning.train.run_files import FileError, read_json, write_json
from tuning.train.samples import Sample, sampler
from tuning.train.settings import Settings, SettingsError
from tuning.train.speed import samples_per_s

SETTINGS = "settings.json"  # the run's, as `Settings.load` reads it
PLAN = "plan.json"  # what the settings do not say of it: the data it began with
CPU_PACK = 2048  # tokens: a pass of 1,024 is an eighth slower on a CPU, one of 4,096 no faster
GPU_PACK = 8192
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
)
MARGINS = 10  # in a run: enough for a curve, few enough for a CPU (docs/decisions.md)
CHECKPOINTS = 10  # in a run: a killed one loses a tenth at most
VALIDATED = 1 / 3  # of a trained row: there is no backward pass
MARGIN_ROWS = 16  # trained rows that take as long as one identity margin (docs/decisions.md)


@dataclass(frozen=True)
class Plan:
    """Samples and steps of a run. cut: rows longer than --cutoff_len; lost: rows cut before their answer, left out."""

    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    steps: int
    per_epoch: int
    warmup: int
    budget: int
    share: Share
    order: tuple[tuple[int, ...], ...]
    cut: int
    lost: int
    data_hash: str
    report: CostEstimate
    notes: tuple[str, ...] = ()

    def batches(self, rank: int = 0, processes: int = 1) -> Batches:
        return Batches(self.train, self.order, self.budget, self.share, rank, processes)

    def lines(self) -> list[str]:
        """What a person should read before the first step."""
        said = [*self.report.lines(), *self.notes]
        if self.cut:
            said.append(f"cut: {self.cut:,} rows are longer than --cutoff_len and lose their end.")
        if self.lost:
            said.append(f"left out: {self.lost:,} rows, cut before their answer begins.")
        return said


def rows_of(settings: Settings, notes: list[str] | None = None) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Training and validation rows; notes gets a line for what was passed over. Raises DataError."""
    kind = "identity" if settings.identity else "general"  # of rows that do not say it themselves
    source = settings.data_path or settings.train_dir
    if settings.valid_dir:
        return read_pair(source, settings.valid_dir, kind=kind, notes=notes)
    return split_off(read(source, kind=kind, notes=notes), settings.val_set_size, settings.seed)


def problems(settings: Settings) -> list[str]:
    """What is wrong with the call as far as disk and machine show it, beside `Settings.problems`; nothing is loaded."""
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
    if settings.data_path or settings.train_dir:
        try:
            rows_of(settings)
        except DataError as error:
            found += [f"--{'data_path' if settings.data_path else 'train_dir'}: {line}" for line in str(error).split("\n")]
    return found + folder_problems(settings)


def folder_problems(settings: Settings) -> list[str]:
    folder = Path(settings.output_dir)
    try:
        start = start_of(settings)
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


def make(
    settings: Settings,
    base: Base,
    rows: tuple[Sequence[TrainingRow], Sequence[TrainingRow]],
    processes: int = 1,
    notes: Sequence[str] = (),
) -> Plan:
    """The plan for these rows on this base; their placeholders are filled from the identity that is taught.

    notes: what was said of the rows when they were read. Raises DataError if there is nothing to train on, or rows that must
    not be.
    """
    named = (settings.identity, settings.identities_dir, base.card)
    (train_rows, filled), (valid_rows, more) = (fill_from_identity(part, *named) for part in rows)
    if filled or more:
        notes = [*notes, f"placeholders: {filled + more:,} filled from identity {settings.identity}."]
    make_sample = sampler(base.tokenizer, base.format, settings.cutoff_len, settings.train_on_inputs, end_id(base, base.format))
    sampled, _ = once(make_sample)

    every = [sampled(row) for row in train_rows]
    valid = tuple(one for one in map(sampled, valid_rows) if one.labels)
    train = tuple(one for one in every if one.labels)
    if not train:
        raise DataError(f"No row has an answer within --cutoff_len {settings.cutoff_len} tokens; raise it.")
    steps = settings.total_steps(len(train))
    lengths = [len(one.ids) for one in train] if settings.group_by_length else None
    order = tuple(map(tuple, schedule(len(train), settings.batch_size, steps, settings.seed, lengths)))
    share, budget = packing(settings, base)
    facts = report(
        [*train_rows],
        valid_rows=len(valid_rows),
        **recipe(settings),
        count_tokens=lambda row: len(sampled(row).ids),
        format=base.format.name,
        base_format=own_format(base),
        card_placeholders=tuple(base.card.placeholders),
        samples_per_s=samples_per_s(base, [train[row] for row in order[0]], budget, share) * processes,
        beside=lambda steps: beside(settings, steps, len(valid)),
        memory_bytes=memory(base, settings, budget or max(len(one.ids) for one in train)),
    )
    if facts.refused:
        raise DataError(" ".join(caution.text for caution in facts.cautions if caution.refuse))
    return Plan(
        train=train,
        valid=valid,
        steps=steps,
        per_epoch=-(-len(train) // settings.batch_size),
        warmup=settings.warmup(steps),
        budget=budget,
        share=share,
        order=order,
        cut=sum(len(one.ids) == settings.cutoff_len for one in every),
        lost=len(every) - len(train),
        data_hash=short_hash([one.ids for one in train]),
        report=facts,
        notes=tuple(notes),
    )


def recipe(settings: Settings) -> dict:
    """What `tuning.train.estimate.report` is told of the settings."""
    return dict(
        batch_size=settings.batch_size,
        micro_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        epochs=settings.num_epochs,
        max_steps=settings.max_steps or -1,
        warmup_steps=settings.warmup_steps,
        warmup_ratio=settings.warmup_ratio,
        schedule=settings.lr_scheduler_type,
    )


def packing(settings: Settings, base: Base) -> tuple[Share, int]:
    """What the samples of a pack share, and how many tokens it holds; 0 packs every sample alone."""
    share: Share = "tree" if settings.shares_rows else "prefix" if settings.packing else "nothing"
    return share, (settings.pack_tokens or auto_budget(base)) if settings.packing else 0


def once(make_sample: Callable[[TrainingRow], Sample]) -> tuple[Callable[[TrainingRow], Sample], dict[tuple, Sample]]:
    """The same, tokenizing repeated rows once; and what it has made so far, by the row's turns."""
    known: dict[tuple, Sample] = {}

    def sampled(row: TrainingRow) -> Sample:
        if row.turns not in known:
            known[row.turns] = make_sample(row)
        return known[row.turns]

    return sampled, known


def own_format(base: Base) -> str:
    """The format the base would be asked in if none were named."""
    if base.recorded_format:
        return base.recorded_format.name
    try:
        return formats.recognise(base.tokenizer, base.model.config)[0].name
    except EngineError:
        return base.format.name


def auto_budget(base: Base) -> int:
    """Tokens per pass: on a GPU as many as half of its free memory holds."""
    if base.device.type != "cuda":
        return CPU_PACK
    config = base.model.config.get_text_config()
    free, _ = torch.cuda.mem_get_info(base.device)
    per_layer = config.hidden_size * 12 + getattr(config, "intermediate_size", 0) * 4
    per_token = config.num_hidden_layers * per_layer * base.dtype.itemsize
    return max(512, min(GPU_PACK, free // 2 // per_token))


def memory(base: Base, settings: Settings, tokens: int) -> int:
    """Bytes of the run, about."""
    config = base.model.config.get_text_config()
    parameters = sum(p.numel() for p in base.model.parameters())
    wanted = settings.lora_target_modules
    pairs = sum(
        m.weight.shape[0] + m.weight.shape[1]
        for name, m in base.model.named_modules()
        if isinstance(m, torch.nn.Linear) and (wanted == ("all-linear",) or name.rpartition(".")[2] in wanted)
    )
    return estimate_memory(
        parameters,
        pairs * settings.lora_r,
        base_bytes=loading.NF4_BYTES if settings.load_in_4bit else base.dtype.itemsize,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        tokens_per_pack=tokens,
        vocabulary=0,  # logits are never kept: tuning.train.loss
        activation_bytes=base.dtype.itemsize,
    )


def save_every(settings: Settings, steps: int) -> int:
    """Optimizer steps between checkpoints."""
    return settings.save_steps or max(5, -(-steps // CHECKPOINTS))


def validate_every(settings: Settings, steps: int) -> int:
    return settings.eval_steps or save_every(settings, steps)


def measure_every(settings: Settings, steps: int) -> int:
    """Optimizer steps between identity margins."""
    return settings.margin_steps or max(1, steps // MARGINS)


def beside(settings: Settings, steps: int, valid_rows: int) -> float:
    """What is computed beside the training, as trained rows that take as long."""
    validated = valid_rows * math.ceil(steps / validate_every(settings, steps))
    measured = 1 + math.ceil(steps / measure_every(settings, steps)) if settings.margin else 0
    return VALIDATED * validated + MARGIN_ROWS * measured


def record(settings: Settings, plan: Plan, base: Base) -> None:
    """Write down what the run began with."""
    folder = Path(settings.output_dir)
    settings.save(folder / SETTINGS)
    write_json(folder / PLAN, {"data_hash": plan.data_hash, "base_hash": base.hash, "steps": plan.steps, "report": plan.lines()})


def refuse_other_run(settings: Settings, plan: Plan, base: Base, start: Start | None = None) -> list[str]:
    """Raise SettingsError if the run to be resumed was another one. A base may have moved: its weights tell it.

    start: where it goes on from; the run that a checkpoint elsewhere was saved by counts as well. Lines on what cannot be known.
    """
    folders = {Path(settings.output_dir).resolve(), *([start.path.resolve().parent] if start else [])}
    known = sorted(folder for folder in folders if (folder / SETTINGS).is_file())
    changed = dict.fromkeys(line for folder in known for line in otherwise(folder, settings, plan, base))
    if changed:
        raise SettingsError([f"--resume_from_checkpoint: {one} Resume with the old value, or start anew." for one in changed])
    if known:
        return []
    where = start.path if start else settings.output_dir
    return [f"no {SETTINGS} lies beside {where}: whether rows and recipe are those it began with cannot be known."]


def otherwise(folder: Path, settings: Settings, plan: Plan, base: Base) -> list[str]:
    """In what the run in `folder` was another."""
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


def processes() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says them."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
