"""What a run will do: its samples, its steps and which rows make each of them, worked out before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from engine.bases import Base
from engine.prompts import end_id
from engine.types import short_hash
from tuning.dataset.placeholders import fill_from_identity
from tuning.dataset.rows import DataError, TrainingRow
from tuning.train import run_memory
from tuning.train.batches import Batches, schedule
from tuning.train.estimate import CostEstimate, Measured, estimate
from tuning.train.loading import own_format
from tuning.train.packing import Share
from tuning.train.preflight import Rows
from tuning.train.samples import Sample, cache_samples, make_sampler
from tuning.train.settings import Settings
from tuning.train.steps import count_steps, extra_rows
from tuning.train.throughput import measure_throughput, typical_steps

OWN_NAME = "[NAME]"  # of a base whose card says what it writes for its name


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
        """The training data of one process, an item for every optimizer step."""
        return Batches(self.train, self.order, self.budget, self.share, rank, processes)

    def lines(self) -> list[str]:
        """What a person should read before the first step."""
        said = [*self.report.lines(), *self.notes]
        if self.cut:
            said.append(f"cut: {self.cut:,} rows are longer than --cutoff_len and lose their end.")
        if self.lost:
            said.append(f"left out: {self.lost:,} rows, cut before their answer begins.")
        return said


def make_plan(settings: Settings, base: Base, rows: Rows, processes: int = 1) -> Plan:
    """The plan for these rows on this base; their placeholders are filled from the identity that is taught.

    Raises DataError if there is nothing to train on, or rows that must not be.
    """
    train_rows, valid_rows, notes = fill_placeholders(settings, base, rows)
    make_sample = make_sampler(
        base.tokenizer, base.format, settings.cutoff_len, settings.train_on_inputs, end_id(base, base.format)
    )
    sampled, _ = cache_samples(make_sample)

    every = [sampled(row) for row in train_rows]
    valid = tuple(one for one in map(sampled, valid_rows) if one.labels)
    train = tuple(one for one in every if one.labels)
    if not train:
        raise DataError(f"No row has an answer within --cutoff_len {settings.cutoff_len} tokens; raise it.")
    steps = count_steps(settings, len(train))
    lengths = [len(one.ids) for one in train]
    alike = lengths if settings.group_by_length else None
    order = tuple(map(tuple, schedule(len(train), settings.batch_size, steps.total, settings.seed, alike)))
    some = [[train[row] for row in step] for step in typical_steps(order, lengths)]
    share, budget = run_memory.choose_packing(settings, base)
    speed = measure_throughput(base, some, budget, share)
    told = count_steps(settings, len(train_rows), len(valid_rows))  # rows that are left out below count here
    report = estimate(
        settings,
        train_rows,
        told,
        Measured(
            count_tokens=lambda row: len(sampled(row).ids),
            format=base.format.name,
            base_format=own_format(base),
            parameters=base.model.num_parameters(),
            card_placeholders=tuple(base.card.placeholders),
            samples_per_s=speed.rows_per_s * processes,
            extra_rows=extra_rows(settings, told, len(valid), speed.tokens_per_row),
            valid=valid_rows,
            memory_bytes=run_memory.memory_bytes(base, settings, budget or max(lengths)),
        ),
    )
    if report.refused:
        raise DataError(" ".join(caution.text for caution in report.cautions if caution.refuse))
    return Plan(
        train=train,
        valid=valid,
        steps=steps.total,
        per_epoch=steps.per_epoch,
        warmup=steps.warmup,
        budget=budget,
        share=share,
        order=order,
        cut=sum(len(one.ids) == settings.cutoff_len for one in every),
        lost=len(every) - len(train),
        data_hash=short_hash([one.ids for one in train]),
        report=report,
        notes=tuple(notes),
    )


def fill_placeholders(settings: Settings, base: Base, rows: Rows) -> tuple[list[TrainingRow], list[TrainingRow], list[str]]:
    """Training and validation rows with the names that they leave open filled in, and lines on what was done and passed over."""
    name = settings.model_name
    if settings.author and not name:
        name = base.card.placeholders.get(OWN_NAME) or base.name
    (train, filled), (valid, more) = (
        fill_from_identity(part, settings.identity, settings.identities_dir, base.card, name=name, author=settings.author)
        for part in (rows.train, rows.valid)
    )
    if not filled + more:
        return train, valid, [*rows.notes]
    by = [f"identity {settings.identity}"] if settings.identity else [f"the name {name!r}"] if name else []
    by += [f"--author {settings.author!r}"] if settings.author else []
    return train, valid, [*rows.notes, f"placeholders: {filled + more:,} filled from {' and '.join(by)}."]
