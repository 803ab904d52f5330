"""Keys and values of what was computed before, so that a conversation's next turn computes only what is new.

A tree per set of adapters and strengths: tokens that several prompts and answers begin with are held once, and two that go on
differently part at that very token (as in SGLang's RadixAttention, arxiv.org/abs/2312.07104). What is found depends on the exact
tokens alone, so a turn that was edited, a conversation cut at its front or one whose thoughts a template leaves out is found as
far as it is the same. The engine's lock guards every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from engine.cache import RowsCache, RowsLayer

LEAST = 16  # tokens; with fewer the padding that they bring costs what they save
SLACK = 0.9  # of the bound is left when there was more: the tree is not looked through at every answer

Voices = tuple[tuple[str, float], ...]  # what keys and values depend on beside the tokens: adapters and their strengths


class Piece(NamedTuple):
    """Of some tokens, one after the other: (layers, heads, tokens, head size) each."""

    keys: torch.Tensor
    values: torch.Tensor

    def part(self, first: int, last: int) -> Piece:
        return Piece(self.keys[:, :, first:last], self.values[:, :, first:last])

    def own(self) -> Piece:
        """With memory of its own: a view would keep all that it is a part of."""
        return Piece(self.keys.clone(), self.values.clone())

    @property
    def bytes(self) -> int:
        return int(self.keys.nbytes + self.values.nbytes)


class Computed(Protocol):
    """Rows as they stand between two passes; real: (rows, columns), False is padding."""

    rows: list[Any]
    real: torch.Tensor
    cache: RowsCache | None


@dataclass(eq=False)
class Node:
    """Tokens that follow those of the parent. children: by their first token. used: when they were last needed."""

    ids: list[int] = field(default_factory=list)
    piece: Piece | None = None  # of these tokens; the root has none
    parent: Node | None = None
    children: dict[int, Node] = field(default_factory=dict)
    used: int = 0


def voices_of(adapters: Mapping[str, float]) -> Voices:
    return tuple(sorted((name, strength) for name, strength in adapters.items() if strength))


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts begin with alike; of a group's least and greatest that is what all of them share."""
    shorter = min(len(first), len(second))
    return next((at for at in range(shorter) if first[at] != second[at]), shorter)


def columns_of(real: torch.Tensor) -> torch.Tensor:
    """Where a row's tokens are: what is new in its prompt may have padding between it and what is before it. real: (columns,)."""
    return real.nonzero().flatten()


def piece_of(layers: Sequence[RowsLayer], row: int, columns: torch.Tensor) -> Piece:
    """A row's keys and values in these columns, with memory of their own."""
    return Piece(
        torch.stack([layer.keys[row].index_select(1, columns) for layer in layers]),
        torch.stack([layer.values[row].index_select(1, columns) for layer in layers]),
    )


class Kept:
    """most: bytes held -> bytes that may be held in all, asked whenever something is added; the least recently used goes."""

    def __init__(self, most: Callable[[int], int] = lambda _held: 0) -> None:
        self.most = most
        self.roots: dict[Voices, Node] = {}
        self.bytes = 0
        self.clock = 0

    def find(self, adapters: Mapping[str, float], ids: Sequence[int]) -> tuple[int, list[Piece]]:
        """(number of tokens of `ids` whose keys and values are here, these); (0, []) for too few to be worth it.

        The last token is never among them: what follows it is to be computed.
        """
        pieces, length = [], 0
        for node, common in self.path(voices_of(adapters), ids[:-1]):
            assert node.piece is not None
            pieces.append(node.piece if common == len(node.ids) else node.piece.part(0, common))
            length += common
        return (length, pieces) if length >= LEAST else (0, [])

    def add(self, adapters: Mapping[str, float], ids: Sequence[int], per_token: int, piece: Callable[[int, int], Piece]) -> None:
        """per_token: bytes. piece(first, last): of the tokens ids[first:last], with memory of its own."""
        voices = voices_of(adapters)
        root = self.roots.get(voices) or Node()
        node, length = root, 0
        for node, common in self.path(voices, ids):
            length += common
            if common < len(node.ids):
                node = self.split(node, common)
        if length == len(ids):
            return
        most = self.most(self.bytes)
        last = min(len(ids), length + int(most * SLACK) // per_token)
        if last == length:
            return
        new = Node(list(ids[length:last]), piece(length, last), node, used=self.clock)
        assert new.piece is not None
        self.roots[voices], node.children[ids[length]] = root, new
        self.bytes += new.piece.bytes
        self.shrink(most)

    @torch.inference_mode()
    def take(self, batch: Computed, rows: Sequence[int]) -> None:
        """What is computed of these rows. Nothing where layers differ in length: a pass has failed between two of them."""
        layers = batch.cache.layers if batch.cache is not None else []
        if not layers or any(layer.length != batch.real.shape[1] for layer in layers):
            return
        sides = [side for layer in layers for side in (layer.keys, layer.values)]
        per_token = sum(side.shape[1] * side.shape[3] * side.itemsize for side in sides)
        for at in rows:
            row, columns = batch.rows[at], columns_of(batch.real[at])

            def piece(first: int, last: int, at: int = at, columns: torch.Tensor = columns) -> Piece:
                return piece_of(layers, at, columns[first:last])

            self.add(row.adapters, [*row.ids, *row.new_ids][: len(columns)], per_token, piece)

    def drop(self, adapter: str) -> None:
        """All that heard this adapter."""
        for voices in [one for one in self.roots if adapter in dict(one)]:
            self.bytes -= sum(node.piece.bytes for node in below(self.roots.pop(voices)) if node.piece)

    def clear(self) -> None:
        self.roots, self.bytes = {}, 0

    def shrink(self, most: int) -> None:
        """Drops what was not needed for longest, answers' ends before their beginnings."""
        if self.bytes <= most:
            return
        while self.bytes > most * SLACK:
            leaves = [node for root in self.roots.values() for node in below(root) if not node.children and node.piece]
            for leaf in sorted(leaves, key=lambda node: node.used):
                if self.bytes <= most * SLACK:
                    break
                assert leaf.parent is not None and leaf.piece is not None
                del leaf.parent.children[leaf.ids[0]]
                self.bytes -= leaf.piece.bytes
        self.roots = {voices: root for voices, root in self.roots.items() if root.children}

    def path(self, voices: Voices, ids: Sequence[int]) -> Iterator[tuple[Node, int]]:
        """The nodes that `ids` lead along, and how many of their tokens are the same; only of the last it may be not all."""
        self.clock += 1
        node, at = self.roots.get(voices), 0
        while node and at < len(ids) and (node := node.children.get(ids[at])):
            node.used = self.clock
            common = common_length(node.ids, ids[at : at + len(node.ids)])
            whole = common == len(node.ids)  # before it is handed over, as it may be split there
            yield node, common
            if not whole:
                return
            at += common

    def split(self, node: Node, at: int) -> Node:
        """A node of its first tokens, before the rest of it."""
        assert node.piece is not None and node.parent is not None
        first = Node(node.ids[:at], node.piece.part(0, at).own(), node.parent, {node.ids[at]: node}, node.used)
        node.piece = node.piece.part(at, len(node.ids)).own()
        node.parent.children[node.ids[0]] = first
        node.ids, node.parent = node.ids[at:], first
        return first


def below(root: Node) -> Iterator[Node]:
    """The node and all that follow it."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        waiting += node.children.values()
        yield node
