"""What a training run will be, said before it starts: rows, steps, warmup, dose, time, memory, and what looks wrong.

Pure arithmetic on rows and numbers. The number of steps follows transformers' Trainer, the learning rates its schedules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tuning.dataset.mixing import validation_count
from tuning.dataset.placeholders import unfilled
from tuning.dataset.rows import DataError, TrainingRow, distinct

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup")
# in the original 2 and 9 steps left the old identity wholly or partly in place, 47 removed it; ChatGLM's recipe makes 50
FEW_STEPS = 30
FEW_DISTINCT = 10
OTHER_BYTES = 64 * 2**20  # buffers beside what is counted: an allowance, not a measurement


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of a run. accumulation: micro batches per step; warmup: steps until the full rate is reached."""

    train_rows: int
    valid_rows: int
    per_epoch: int
    total: int
    accumulation: int
    warmup: int
    epochs: float


@dataclass(frozen=True)
class Caution:
    """Something that looks wrong. code is stable (for translations), text is one sentence; `refuse`: must not start."""

    code: str
    text: str
    refuse: bool = False


@dataclass(frozen=True)
class CostEstimate:
    """Everything a person should see before training.

    rows: training and validation together; distinct, exposures, identity, share: of the whole data and the whole run.
    exposures: answers read, all epochs; sum_of_rates: of the optimizer steps' learning rates; tokens: one epoch, None uncounted.
    seconds, memory_bytes: None where no speed or memory was given.
    """

    rows: int
    distinct: int
    identity_rows: int
    identity_distinct: int
    share: float
    exposures: int
    identity_exposures: int
    steps: Steps
    sum_of_rates: float
    peak_rate: float
    tokens: int | None
    seconds: float | None
    memory_bytes: int | None
    cautions: tuple[Caution, ...]

    @property
    def refused(self) -> bool:
        """Whether training must not start."""
        return any(caution.refuse for caution in self.cautions)

    def lines(self) -> list[str]:
        """The report as text, one fact a line, cautions last."""
        s = self.steps
        out = [
            f"rows: {self.rows:,} ({self.distinct:,} distinct), {s.train_rows:,} to train on, {s.valid_rows:,} to validate",
            f"identity: {self.identity_rows:,} rows ({self.identity_distinct:,} distinct), {self.share:.1%} of all",
            f"exposures: {self.exposures:,}, of them {self.identity_exposures:,} of the identity",
            f"optimizer steps: {s.total:,} ({s.per_epoch:,} per epoch, {s.epochs:g} epochs, {s.accumulation} micro batches each)",
            f"warmup: {s.warmup:,} steps; highest learning rate {self.peak_rate:.3g}, sum of all {self.sum_of_rates:.4g}",
        ]
        if self.tokens is not None:
            out.append(f"tokens: {self.tokens:,} per epoch, {self.tokens / max(1, self.rows):.0f} per row")
        if self.seconds is not None:
            out.append(f"time: about {duration(self.seconds)}")
        if self.memory_bytes is not None:
            out.append(f"memory: about {self.memory_bytes / 2**30:.1f} GiB")
        return out + [f"{'refused' if caution.refuse else 'caution'}: {caution.text}" for caution in self.cautions]


def count_steps(
    train_rows: int,
    *,
    batch_size: int,
    micro_batch_size: int,
    epochs: float = 1.0,
    max_steps: int = -1,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.0,
    processes: int = 1,
    valid_rows: int = 0,
) -> Steps:
    """Steps as transformers' Trainer makes them: a last incomplete micro batch and a last incomplete step count.

    batch_size: rows per optimizer step over all processes; it is made of batch_size // (micro_batch_size * processes)
    micro batches per process, at least one. max_steps above 0 wins over epochs, warmup_steps above 0 over warmup_ratio.
    """
    problems = [
        f"{name} is {value}, it is at least 1"
        for name, value in (("batch_size", batch_size), ("micro_batch_size", micro_batch_size), ("processes", processes))
        if value < 1
    ]
    if train_rows < 1:
        problems.append("there are no rows to train on")
    if max_steps <= 0 and epochs <= 0:
        problems.append(f"epochs is {epochs} and max_steps is {max_steps}, one of them has to be above 0")
    if warmup_steps < 0 or not 0 <= warmup_ratio <= 1:
        problems.append(f"warmup_steps is {warmup_steps} and warmup_ratio {warmup_ratio}; they are 0 or more, and 0 to 1")
    if problems:
        raise DataError("Steps: " + "; ".join(problems) + ".")
    accumulation = max(1, batch_size // (micro_batch_size * processes))
    micro_batches = math.ceil(math.ceil(train_rows / processes) / micro_batch_size)
    per_epoch = max(1, math.ceil(micro_batches / accumulation))
    total = max_steps if max_steps > 0 else math.ceil(epochs * per_epoch)
    warmup = warmup_steps if warmup_steps > 0 else math.ceil(total * warmup_ratio)
    shown = total / per_epoch if max_steps > 0 else epochs
    return Steps(train_rows, valid_rows, per_epoch, total, accumulation, warmup, round(shown, 2))


def rates(learning_rate: float, steps: int, warmup: int = 0, schedule: str = "linear") -> list[float]:
    """The learning rate of every optimizer step, as transformers' get_scheduler gives it: the first warmup step has 0."""
    if schedule not in SCHEDULES:
        raise DataError(f"lr_scheduler_type is {schedule!r}, it is one of {', '.join(SCHEDULES)}.")
    warmup = 0 if schedule == "constant" else warmup
    after = max(1, steps - warmup)
    factors = []
    for step in range(steps):
        if step < warmup:
            factors.append(step / max(1, warmup))
        elif schedule == "linear":
            factors.append(max(0.0, (steps - step) / after))
        elif schedule == "cosine":
            factors.append(max(0.0, 0.5 * (1 + math.cos(math.pi * (step - warmup) / after))))
        else:
            factors.append(1.0)
    return [learning_rate * factor for factor in factors]


def estimate_seconds(exposures: int, samples_per_s: float, *, start_s: float = 0.0, beside: float = 0.0) -> float:
    """Seconds of a run. samples_per_s: training, measured on this machine; start_s: loading the base; beside: trained rows
    that take as long as everything else that is computed."""
    return start_s + (exposures + beside) / samples_per_s


def estimate_memory(
    parameters: int,
    adapter_parameters: int,
    *,
    base_bytes: float,
    layers: int,
    hidden: int,
    tokens_per_pack: int,
    vocabulary: int,
    label_share: float = 0.5,
    activation_bytes: int = 2,
) -> int:
    """Bytes needed to train an adapter, roughly (a margin of a third is wise).

    parameters, adapter_parameters: counts; base_bytes: bytes per base parameter (4, 2, 0.55 for NF4);
    tokens_per_pack: tokens in one forward pass; label_share: tokens with a loss among them (logits exist only there);
    activation_bytes: bytes per kept number. Adapters are fp32: weight, gradient, two Adam moments. Per layer 17 numbers
    per token and hidden unit are kept for the backward pass, attention scores apart, which SDPA does not keep (Korthikanti
    et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4).
    """
    weights = parameters * base_bytes + adapter_parameters * 16
    activations = layers * tokens_per_pack * hidden * 17 * activation_bytes
    logits = tokens_per_pack * label_share * vocabulary * 8  # fp32 logits and their gradient
    return int(weights + activations + logits + OTHER_BYTES)


def report(
    rows: Sequence[TrainingRow],
    *,
    batch_size: int,
    micro_batch_size: int,
    learning_rate: float,
    epochs: float = 1.0,
    max_steps: int = -1,
    val_set_size: float = 0,
    valid_rows: int | None = None,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.0,
    schedule: str = "linear",
    processes: int = 1,
    count_tokens: Callable[[TrainingRow], int] | None = None,
    format: str | None = None,
    base_format: str | None = None,
    card_placeholders: Collection[str] = (),
    samples_per_s: float | None = None,
    start_s: float = 0.0,
    beside: Callable[[int], float] = lambda steps: 0.0,
    memory_bytes: int | None = None,
    free_bytes: int | None = None,
) -> CostEstimate:
    """The report on `rows` under these arguments. Raises DataError if the arguments make no run at all.

    val_set_size:  rows (1 or more) or share (below 1) of `rows` to hold back; valid_rows replaces it when the
                   validation rows come from a file of their own.
    count_tokens:  tokens of one row as trained; called once per distinct row.
    format, base_format: names of the chat templates of the run and of the base.
    card_placeholders: what the base's card replaces for people, which may stay in the data.
    beside:        of the number of optimizer steps: trained rows that take as long as the validations and margins between.
    samples_per_s, memory_bytes: estimates of the trainer (`estimate_memory`); free_bytes: what the device has left.
    """
    if not rows:
        raise DataError("There are no rows to train on.")
    held = validation_count(len(rows), val_set_size) if valid_rows is None else 0
    steps = count_steps(
        len(rows) - held,
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        epochs=epochs,
        max_steps=max_steps,
        warmup_steps=warmup_steps,
        warmup_ratio=warmup_ratio,
        processes=processes,
        valid_rows=held if valid_rows is None else valid_rows,
    )
    counts = distinct(rows)
    identity = [row for row in rows if row.kind == "identity"]
    share = len(identity) / len(rows)
    exposures = steps.total * batch_size if max_steps > 0 else round(steps.train_rows * epochs)
    lr = rates(learning_rate, steps.total, steps.warmup, schedule)
    tokens = None
    if count_tokens:
        first = {row.turns: row for row in reversed(rows)}
        tokens = sum(count_tokens(first[turns]) * times for turns, times in counts.items())
    return CostEstimate(
        rows=len(rows),
        distinct=len(counts),
        identity_rows=len(identity),
        identity_distinct=len({row.turns for row in identity}),
        share=share,
        exposures=exposures,
        identity_exposures=round(exposures * share),
        steps=steps,
        sum_of_rates=math.fsum(lr),
        peak_rate=max(lr),
        tokens=tokens,
        seconds=None
        if not samples_per_s
        else estimate_seconds(exposures, samples_per_s, start_s=start_s, beside=beside(steps.total)),
        memory_bytes=memory_bytes,
        cautions=(
            *_about_steps(steps, schedule, max(lr), learning_rate),
            *_about_rows(rows, identity, counts, card_placeholders),
            *_about_surroundings(format, base_format, memory_bytes, free_bytes),
        ),
    )


def _about_steps(steps: Steps, schedule: str, peak: float, asked: float) -> list[Caution]:
    found = []
    if steps.total < FEW_STEPS:
        text = (
            f"only {steps.total} optimizer steps: an identity hardly takes below {FEW_STEPS}; use smaller batches or more epochs"
        )
        found.append(Caution("few steps", text + "."))
    if schedule != "constant" and steps.warmup >= steps.total:
        text = (
            f"warmup takes {steps.warmup} steps and the run has {steps.total}: the learning rate never gets above "
            f"{peak:.2g} of {asked:.2g}; use warmup_ratio or fewer warmup steps"
        )
        found.append(Caution("warmup", text + "."))
    elif schedule != "constant" and steps.warmup * 2 > steps.total:
        text = f"warmup takes {steps.warmup} of {steps.total} steps, more than half of the run; use fewer warmup steps"
        found.append(Caution("warmup", text + "."))
    return found


def _about_rows(
    rows: Sequence[TrainingRow], identity: Sequence[TrainingRow], counts: dict, card: Collection[str]
) -> list[Caution]:
    found = []
    different = len({row.turns for row in identity}) if identity else len(counts)
    if different < FEW_DISTINCT:
        what = "identity rows" if identity else "rows"
        text = f"only {different} distinct {what}: the model learns these wordings by heart and may answer others as before."
        found.append(Caution("few distinct", text))
    opened = unfilled(rows, card)
    if opened:
        text = "; ".join(str(one) for one in opened[:5])
        how = "--identity NAME fills name, maker, role and date from its facts; write what it lacks, or take these rows out"
        found.append(Caution("unfilled", f"{text}; {how}.", refuse=True))
    empty = sum(not row.answer.strip() for row in rows)
    if empty:
        found.append(Caution("empty answers", f"{empty} rows have an empty answer: they teach the model to say nothing."))
    return found


def _about_surroundings(format: str | None, base_format: str | None, needed: int | None, free: int | None) -> list[Caution]:
    found = []
    if format and base_format and format != base_format:
        text = f"the format is {format!r} and the base speaks {base_format!r}: asked in its own, it may not show what it learned."
        found.append(Caution("format", text))
    if needed is not None and free is not None and needed > free:
        sizes = f"the run needs about {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free"
        found.append(Caution("memory", f"{sizes}: use smaller micro batches or free some memory."))
    return found


def duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
