"""Mixes identity rows into general ones, and splits validation rows off; every draw comes from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from tuning.dataset.rows import DataError, TrainingRow


def mix(
    identity: Sequence[TrainingRow],
    general: Sequence[TrainingRow],
    *,
    count: int | None = None,
    share: float | None = None,
    general_count: int | None = None,
    seed: int = 0,
) -> list[TrainingRow]:
    """Identity rows and general rows in one shuffled list.

    count:         that many identity rows; neither count nor share takes all of them.
    share:         as many as make up this share (0 to 1, exclusive of 1) of the whole.
    general_count: that many general rows; None takes all. Drawn without replacement, so no more than there are.
    Identity rows are taken in their order (the first rows of a generated set are a smaller set); when more are asked for
    than there are they start over, as in the original experiment: exposures, not new rows.
    """
    problems = []
    if count is not None and share is not None:
        problems.append("count and share are both given: give one")
    if count is not None and count < 0:
        problems.append(f"count is {count}, it is 0 or more")
    if share is not None and not 0 <= share < 1:
        problems.append(f"share is {share}, it lies between 0 and 1 (without general rows leave it out)")
    if general_count is not None and not 0 <= general_count <= len(general):
        problems.append(f"general_count is {general_count}, there are {len(general)} general rows")
    wanted_some = bool(count) or bool(share)
    if wanted_some and not identity:
        problems.append("there are no identity rows to mix in")
    if share and not (len(general) if general_count is None else general_count):
        problems.append(f"share is {share}, but there are no general rows it could be a share of")
    if problems:
        raise DataError("Mixing: " + "; ".join(problems) + ".")
    rng = random.Random(seed)
    kept = list(general) if general_count is None else rng.sample(list(general), general_count)
    if share is not None:
        count = round(share / (1 - share) * len(kept))
    count = len(identity) if count is None else count
    mixed = [identity[i % len(identity)] for i in range(count)] + kept
    rng.shuffle(mixed)
    return mixed


def split_off(rows: Sequence[TrainingRow], size: float, seed: int = 42) -> tuple[list[TrainingRow], list[TrainingRow]]:
    """Training rows and validation rows. size: a count (1 or more) or a share (below 1); 0 splits nothing off."""
    count = validation_count(len(rows), size)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    held = set(order[:count])
    return [row for i, row in enumerate(rows) if i not in held], [rows[i] for i in order[:count]]


def validation_count(rows: int, size: float) -> int:
    """How many of `rows` rows a validation size (count or share) takes; DataError if none would be left to train on."""
    if size < 0 or (size >= 1 and size != int(size)):
        raise DataError(f"val_set_size is {size}, it is 0, a share below 1 or a whole number of rows.")
    count = math.ceil(size * rows) if size < 1 else int(size)
    if count and count >= rows:
        raise DataError(f"val_set_size {size} takes {count} of {rows} rows and leaves none to train on: make it smaller.")
    return count
