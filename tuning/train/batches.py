"""Which rows make which optimizer step, decided before the first one: resuming is leaving out what was done."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.data import Dataset

from tuning.train.packing import Pack, Share, pack
from tuning.train.samples import Sample


@dataclass(frozen=True)
class Batch:
    """One process's share of one optimizer step.

    packs: of this process. labels, samples, tokens: of the whole step, over all processes.
    """

    packs: tuple[Pack, ...]
    labels: int
    samples: int
    tokens: int


def schedule(rows: int, batch_size: int, steps: int, seed: int, lengths: Sequence[int] | None = None) -> list[list[int]]:
    """Row numbers of every step: each epoch is shuffled anew, its last batch may be smaller.

    lengths: of the rows; then batches hold rows of like length (`--group_by_length`), longest batch of an epoch first, so that
    too long a pack shows at once.
    """
    planned: list[list[int]] = []
    epoch = 0
    while len(planned) < steps:
        draw = random.Random(f"{seed}/{epoch}")
        order = list(range(rows))
        draw.shuffle(order)
        if lengths is not None:
            order.sort(key=lambda row: -lengths[row])  # stable: rows of one length stay shuffled
        batches = [order[at : at + batch_size] for at in range(0, rows, batch_size)]
        if lengths is not None:
            rest = batches[1:]
            draw.shuffle(rest)
            batches[1:] = rest
        planned += batches
        epoch += 1
    return planned[:steps]


class Batches(Dataset):
    """Optimizer steps as a data set of packed batches, packed when they are asked for."""

    def __init__(
        self,
        samples: Sequence[Sample],
        plan: Sequence[Sequence[int]],
        budget: int,
        share: Share,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.samples, self.plan = samples, plan
        self.budget, self.share = budget, share
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, step: int) -> Batch:
        return pack_batch([self.samples[row] for row in self.plan[step]], self.budget, self.share, self.rank, self.processes)


def pack_batch(samples: Sequence[Sample], budget: int, share: Share, rank: int = 0, processes: int = 1) -> Batch:
    """The packs of one process; every process knows the labels of all, so the mean needs no talk between them."""
    ordered = sorted(samples)  # neighbours share their beginnings, so each process gets neighbours
    own = ordered[len(ordered) * rank // processes : len(ordered) * (rank + 1) // processes]
    return Batch(
        packs=tuple(pack(own, budget, share)),
        labels=sum(sample.labels for sample in samples),
        samples=len(samples),
        tokens=sum(len(sample.ids) for sample in samples),
    )
