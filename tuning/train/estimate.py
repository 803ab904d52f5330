"""What a training run will be, said before it starts: rows, steps, warmup, dose, time, memory, and what looks wrong.

Pure arithmetic on rows and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

from tuning.dataset.placeholders import find_unfilled
from tuning.dataset.rows import DataError, TrainingRow, Turn, distinct
from tuning.train.settings import Settings
from tuning.train.steps import Steps, count_exposures, rates

# in the original 2 and 9 steps left the old identity wholly or partly in place, 47 removed it; ChatGLM's recipe makes 50
FEW_STEPS = 30
FEW_DISTINCT = 10
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
SHORT_WARMUP = {"warmup_ratio": 0.05, "warmup_steps": 0}
# measured on the small model by `python -m bench.doses` (docs/decisions.md): 160 rows in 40 steps, q, k, v, o at rank 8
WEAK_RATES = 0.02  # sum of learning rates: with 0.01 it said who it is in none of 16 answers, with 0.04 in 10
NARROW = 4  # rank times kinds of layers: with 2 (q_proj at rank 2) in none of 16, with 32 in 10
SMALL = 1_000_000_000  # parameters: larger models learn at lower rates than the measured one


@dataclass(frozen=True)
class Caution:
    """Something that looks wrong. code is stable (for translations), text is one sentence; `refuse`: must not start.

    remedy: settings, or fields of the recipe, that would do.
    """

    code: str
    text: str
    refuse: bool = False
    remedy: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CostEstimate:
    """Everything a person should see before training.

    rows: to train on, as they were read; distinct, exposures, identity, share: of these and the whole run.
    batch_size: rows a step; exposures: answers read, all epochs; sum_of_rates: of the optimizer steps' learning rates.
    tokens: one epoch, None uncounted.
    seconds, memory_bytes: None where no speed or memory was given. valid_copies: validation rows that are trained as well.
    """

    rows: int
    distinct: int
    identity_rows: int
    identity_distinct: int
    share: float
    batch_size: int
    exposures: int
    identity_exposures: int
    steps: Steps
    sum_of_rates: float
    peak_rate: float
    tokens: float | None
    seconds: float | None
    memory_bytes: int | None
    valid_copies: int
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
            out.append(f"time: about {format_duration(self.seconds)}")
        if self.memory_bytes is not None:
            out.append(f"memory: about {self.memory_bytes / 2**30:.1f} GiB")
        return out + [f"{'refused' if caution.refuse else 'caution'}: {caution.text}" for caution in self.cautions]


def estimate_seconds(exposures: int, samples_per_s: float, *, start_s: float = 0.0, extra_rows: float = 0.0) -> float:
    """Seconds of a run; the arguments as in `Measured`."""
    return start_s + (exposures + extra_rows) / samples_per_s


@dataclass(frozen=True)
class Measured:
    """What is known of rows, base and machine beside their number; None where it is not.

    count_tokens: tokens of one row as trained; called once per distinct row.
    format, base_format: names of the chat templates of the run and of the base.
    parameters: of the base, None where they are not known.
    card_placeholders: what the base's card replaces for people, which may stay in the data.
    samples_per_s: rows trained per second on this machine; start_s: seconds of loading the base.
    extra_rows: trained rows that take as long as everything else that is computed (`steps.extra_rows`).
    memory_bytes: of the run, about (`run_memory.memory_bytes`).
    valid: the validation rows.
    """

    count_tokens: Callable[[TrainingRow], float] | None = None
    format: str | None = None
    base_format: str | None = None
    parameters: int | None = None
    card_placeholders: Collection[str] = ()
    samples_per_s: float | None = None
    start_s: float = 0.0
    extra_rows: float = 0.0
    memory_bytes: int | None = None
    valid: Sequence[TrainingRow] = ()


def estimate(settings: Settings, rows: Sequence[TrainingRow], steps: Steps, measured: Measured | None = None) -> CostEstimate:
    """What training on `rows` will be, in so many steps. Raises DataError if there are no rows."""
    if not rows:
        raise DataError("There are no rows to train on.")
    measured = measured or Measured()
    counts = distinct(rows)
    identity = [row for row in rows if row.kind == "identity"]
    share = len(identity) / len(rows)
    exposures = count_exposures(settings, steps)
    copies = sum(row.turns in counts for row in measured.valid)
    schedule = settings.lr_scheduler_type
    lr = rates(settings.learning_rate, steps.total, steps.warmup, schedule)
    return CostEstimate(
        rows=len(rows),
        distinct=len(counts),
        identity_rows=len(identity),
        identity_distinct=len({row.turns for row in identity}),
        share=share,
        batch_size=settings.batch_size,
        exposures=exposures,
        identity_exposures=round(exposures * share),
        steps=steps,
        sum_of_rates=math.fsum(lr),
        peak_rate=max(lr),
        tokens=_count_tokens(rows, counts, measured.count_tokens) if measured.count_tokens else None,
        seconds=estimate_seconds(exposures, measured.samples_per_s, start_s=measured.start_s, extra_rows=measured.extra_rows)
        if measured.samples_per_s
        else None,
        memory_bytes=measured.memory_bytes,
        valid_copies=copies,
        cautions=(
            *_about_steps(steps, schedule, max(lr), settings.learning_rate),
            *_about_dose(settings, math.fsum(lr), measured.parameters),
            *_about_share(rows, identity),
            *_about_validation(copies, len(measured.valid)),
            *_about_rows(rows, identity, counts, measured.card_placeholders),
            *_about_format(measured.format, measured.base_format),
        ),
    )


def _count_tokens(
    rows: Sequence[TrainingRow], counts: Mapping[tuple[Turn, ...], int], count: Callable[[TrainingRow], float]
) -> float:
    first = {row.turns: row for row in reversed(rows)}
    return sum(count(first[turns]) * times for turns, times in counts.items())


def _about_steps(steps: Steps, schedule: str, peak: float, asked: float) -> list[Caution]:
    found = []
    if steps.total < FEW_STEPS:
        text = (
            f"only {steps.total} optimizer steps: an identity hardly takes below {FEW_STEPS}; use smaller batches or more epochs"
        )
        found.append(Caution("few steps", text + ".", remedy={"max_steps": 40}))
    if peak == 0:
        text = (
            f"the learning rate is 0 in all of its {steps.total} optimizer steps, for a warmup begins with 0: nothing would be "
            "trained; use warmup_steps 0, smaller batches or more epochs"
        )
        found.append(Caution("no rate", text + ".", refuse=True, remedy={**SHORT_WARMUP, "max_steps": 40}))
    elif schedule != "constant" and steps.warmup >= steps.total:
        text = (
            f"warmup takes {steps.warmup} steps and the run has {steps.total}: the learning rate never gets above "
            f"{peak:.2g} of {asked:.2g}; use warmup_ratio or fewer warmup steps"
        )
        found.append(Caution("warmup", text + ".", remedy=SHORT_WARMUP))
    elif schedule != "constant" and steps.warmup * 2 > steps.total:
        text = f"warmup takes {steps.warmup} of {steps.total} steps, more than half of the run; use fewer warmup steps"
        found.append(Caution("warmup", text + ".", remedy=SHORT_WARMUP))
    return found


def _about_dose(settings: Settings, rates_sum: float, parameters: int | None) -> list[Caution]:
    """What is known of the small model only is said of small ones only."""
    found: list[Caution] = []
    if parameters is None or parameters > SMALL:
        return found
    if rates_sum < WEAK_RATES:
        text = (
            f"the learning rates of all steps come to {rates_sum:.2g}: the small model says nothing new of itself below "
            f"{WEAK_RATES:g}; use a higher rate or more steps."
        )
        found.append(Caution("weak rates", text, remedy={"learning_rate": 2e-3}))
    layers = [*settings.lora_target_modules]
    if "all-linear" not in layers and settings.lora_r * len(layers) <= NARROW:
        text = (
            f"only {', '.join(layers)} at rank {settings.lora_r} can change: the small model learned nothing that way, and did "
            "with q, k, v, o at rank 8."
        )
        found.append(Caution("narrow", text, remedy={"lora_target_modules": ATTENTION, "lora_r": 8, "lora_alpha": 16}))
    return found


def _about_share(rows: Sequence[TrainingRow], identity: Sequence[TrainingRow]) -> list[Caution]:
    if not identity or len(identity) < len(rows):
        return []
    text = (
        "all rows are about who the model is: in 7 of 16 answers to other questions the small model then spoke of itself, and in "
        "1 of 16 where half of the rows were general ones."
    )
    return [Caution("all identity", text, remedy={"general_share": 0.5})]


def _about_validation(copies: int, valid: int) -> list[Caution]:
    """A few are chance; where rows are repeated most are."""
    if 2 * copies < max(1, valid):
        return []
    text = f"{copies} of {valid} validation rows are trained as well: their loss says nothing of rows that are new."
    return [Caution("seen validation", text, remedy={"val_set_size": 0.0})]


def _about_rows(
    rows: Sequence[TrainingRow], identity: Sequence[TrainingRow], counts: Sized, card: Collection[str]
) -> list[Caution]:
    found = []
    different = len({row.turns for row in identity}) if identity else len(counts)
    if different < FEW_DISTINCT:
        what = "identity rows" if identity else "rows"
        text = f"only {different} distinct {what}: the model learns these wordings by heart and may answer others as before."
        found.append(Caution("few distinct", text))
    opened = find_unfilled(rows, card)
    if opened:
        text = "; ".join(str(one) for one in opened[:5])
        how = (
            "--identity NAME fills name, maker, role and date from its facts, --author the maker; write what is lacking, or take "
            "these rows out"
        )
        found.append(Caution("unfilled", f"{text}; {how}.", refuse=True))
    empty = sum(not row.answer.strip() for row in rows)
    if empty:
        found.append(Caution("empty answers", f"{empty} rows have an empty answer: they teach the model to say nothing."))
    return found


def _about_format(format: str | None, base_format: str | None) -> list[Caution]:
    if not format or not base_format or format == base_format:
        return []
    text = f"the format is {format!r} and the base speaks {base_format!r}: asked in its own, it may not show what it learned."
    return [Caution("format", text)]


def format_duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says them."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
