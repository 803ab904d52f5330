"""Packs: what samples begin with is computed once, each distinct sample once, in one row of tokens.

The samples of a pack form a tree. Two samples share the tokens they begin with, so a node of the tree is a token after
exactly the tokens on its path, and its hidden state is the one it has in every sample through it (attention sees the path,
positions count along it). An edge is a target after such a path; its weight is the number of samples in which it is one.
Equal samples are one path with a greater weight. The sum of the weighted losses is therefore the plain loop's, term by term;
only dropout would differ from copy to copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple

import torch

from tuning.train.samples import Sample

Share = Literal["tree", "prefix", "nothing"]
QUERIES = 48  # per block of the tree attention: longer branches are cut, shorter ones padded


class Blocks(NamedTuple):
    """The tree cut into runs of tokens for attention: each run asks, its whole path answers.

    queries: (blocks, q) nodes, padded with node 0.
    keys:    (blocks, k) the path up to the run's end, padded with node 0.
    bias:    (blocks, 1, q, k) fp32: 0 where a query may look, a very negative number elsewhere.
    place:   (nodes,) where each node stands among the flattened queries.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    bias: torch.Tensor
    place: torch.Tensor


@dataclass(frozen=True)
class Pack:
    """One forward pass.

    ids, positions: (1, nodes).    paths: the node numbers of each distinct sample.
    keep:    (rows,) nodes whose logits are needed.
    sources: (edges,) index into `keep`.    targets: (edges,) token ids.    weights: (edges,) fp32.
    samples, tokens: rows and tokens that this stands for, repeats counted.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    paths: tuple[tuple[int, ...], ...]
    keep: torch.Tensor
    sources: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    samples: int
    tokens: int

    @property
    def nodes(self) -> int:
        return self.ids.shape[1]

    def to(self, device: torch.device) -> Pack:
        names = ("ids", "positions", "keep", "sources", "targets", "weights")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def mask(self) -> torch.Tensor:
        """(1, 1, nodes, nodes) bool: each node sees its path and itself."""
        seen = torch.zeros(self.nodes, self.nodes, dtype=torch.bool)
        for path in self.paths:
            at = torch.tensor(path)
            # a shared node gets the same row from every sample through it
            seen[at[:, None], at[None, :]] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
        return seen[None, None].to(self.ids.device)

    def blocks(self) -> Blocks:
        """The same, cut into blocks: with short branches a small part of nodes x nodes."""
        runs, drawn = [], 0
        for path in self.paths:
            start = next((at for at, node in enumerate(path) if node >= drawn), len(path))
            runs += [(path, at, min(at + QUERIES, len(path))) for at in range(start, len(path), QUERIES)]
            drawn = max(drawn, path[-1] + 1)
        wide, long = max(end - start for _, start, end in runs), max(end for _, _, end in runs)
        queries, keys = torch.zeros(len(runs), wide, dtype=torch.long), torch.zeros(len(runs), long, dtype=torch.long)
        seen = torch.zeros(len(runs), 1, wide, long, dtype=torch.bool)
        seen[..., 0] = True  # padding must see something, or its softmax is NaN
        place = torch.empty(self.nodes, dtype=torch.long)
        for row, (path, start, end) in enumerate(runs):
            nodes = torch.tensor(path[:end])
            queries[row, : end - start], keys[row, :end] = nodes[start:], nodes
            seen[row, 0, : end - start, :end] = torch.ones(end - start, end, dtype=torch.bool).tril(start)
            place[nodes[start:]] = row * wide + torch.arange(end - start)
        bias = torch.zeros(seen.shape, dtype=torch.float32).masked_fill_(~seen, torch.finfo(torch.float32).min / 2)
        return Blocks(*(part.to(self.ids.device) for part in (queries, keys, bias, place)))


def pack(samples: Iterable[Sample], budget: int, share: Share = "tree") -> list[Pack]:
    """Packs of at most `budget` nodes (a longer sample gets one of its own); budget 0 packs every sample alone.

    share: "tree" shares every common beginning and computes equal samples once; "prefix" shares only what all samples begin
    with before the first target, as dropout needs; "nothing" shares nothing. Samples without a target are left out.
    """
    counted = Counter(sample for sample in samples if sample.labels)
    if share == "tree":
        ordered = sorted(counted.items())  # neighbours then have the longest common beginnings
    else:
        ordered = [(sample, 1) for sample, count in sorted(counted.items()) for _ in range(count)]
    if not ordered:
        return []
    fixed = 0 if share == "nothing" else common_prefix([sample for sample, _ in ordered])
    tree = share == "tree"
    costs = [added_nodes(before, sample, fixed, tree) for (before, _), (sample, _) in pairwise(ordered)]
    first = len(ordered[0][0].ids)
    if budget and (total := first + sum(costs)) > budget:
        # packs of like size: a small one at the end would pay for the prefix and idle the processor
        budget = min(budget, -(-total // -(-total // budget)) + fixed)
    packs, members, nodes = [], [ordered[0]], first
    for (sample, weight), more in zip(ordered[1:], costs, strict=True):
        if nodes + more > budget:
            packs.append(build_pack(members, fixed, tree))
            members, nodes, more = [], 0, len(sample.ids)
        members.append((sample, weight))
        nodes += more
    return [*packs, build_pack(members, fixed, tree)]


def added_nodes(before: Sample, sample: Sample, fixed: int, tree: bool) -> int:
    """Nodes that `sample` adds behind `before`."""
    return len(sample.ids) - (common_length(before.ids, sample.ids) if tree else fixed)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two samples begin with in common."""
    for at, (one, other) in enumerate(zip(a, b, strict=False)):
        if one != other:
            return at
    return min(len(a), len(b))


def common_prefix(ordered: Sequence[Sample]) -> int:
    """Tokens that all samples (sorted) begin with, before any target: copies of an answer must stay apart."""
    ids = common_length(ordered[0].ids, ordered[-1].ids)
    return min(ids, min(sample.first_target for sample in ordered))


def build_pack(members: Sequence[tuple[Sample, int]], fixed: int, tree: bool) -> Pack:
    """One pass of (sample, weight) pairs, neighbours sharing their beginnings: all of it in a tree, else the `fixed` tokens."""
    ids: list[int] = []
    positions: list[int] = []
    paths: list[tuple[int, ...]] = []
    edges: Counter[tuple[int, int]] = Counter()
    before: tuple[Sample, tuple[int, ...]] | None = None
    for sample, weight in members:
        shared = 0 if before is None else common_length(before[0].ids, sample.ids) if tree else fixed
        new = range(shared, len(sample.ids))
        path = ((before[1][:shared]) if before else ()) + tuple(range(len(ids), len(ids) + len(new)))
        ids += sample.ids[shared:]
        positions += new
        for at in range(1, len(path)):
            if sample.targets[at]:
                edges[path[at - 1], sample.ids[at]] += weight
        paths.append(path)
        before = sample, path
    keep = sorted({node for node, _ in edges})
    row = {node: at for at, node in enumerate(keep)}
    return Pack(
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        paths=tuple(paths),
        keep=torch.tensor(keep),
        sources=torch.tensor([row[node] for node, _ in edges]),
        targets=torch.tensor([token for _, token in edges]),
        weights=torch.tensor(list(edges.values()), dtype=torch.float32),
        samples=sum(weight for _, weight in members),
        tokens=sum(len(sample.ids) * weight for sample, weight in members),
    )
