"""What a run will be, told to a form in a moment: the trainer's own plan, with long data sets tokenized in part."""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from transformers import PreTrainedTokenizerBase

from engine import formats, quantized
from engine.bases import Base
from engine.prompts import end_id
from engine.types import EngineError
from tuning.dataset.mixing import split_off
from tuning.dataset.rows import DataError, TrainingRow
from tuning.jobs import memory
from tuning.train import run_memory
from tuning.train.batches import schedule
from tuning.train.estimate import CostEstimate, Measured, estimate
from tuning.train.loading import own_format
from tuning.train.presets import PRESETS
from tuning.train.samples import Sample, cache_samples, make_sampler
from tuning.train.settings import Settings
from tuning.train.steps import count_steps, extra_rows
from tuning.train.throughput import measure_throughput, typical_steps

log = logging.getLogger("mirror")

OWN_SHOWN = 10  # of the rows that somebody brings
TOKENIZED = 200  # distinct rows; beyond them tokens are told from the average
START_S = 15.0  # imports and loading the small model, on two cores
QUICK_S = 300.0  # what the recipe *quick* may take
QUICK_BATCH = 4  # rows a step at least: what fewer teach has not been measured


@dataclass(frozen=True)
class TokenRow:
    """One row as trained. pieces: (text of a token, whether it is learned); tokens cut in a character are one piece."""

    row: TrainingRow
    pieces: tuple[tuple[str, bool], ...]
    labels: int
    tokens: int


@dataclass(frozen=True)
class Forecast:
    """report: of all rows. first: the first rows of the data set. own: the first ten of those that somebody brings. needed: bytes
    on the device, None if they cannot be told; unestimated then says why."""

    report: CostEstimate
    first: tuple[TokenRow, ...]
    format: str
    own_format: str
    needed: int | None
    unestimated: str = ""
    own: tuple[TokenRow, ...] = ()


def forecast(settings: Settings, rows: Sequence[TrainingRow], base: Base, own: Sequence[TrainingRow] = ()) -> Forecast:
    """For `rows`, which settings.data_path will hold, on `base`. own: of them, those that somebody brings. Raises DataError or
    EngineError."""
    chosen = formats.find(settings.prompt_template_name) if settings.prompt_template_name else base.format
    spoken = own_format(base)
    make_sample = make_sampler(base.tokenizer, chosen, settings.cutoff_len, settings.train_on_inputs, end_id(base, chosen))
    sampled, known = cache_samples(make_sample)

    train, valid = split_off(rows, settings.val_set_size, settings.seed)
    different = {row.turns: row for row in reversed(rows)}
    some = random.Random(0).sample(list(different.values()), min(TOKENIZED, len(different)))
    counted = sum(len(sampled(row).ids) for row in some)
    average = counted / len(some) if some else 0
    per_byte = counted / max(1, sum(map(count_bytes, some)))
    share, budget = run_memory.choose_packing(settings, base)
    steps = count_steps(settings, len(train), len(valid))
    lengths = [round(per_byte * count_bytes(row)) for row in train]
    alike = lengths if settings.group_by_length else None
    order = schedule(len(train), settings.batch_size, min(steps.total, steps.per_epoch), settings.seed, alike)
    batches = [[sampled(train[row]) for row in step] for step in typical_steps(order, lengths)]
    learned = [kept for batch in batches if (kept := [one for one in batch if one.labels])]
    learned = learned or [[one for one in map(sampled, some) if one.labels]]
    if not learned[0]:
        raise DataError(f"No row has an answer within --cutoff_len {settings.cutoff_len} tokens; raise it.")
    speed = measure_throughput(base, learned, budget, share)
    facts = estimate(
        settings,
        train,
        steps,
        Measured(
            count_tokens=lambda row: len(known[row.turns].ids) if row.turns in known else average,
            format=chosen.name,
            base_format=spoken,
            parameters=quantized.count_numbers(base.model),
            card_placeholders=tuple(base.card.placeholders),
            samples_per_s=speed.rows_per_s,
            start_s=START_S,
            valid=valid,
            extra_rows=extra_rows(settings, steps, len(valid), speed.tokens_per_row),
        ),
    )
    first = tuple(token_row(base.tokenizer, row, make_sample(row)) for row in first_rows(rows))
    brought = tuple(token_row(base.tokenizer, row, make_sample(row)) for row in own[:OWN_SHOWN])
    return Forecast(facts, first, chosen.name, spoken, *try_needed_bytes(settings), own=brought)


def quick_batch(base: Base, rows: Sequence[TrainingRow]) -> int:
    """Rows a step with which *quick* takes about five minutes here: the recipe's own, or fewer where this machine is slow. Its
    steps stay: they decide whether an identity takes. rows: such as will be trained on."""
    settings = dataclasses.replace(Settings(), **PRESETS["quick"])
    make_sample = make_sampler(base.tokenizer, base.format, settings.cutoff_len, False, end_id(base, base.format))
    samples = [make_sample(row) for row in rows[: settings.batch_size]]
    share, budget = run_memory.choose_packing(settings, base)
    learned = [one for one in samples if one.labels]
    if not learned:
        return settings.batch_size
    speed = measure_throughput(base, [learned], budget, share)
    return max(QUICK_BATCH, min(settings.batch_size, int(QUICK_S * speed.rows_per_s / settings.max_steps)))


def count_bytes(row: TrainingRow) -> int:
    """Bytes of all its turns: nearer to tokens than characters, where a row may be English or Chinese."""
    return sum(len(text.encode("utf-8", "replace")) for turn in row.turns for text in (turn.content, turn.input))


def first_rows(rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    """The first identity row of each language and the first general row, in their order; each kind where there is one."""
    found: dict[tuple, TrainingRow] = {}
    for row in rows:
        found.setdefault((row.kind, row.lang if row.kind == "identity" else ""), row)
    return list(found.values())


def token_row(tokenizer: PreTrainedTokenizerBase, row: TrainingRow, sample: Sample) -> TokenRow:
    """The text of each token behind the one before it: alone, sentencepiece's lose their space.

    A character of several tokens decodes only as a whole, so tokens wait until their text is complete.
    """

    def text(start: int, end: int) -> str:
        return tokenizer.decode(sample.ids[start:end], skip_special_tokens=False, clean_up_tokenization_spaces=False)

    pieces, before, begun = [], 0, 0
    for end in range(1, len(sample.ids) + 1):
        new = text(before, end)[len(text(before, begun)) :]
        if "\ufffd" in new and end < len(sample.ids) and end - begun < 8:
            continue
        pieces.append((new, sample.targets[end - 1]))
        before, begun = begun, end
    return TokenRow(row, tuple(pieces), sample.labels, len(sample.ids))


def try_needed_bytes(settings: Settings) -> tuple[int | None, str]:
    """tuning.jobs.memory's estimate, or None and why it cannot be made: no reason not to train, but one to be told."""
    kept = (
        "base_model",
        "device",
        "dtype",
        "load_in_4bit",
        "packing",
        "pack_tokens",
        "cutoff_len",
        "lora_r",
        "lora_target_modules",
        "trust_remote_code",
    )
    try:
        return _needed_bytes(dataclasses.replace(Settings(), **{name: getattr(settings, name) for name in kept})), ""
    except EngineError as error:
        return None, str(error)
    except Exception as error:  # of a library, about a checkpoint that it does not understand
        log.warning("no estimate of memory", exc_info=error)
        return None, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


@lru_cache(maxsize=64)
def _needed_bytes(settings: Settings) -> int:
    # it asks for the base's shapes, so it is kept for settings that do not change it
    return memory.needed_bytes(settings)
