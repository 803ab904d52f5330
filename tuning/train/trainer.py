"""Hugging Face's Trainer drives, for its checkpoints, resuming, fp16 scaler and processes; batches, loss and log are ours.

The mean is over the target tokens of the whole optimizer batch (as in transformers since 4.46), not of each micro batch:
how a batch is packed or spread over processes then changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainingArguments

from common import leftovers
from common.errors import UserError
from common.space import room_for
from tuning.train.adapter import save_weights
from tuning.train.batches import Batch, Batches
from tuning.train.estimate import format_duration
from tuning.train.loss import LossOfPack
from tuning.train.run_files import Journal, StopSign, last_saved_step
from tuning.train.step_time import RECENT, seconds_per_step

OnStep = Callable[[int, PeftModel], Mapping[str, float] | None]
When = int | Callable[[int], bool]  # after every so many steps, before the first and after the last; or just where it says so
SKIPPED = 12  # fp16 steps lost in a row: the scaler has then gone from 65536 to 16
LEFT_FROM = 10  # steps before the time to come is said; the first ones are slower


class TrainingError(UserError):
    """The training cannot go on; its text says why and what to do."""


class PackedTrainer(Trainer):
    """One item of the data is one optimizer step: its packs go forward and backward one by one, then the optimizer steps.

    on_step: (when, function) pairs; function(step, model) is called in evaluation mode without gradients, and numbers it returns
    join the step's metrics.
    """

    control: TrainerControl

    def __init__(
        self,
        model: PeftModel,
        args: TrainingArguments,
        train: Batches,
        valid: Batch | None,
        loss_of: LossOfPack,
        journal: Journal,
        stop: StopSign,
        per_epoch: int,
        on_step: Sequence[tuple[When, OnStep]] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__(model, args, train_dataset=train, eval_dataset=[valid] if valid else None)
        self.remove_callback(PrinterCallback)
        self.add_callback(StepCallback(self, stop, on_step))
        self.valid, self.loss_of, self.journal, self.per_epoch, self.say = valid, loss_of, journal, per_epoch, say
        self.extra: dict[str, float] = {}
        self.batch: Batch | None = None
        self.skipped = 0
        self.times: list[tuple[int, float]] = []
        self.since = time.perf_counter()

    def get_train_dataloader(self) -> DataLoader:
        # not accelerate's: it would deal whole steps out to the processes, where each gets its share of every step
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=lambda items: {"batch": items[0]})

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.batch = batch = inputs["batch"]
        self.model.train()
        total = torch.zeros((), device=self.args.device)
        for pack in batch.packs:
            loss = self.loss_of(pack.to(self.args.device)) / max(1, batch.labels)
            self.accelerator.backward(loss)
            total += loss.detach()
        # forward passes went past DistributedDataParallel, which would average where a sum is wanted
        if self.args.world_size > 1:
            sum_over_processes([p for p in self.model.parameters() if p.requires_grad], total)
        self.check_loss(total.item())
        return total

    def check_loss(self, loss: float) -> None:
        if math.isfinite(loss) and loss != 0:
            return
        what = "exactly 0, so nothing can be learned any more" if loss == 0 else f"{loss}, so the weights would be destroyed"
        advice = "use a lower --learning_rate or more warmup"
        if self.base_dtype == torch.float16:
            advice += ", or --dtype bf16 or fp32 (fp16 overflows above 65504)"
        raise TrainingError(f"The loss of step {self.state.global_step + 1} is {what}; {advice}. {self.last_checkpoint()}")

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor | None:
        norm = super()._clip_grad_norm(model)
        value = float(norm) if norm is not None else 1.0
        step = self.state.global_step + 1
        if value == 0:
            raise TrainingError(f"The gradient of step {step} is exactly 0, so nothing is learned. {self.last_checkpoint()}")
        if math.isfinite(value):
            self.skipped = 0
        elif self.accelerator.scaler is None or self.skipped >= SKIPPED:
            raise TrainingError(
                f"The gradient of step {step} is {value}; use a lower --learning_rate or more warmup. {self.last_checkpoint()}"
            )
        else:
            self.skipped += 1  # the scaler leaves this step out and halves its scale: usual in the first steps of fp16
        return norm

    def last_checkpoint(self) -> str:
        step = last_saved_step(self.args.output_dir)
        if step is None:
            return "No checkpoint had been saved yet."
        return f"The checkpoint of step {step} is kept: {Path(self.args.output_dir) / f'checkpoint-{step}'}."

    @property
    def base_dtype(self) -> torch.dtype:
        return self.model.get_base_model().dtype

    @torch.no_grad()
    def evaluate(self, *_args: Any, **_named: Any) -> dict[str, float]:
        """{"eval_loss"}: mean over the targets of all validation rows."""
        self.model.eval()
        assert self.valid, "without validation rows the arguments ask for none"
        total = torch.zeros((), device=self.args.device)
        for pack in self.valid.packs:
            total += self.loss_of(pack.to(self.args.device))
        if self.args.world_size > 1:
            dist.all_reduce(total)
        self.model.train()
        metrics = {"eval_loss": total.item() / max(1, self.valid.labels)}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        self.since = time.perf_counter()  # the next step is not slower for it
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # whoever else is reported to hears of the margin, too
        super().log(logs | self.extra if self.args.report_to and "loss" in logs else logs, start_time)
        step, total = self.state.global_step, self.state.max_steps
        known = {"step": step, "total_steps": total, "epoch": round(step / self.per_epoch, 4), "time": time.time()}
        if self.batch and "loss" in logs:
            seconds, self.since = time.perf_counter() - self.since, time.perf_counter()
            line = known | {
                "loss": logs["loss"],
                "lr": logs["learning_rate"],
                "grad_norm": logs.get("grad_norm"),
                "samples_per_s": round(self.batch.samples / seconds, 3),
                "tokens_per_s": round(self.batch.tokens / seconds, 1),
            }
            self.journal.metric(line | self.extra)
            self.journal.state("running", step=step, total=total, epoch=known["epoch"], loss=logs["loss"])
            if self.is_world_process_zero():
                rate = f"{line['samples_per_s']:.1f} samples/s"
                left = self.seconds_left(step, total)
                self.say(f"{step}/{total}  loss {logs['loss']:.4f}  lr {logs['learning_rate']:.2e}  {rate}{left}")
        elif "eval_loss" in logs:
            self.journal.metric(known | {"eval_loss": logs["eval_loss"]})
            if self.is_world_process_zero():
                self.say(f"{step}/{total}  validation loss {logs['eval_loss']:.4f}")

    def seconds_left(self, step: int, total: int) -> str:
        """The time to come, told anew from this run's own steps: what was told before it began is an estimate."""
        self.times = [*self.times, (step, time.monotonic())][-RECENT:]
        per_step = seconds_per_step(self.times)
        if per_step is None or len(self.times) < LEFT_FROM or step >= total:
            return ""
        return f"  about {format_duration(per_step * (total - step))} left"

    def _save_checkpoint(self, *args: Any, **named: Any) -> None:
        """Whole or not at all: half of one only takes the room that is missing."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        with room_for(f"The checkpoint of step {self.state.global_step}", folder):
            try:
                super()._save_checkpoint(*args, **named)
            except Exception:
                if self.args.should_save:
                    leftovers.remove(folder)
                raise

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        # PEFT's own saving asks the Hub whether the base's vocabulary was changed
        if self.args.should_save:
            save_weights(self.model, Path(output_dir or self.args.output_dir))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0


class StepCallback(TrainerCallback):
    """What happens between two optimizer steps."""

    def __init__(self, trainer: PackedTrainer, stop: StopSign, on_step: Sequence[tuple[When, OnStep]]) -> None:
        self.trainer, self.stop, self.on_step = trainer, stop, on_step

    def on_train_begin(self, args, state, control, **rest) -> None:
        self.trainer.journal.state("running", step=state.global_step, total=state.max_steps)
        if not state.global_step:
            found: dict[str, float] = {}
            for when, function in self.on_step:
                if is_due(when, 0):
                    found |= call_quietly(function, 0, self.trainer.model)
            if found:
                self.trainer.journal.metric({"step": 0, "total_steps": state.max_steps, "epoch": 0, "time": time.time()} | found)
        self.trainer.since = time.perf_counter()

    def on_step_end(self, args, state, control, **rest) -> None:
        last = state.global_step >= state.max_steps
        self.trainer.extra = {}
        for when, function in self.on_step:
            if is_due(when, state.global_step, last):
                self.trainer.extra |= call_quietly(function, state.global_step, self.trainer.model)
        if self.trainer.valid and last:
            control.should_evaluate = True
        if self.is_asked_to_stop():
            control.should_training_stop = True
            control.should_save = True

    def is_asked_to_stop(self) -> bool:
        """Whether to stop, the same for all processes: one that went on alone would wait for ever."""
        if self.trainer.args.world_size == 1:
            return bool(self.stop)
        flag = torch.tensor(float(bool(self.stop)), device=self.trainer.args.device)
        dist.all_reduce(flag)
        return flag.item() > 0


def is_due(when: When, step: int, last: bool = False) -> bool:
    """Whether something is called after this step."""
    return when(step) if callable(when) else last or step % when == 0


def call_quietly(function: OnStep, step: int, model: PeftModel) -> dict[str, float]:
    """Call it without leaving a trace: gradients, mode and random numbers stay as they were."""
    model.eval()
    with torch.no_grad(), torch.random.fork_rng():
        found = function(step, model)
    model.train()
    return dict(found or {})


def sum_over_processes(parameters: Sequence[torch.nn.Parameter], loss: torch.Tensor) -> None:
    """Sum gradients and loss over all processes, in one message; a process without rows adds zeros."""
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([*(grad.reshape(-1) for grad in grads), loss.reshape(1)])
    dist.all_reduce(flat)
    at = 0
    for parameter, grad in zip(parameters, grads, strict=True):
        parameter.grad = grad.copy_(flat[at : at + grad.numel()].view_as(grad))
        at += grad.numel()
    loss.copy_(flat[-1])
