"""How many optimizer steps a run has, how its learning rate runs through them, and what is done between them.

Pure arithmetic. The number of steps follows transformers' Trainer, the learning rates its schedules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tuning.dataset.rows import DataError
from tuning.train.settings import SCHEDULES, Settings

MARGINS = 10  # in a run: enough for a curve, few enough for a CPU (docs/decisions.md)
CHECKPOINTS = 10  # in a run: a killed one loses a tenth at most
VALIDATED = 1 / 3  # of what is trained: there is no backward pass
MARGIN_TOKENS = 1600  # of one identity margin: four prompts, each with all statements behind it


@dataclass(frozen=True)
class Steps:
    """Optimizer steps of a run. warmup: steps until the full rate is reached; epochs: times the rows are read, rounded.

    accumulation: micro batches per step, which is one: packs, not rows, bound the memory. Scripts read it.
    """

    train_rows: int
    valid_rows: int
    per_epoch: int
    total: int
    warmup: int
    epochs: float
    accumulation: int = 1


def count_steps(settings: Settings, train_rows: int, valid_rows: int = 0) -> Steps:
    """Steps on so many rows; the last, smaller batch of an epoch counts. Raises DataError if there are no rows to train on.

    A number of steps wins over one of epochs, and over a share of them for the warmup.
    """
    if train_rows < 1:
        raise DataError("Steps: there are no rows to train on.")
    per_epoch = math.ceil(train_rows / settings.batch_size)
    total = settings.max_steps or max(1, math.ceil(settings.num_epochs * per_epoch))
    warmup = settings.warmup_steps or math.ceil(total * settings.warmup_ratio)
    epochs = total / per_epoch if settings.max_steps else settings.num_epochs
    return Steps(train_rows, valid_rows, per_epoch, total, warmup, round(epochs, 2))


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


def save_every(settings: Settings, steps: int) -> int:
    """Optimizer steps between checkpoints."""
    return settings.save_steps or max(5, math.ceil(steps / CHECKPOINTS))


def validate_every(settings: Settings, steps: int) -> int:
    """Optimizer steps between validations."""
    return settings.eval_steps or save_every(settings, steps)


def measure_every(settings: Settings, steps: int) -> int:
    """Optimizer steps between identity margins; with moments, and nothing said, they are measured at those."""
    return settings.margin_steps or (steps if settings.moments else max(1, steps // MARGINS))


def moment_steps(settings: Settings, steps: int) -> list[int]:
    """After which optimizer steps there is a moment: evenly, the last among them, and 0 before the first."""
    count = settings.moments
    return sorted({0, *(max(1, round(steps * at / count)) for at in range(1, count + 1))}) if count else []


def count_exposures(settings: Settings, steps: Steps) -> int:
    """Rows that are read in all; the last batch of an epoch may be smaller."""
    epochs, rest = divmod(steps.total, steps.per_epoch)
    return epochs * steps.train_rows + min(rest * settings.batch_size, steps.train_rows)


def extra_rows(settings: Settings, steps: Steps, valid_rows: int, tokens_per_row: float) -> float:
    """What is computed beside the training, as trained rows that take as long. tokens_per_row: of the training, computed ones."""
    total = steps.total
    validated = valid_rows * math.ceil(total / validate_every(settings, total))
    measured = 1 + math.ceil(total / measure_every(settings, total)) if settings.margin else 0
    # of moments and margins at them
    most = settings.moments_share * count_exposures(settings, steps) if settings.moments else 0.0
    margins = VALIDATED * MARGIN_TOKENS / tokens_per_row * measured
    return VALIDATED * validated + max(most, margins)
