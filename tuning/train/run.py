"""One training run, from settings to an adapter with its card. Whatever a watcher needs stands in its folder: `run_files`."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import TrainingArguments, set_seed
from transformers.utils import logging as transformers_logging

from common.errors import UserError
from common.space import DiskFull, full_disk_sentence as told_full
from engine import formats
from engine.bases import Base
from tuning.dataset.recipe import recipe_of
from tuning.train import adapter, loading, moment_taker, moments, preflight, steps
from tuning.train.batches import pack_batch
from tuning.train.checkpoint import Start, find_start, refuse_misfit, take_weights
from tuning.train.loss import loss_of_pack
from tuning.train.moment_taker import MomentTaker, ask_of
from tuning.train.plan import Plan, make_plan
from tuning.train.preflight import Rows
from tuning.train.record import refuse_other_run, write_record
from tuning.train.reporting import log_in, report_arguments, report_line
from tuning.train.run_files import METRICS, Journal, StopSign, read_metrics
from tuning.train.settings import Settings
from tuning.train.speaking import Asked
from tuning.train.trainer import OnStep, PackedTrainer, When

PACKAGES = ("torch", "transformers", "peft", "accelerate")


def run(
    settings: Settings,
    on_step: Sequence[tuple[When, OnStep]] = (),
    say: Callable[[str], None] = print,
    margin: Callable[[Settings, Base], OnStep] | None = None,
    questions: Callable[[Settings, Sequence[str]], Asked] | None = None,
) -> Path:
    """Train, and return the folder with the adapter.

    on_step: (when, function): function(step, model) is called before the first step, every so many and at the last; see
    PackedTrainer. margin: makes such a function where the settings ask for the identity margin. questions: makes what is asked,
    of the settings and the languages taught, where they ask for moments.
    Raises SettingsError, DataError, EngineError, AdapterError or TrainingError, each for a person; state.json says it too.
    """
    rank, _ = processes()
    say = say if rank == 0 else say_nothing
    rows = preflight.prepare_rows(settings)
    if rank == 0:
        log_in(settings)
    folder = Path(settings.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder if rank == 0 else None)
    journal.state("starting", "loading the base")
    try:
        return train(settings, rows, journal, on_step, say, margin, questions)
    except KeyboardInterrupt:
        step = journal.known["step"]
        journal.state("stopped", f"stopped after step {step}" if step else "stopped before its first step")
        raise
    except BaseException as error:
        with contextlib.suppress(DiskFull):  # then the log says it
            journal.state("failed", describe_error(error, folder))
        raise


def train(
    settings: Settings,
    rows: Rows,
    journal: Journal,
    on_step: Sequence[tuple[When, OnStep]],
    say: Callable[[str], None],
    margin: Callable[[Settings, Base], OnStep] | None,
    questions: Callable[[Settings, Sequence[str]], Asked] | None,
) -> Path:
    """`run`, once nothing is wrong with the call."""
    folder, (rank, count) = Path(settings.output_dir), processes()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    base = loading.load_base(settings, say)
    measure = margin(settings, base) if margin and settings.margin else None
    asked = ask_of(settings, rows, questions)
    planned = make_plan(settings, base, rows, count)
    start = find_start(settings)
    resumed = start if start and start.step else None
    notes = [*start.notes] if start else []
    if resumed:
        notes += refuse_other_run(settings, planned, base, resumed)
    for line in planned.lines():
        say(line)
    journal.state("starting", "preparing", total=planned.steps, report=planned.lines())
    arguments = training_arguments(settings, planned, base)  # joins the other processes
    set_seed(settings.seed)
    model, more = start_model(settings, base, start, planned.steps)
    if rank == 0:  # only now: what is refused leaves an earlier run's record as it was
        clear_folder(folder, settings.overwrite_output_dir, resumed=bool(start and start.step))
        write_record(settings, planned, base)
    stop, taker = StopSign(folder), None
    if asked and rank == 0:
        done = resumed.step if resumed else 0
        taker = moment_taker.make(
            settings, base, planned, asked, measure, done, stop, functools.partial(save_step, settings, base, planned), say
        )
        measure = taker.margin
    if measure:
        on_step = [*on_step, (steps.measure_every(settings, planned.steps), measure)]
    trainer = PackedTrainer(
        model,
        arguments,
        train=planned.batches(rank, count),
        valid=pack_batch(planned.valid, planned.budget, "tree", rank, count) if planned.valid else None,
        loss_of=loss_of_pack(model),
        journal=journal,
        stop=stop,
        per_epoch=planned.per_epoch,
        on_step=[*on_step, (taker.due, taker)] if taker else on_step,
        say=say,
    )
    for line in (*notes, *more, *report_line(settings)):
        say(line)
    if resumed:
        journal.cut(resumed.step)
        if rank == 0:
            moments.cut(folder, resumed.step)
        say(f"resuming after step {resumed.step} from {resumed.path}")
    trainer.train(resume_from_checkpoint=str(resumed.path) if resumed else None)
    if rank == 0:
        finish(settings, base, planned, model, trainer.state.global_step, journal, say, taker)
    if count > 1:
        trainer.accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
    return folder


def start_model(settings: Settings, base: Base, start: Start | None, steps: int) -> tuple[PeftModel, list[str]]:
    """The base with a fresh adapter, or with the weights it starts from; lines on what is otherwise than in the checkpoint.

    A checkpoint's own weights are read when training goes on from it. Raises SettingsError, EngineError or AdapterError.
    """
    model = adapter.start_adapter(base.model, settings, base.record)
    if start and start.step:
        return model, refuse_misfit(model, settings, start, steps)
    if start:
        take_weights(model, base, settings, start)
    return model, []


def training_arguments(settings: Settings, planned: Plan, base: Base) -> TrainingArguments:
    """The Trainer's arguments; making them joins the other processes."""
    transformers_logging.set_verbosity_error()
    return TrainingArguments(
        output_dir=settings.output_dir,
        per_device_train_batch_size=1,  # one item is one optimizer step: tuning.train.batches
        gradient_accumulation_steps=1,
        max_steps=planned.steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.lr_scheduler_type,
        warmup_steps=planned.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch",
        fp16=base.dtype == torch.float16,  # brings the scaler; bf16 needs none
        use_cpu=base.device.type == "cpu",
        ddp_backend="gloo" if base.device.type == "cpu" and processes()[1] > 1 else None,
        ddp_find_unused_parameters=False,
        seed=settings.seed,
        save_strategy="steps",
        save_steps=steps.save_every(settings, planned.steps),
        save_total_limit=settings.save_total_limit,
        eval_strategy="steps" if planned.valid else "no",
        eval_steps=steps.validate_every(settings, planned.steps),
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        **report_arguments(settings),
        remove_unused_columns=False,
    )


def finish(
    settings: Settings,
    base: Base,
    planned: Plan,
    model: PeftModel,
    done: int,
    journal: Journal,
    say: Callable[[str], None],
    taker: MomentTaker | None = None,
) -> None:
    """Save the adapter of step `done`, or of the best moment, with its card, check what was saved, and say how the run ended."""
    folder, best = Path(settings.output_dir), taker.best if taker else None
    journal.state("saving", step=done)
    card = make_card(settings, folder, base, planned, best.step if best else done) | (taker.told(done) if taker else {})
    if best:
        adapter.copy_adapter(moments.place(folder, best.step), folder, card)
    else:
        adapter.save_adapter(model, folder, card, settings.adapter_dtype)
    model.unload()
    first = planned.train[0]
    adapter.check_adapter(folder, base, list(first.ids[: max(1, first.first_target)]))
    stopped = done < planned.steps and not best
    said = f"stopped after step {done} of {planned.steps}; the adapter is that of this step" if stopped else ""
    if best:
        said = f"formed after step {done} of {planned.steps}; kept is the moment after step {best.step} ({moments.RULE})"
    elif taker and taker.stop and not stopped:
        said = f"not formed for {moments.RUNNING} moments running; the adapter is that of the last step"
    for line in taker.lines(done) if taker else ():
        say(line)
    journal.state("stopped" if stopped else "done", said, step=done)
    say(f"{said or 'done'}: {folder}")


def save_step(settings: Settings, base: Base, planned: Plan, model: PeftModel, step: int, folder: Path) -> None:
    """The adapter as it is after `step` as an adapter of its own, with its card."""
    card = make_card(settings, Path(settings.output_dir), base, planned, step)
    about = {"name": f"{settings.adapter_name}-step-{step}", "moment": {"run": settings.adapter_name, "step": step}}
    adapter.save_adapter(model, folder, card | about, settings.adapter_dtype)


def make_card(settings: Settings, folder: Path, base: Base, planned: Plan, done: int) -> dict[str, Any]:
    """What has to be known of an adapter to use it, and to make it again."""
    lines = [line for line in read_metrics(folder) if line["step"] <= done]
    losses = [line["loss"] for line in lines if line.get("loss") is not None]
    checks = [[line["step"], line["eval_loss"]] for line in lines if line.get("eval_loss") is not None]
    facts, recipe = planned.report, recipe_of(settings.data_path) if settings.data_path else None
    about = {
        "name": settings.adapter_name,
        "base": base.record,
        "base_hash": base.hash,
        "format": base.format.name,
        "format_hash": base.format.hash,
        "identity": settings.identity or None,
        "data": {
            "source": settings.source,
            "recipe": recipe.as_dict() if recipe else None,
            "hash": planned.data_hash,
            "rows": len(planned.train),
            "validation_rows": len(planned.valid),
            "distinct": facts.distinct,
            "identity_rows": facts.identity_rows,
            "share": round(facts.share, 4),
            "tokens": facts.tokens,
            "cut": planned.cut,
            "left_out": planned.lost,
        },
        "steps": done,
        "planned_steps": planned.steps,
        "exposures": sum(map(len, planned.order[:done])),
        "warmup_steps": planned.warmup,
        "sum_of_rates": sum(line["lr"] for line in lines if "lr" in line),
        "arguments": settings.as_dict(),
        "dtype": str(base.dtype).removeprefix("torch."),
        "seed": settings.seed,
        "losses": {"first": losses[0], "last": losses[-1], "lowest": min(losses), "validation": checks} if losses else {},
        "versions": {name: version(name) for name in PACKAGES},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if base.format.name not in formats.names():
        # a format of no file of ours has to travel whole
        about["format_template"] = base.format.template
        about["format_stop"] = list(base.format.stop)
        about["format_adds_special_tokens"] = base.format.add_special_tokens
    return about


def clear_folder(folder: Path, anew: bool, resumed: bool) -> None:
    """Before a run that begins anew, what an earlier one left goes, so that nothing of it is taken for this one's; of one that
    died before its first checkpoint there are only figures."""
    if not resumed:
        moments.clear(folder)
        (folder / METRICS).unlink(missing_ok=True)
    if anew:
        for path in folder.glob("checkpoint-*"):
            shutil.rmtree(path)
        for name in map(str, (adapter.CONFIG, adapter.SAFETENSORS, adapter.CARD)):
            (folder / name).unlink(missing_ok=True)


def describe_error(error: BaseException, folder: Path) -> str:
    """What state.json says of an error."""
    if isinstance(error, UserError):
        return str(error)
    if full := told_full(error, folder):
        return full
    if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return "Out of memory; use a smaller --pack_tokens, or --load_in_4bit, or free some memory."
    return f"{type(error).__name__}: {error}"


def say_nothing(_text: str) -> None:
    pass


def processes() -> tuple[int, int]:
    """(rank, number of processes) as torchrun says them."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
