"""The running batch of rows of mixed variants: left padding, rows join it between two steps and leave when they finish.

Which rows join is decided in `engine.sharing`. What several prompts of one variant begin with is computed once
(`engine.prefixes`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine import thoughts
from engine.bank import Bank
from engine.cache import RowsCache
from engine.kept import Kept
from engine.memory import is_out_of_memory
from engine.prefixes import Prefix, Prompted, cache_of, known_length, own_length, recall, remember
from engine.sampling import Chooser
from engine.step_graph import StepGraphs, are_possible
from engine.types import Decoding, Finish

PLAIN_ATTENTION = ("llama", "mistral", "qwen2", "qwen3", "gemma", "olmo2", "granite")  # compared with transformers' own generate
PADDING_WASTE = 1.25  # rows prefilled together differ in length by at most this factor ...
PADDING_SLACK = 16  # ... plus this many tokens, where one call less is worth more


@dataclass(eq=False)
class Row:
    """One conversation on its way through the loop. `ids` is the prompt; the rest is filled in here."""

    index: int
    ids: list[int]
    adapters: Mapping[str, float]
    decoding: Decoding
    max_new_tokens: int
    end_ids: frozenset[int]
    stops: tuple[str, ...] = ()
    new_ids: list[int] = field(default_factory=list)
    text: str = ""
    finish: Finish | Literal["failed"] | None = None
    failed: bool = False  # its newest token comes from logits that are no numbers
    logprob: float = 0.0
    prefill_s: float = 0.0
    prefilled_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    aside_at: float = 0.0  # since when it has been out of the batch, between two steps of it
    generator: torch.Generator = None
    prefix: Prefix | None = None  # until the prompt is computed
    kept_tokens: int = 0  # of the prompt, that were computed for an earlier one
    goes_on: bool = True  # somebody may go on from its answer: what is computed of it is kept
    settled: int = 0  # new_ids before this one are decoded for good ...
    settled_from: int = 0  # ... and from this one on they are decoded again as context

    def __post_init__(self) -> None:
        self.generator = torch.Generator().manual_seed(self.decoding.seed)


class Batch:
    """The rows in flight, their cache, and which columns of it are padding."""

    def __init__(self, model: PreTrainedModel, bank: Bank, kept: Kept | None = None) -> None:
        self.model, self.bank = model, bank
        self.layers = model.config.get_text_config().num_hidden_layers
        self.rows: list[Row] = []
        self.cache: RowsCache | None = None
        self.real = torch.zeros(0, 0, dtype=torch.bool)  # (rows, columns): False is padding
        self.next_ids: list[int] = []
        self.chooser: Chooser
        self.heard: list[Mapping[str, float]] = []
        self.ready_mask = takes_ready_mask(model)
        # a window or ALiBi counts columns, and a row with a prefix has padding in its middle
        self.kept = kept if kept is not None and self.ready_mask else Kept()
        self.graphs = StepGraphs(model, bank) if are_possible(model, bank, self.ready_mask) else None

    def recompose(self) -> None:
        """After rows came or went: masks of the bank and decoding settings for those that are there now."""
        rows = self.rows
        self.heard = [row.adapters for row in rows]
        self.bank.hear(self.heard)
        self.chooser = chooser_for(rows, self.model)
        self.positions = self.real.sum(1, keepdim=True)
        self.padded = not bool(self.real.all())
        self.room = torch.empty(0)

    @torch.inference_mode()
    def prefill(self, rows: list[Row]) -> Part:
        """Run the prompts of `rows` in one forward pass (two where a shared beginning is new): their first tokens."""
        started = time.perf_counter()
        new = list(dict.fromkeys(row.prefix for row in rows if row.prefix and not row.prefix.pieces))
        for prefix in new:
            recall(prefix, self.kept)
        for row in rows:
            row.kept_tokens = known_length(row)
        if new:
            remember(new, *self.forward(new)[1:], self.kept)
        logits, real, cache = self.forward(rows)
        self.take(rows, *chooser_for(rows, self.model).choose(logits))
        for row in rows:
            row.prefix = None
            row.started_at, row.prefilled_at = started, time.perf_counter()
            row.prefill_s = row.prefilled_at - started
        return Part(list(rows), real, cache)

    @torch.inference_mode()
    def join(self, parts: Sequence[Part]) -> None:
        """Rows that are computed so far take part from the next step on."""
        if not parts:
            return
        device = self.model.device
        # the small ones among themselves first: each joining copies all that is there
        rows, real, cache = list(parts[0].rows), parts[0].real.to(device), parts[0].cache.to(device)
        for part in parts[1:]:
            rows, real = rows + part.rows, join_masks(real, part.real.to(device))
            cache.join(part.cache)
        now = time.perf_counter()
        for row in rows:
            if row.aside_at:  # it counts as waiting
                row.started_at, row.prefilled_at = (at + now - row.aside_at for at in (row.started_at, row.prefilled_at))
                row.aside_at = 0.0
        if self.cache is not None:
            self.cache.join(cache)
            self.real = join_masks(self.real, real)
        else:
            self.cache, self.real = cache, real
        self.rows = self.rows + rows
        self.next_ids = [row.new_ids[-1] for row in self.rows]
        self.recompose()

    @torch.inference_mode()
    def set_aside(self, rows: Sequence[Row]) -> list[Part]:
        """Takes rows out of the batch as they are, one part each, in CPU memory; `join` goes on with them."""
        places = [at for at, row in enumerate(self.rows) if row in rows]
        if self.cache is None:  # nobody is in the batch
            return []
        taken: list[Part] = Part([self.rows[at] for at in places], self.real[places], self.cache.part(places)).single()
        self.keep([at for at in range(len(self.rows)) if at not in places])
        return taken

    def forward(self, rows: Sequence[Prompted]) -> tuple[torch.Tensor, torch.Tensor, RowsCache]:
        """What is new in the rows' prompts, left-padded, after their prefixes: the last logits, the whole mask, the cache."""
        device = self.model.device
        texts = [row.ids[len(row.ids) - own_length(row) :] for row in rows]
        cache, before = cache_of(rows, self.layers)
        length = max(map(len, texts))
        ids = torch.tensor([[0] * (length - len(text)) + text for text in texts], device=device)
        real = torch.tensor([[False] * (length - len(text)) + [True] * len(text) for text in texts], device=device)
        if before is not None:
            real = torch.cat([before, real], dim=1)
        self.bank.hear([row.adapters for row in rows])
        logits = self.model(
            input_ids=ids,
            attention_mask=None if real.all() else real,
            position_ids=(real.cumsum(1) - 1).clamp(min=0)[:, -length:],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits, real, cache

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every row."""
        logits = self.graphs.logits(self) if self.graphs else None
        if logits is None:
            logits = self.computed()
        self.positions = self.positions + 1
        self.real = torch.cat([self.real, self.real.new_ones(len(self.rows), 1)], dim=1)
        self.take(self.rows, *self.chooser.choose(logits))
        self.next_ids = [row.new_ids[-1] for row in self.rows]

    def computed(self) -> torch.Tensor:
        """The next step's logits, (rows, vocabulary); its keys and values are in the cache."""
        if self.bank.heard is not self.heard:  # somebody else was heard since, or an adapter came or went
            self.bank.hear(self.heard)
        device = self.model.device
        width = self.real.shape[1] + 1
        mask = None
        if self.padded and not self.ready_mask:
            mask = torch.cat([self.real, self.real.new_ones(len(self.rows), 1)], dim=1)
        elif self.padded:
            if self.room.shape[-1] < width:  # in blocks, as the cache: no copy of the mask at every token
                self.room = torch.ones(len(self.rows), 1, 1, width + 127, dtype=torch.bool, device=device)
                self.room[:, 0, 0, : self.real.shape[1]] = self.real
            mask = self.room[..., :width]
        logits: torch.Tensor = self.model(
            input_ids=torch.tensor(self.next_ids, device=device)[:, None],
            attention_mask=mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        return logits

    def forget_graphs(self) -> None:
        """Gives back what recorded steps hold; they are recorded anew when they are needed."""
        if self.graphs:
            self.graphs.clear()

    def cache_bytes(self) -> int:
        """What the rows' keys and values hold, with the room that graphs keep for them."""
        layers = self.cache.layers if self.cache is not None else []
        sides = [side for layer in layers for side in (layer.keys, layer.values)]
        if self.graphs and self.graphs.arena is not None:
            sides.append(self.graphs.arena)
        return sum({side.untyped_storage().data_ptr(): side.untyped_storage().nbytes() for side in sides}.values())

    def take(self, rows: list[Row], tokens: list[int], logprobs: list[float]) -> None:
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            row.new_ids.append(token)
            row.failed = not math.isfinite(logprob)
            row.logprob += logprob

    def leave(self) -> None:
        """Rows that finished go, and with them the padding that only they needed."""
        stay = [at for at, row in enumerate(self.rows) if row.finish is None]
        if len(stay) < len(self.rows):
            self.keep_ended(self)
            self.keep(stay)

    def keep_ended(self, some: Batch | Part) -> None:
        """What is computed of those that have ended, for whoever goes on from there."""
        try:
            self.kept.take(some, [at for at, row in enumerate(some.rows) if row.goes_on and row.finish not in (None, "failed")])
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.kept.clear()

    @torch.inference_mode()
    def keep(self, stay: list[int]) -> None:
        self.rows = [self.rows[at] for at in stay]
        self.next_ids = [row.new_ids[-1] for row in self.rows]
        if not self.rows or self.cache is None:
            self.cache, self.real = None, self.real[:0, :0]
            return
        real = self.real[torch.tensor(stay, device=self.real.device)]
        start = int(real.any(0).int().argmax())
        self.cache.keep(stay, start)
        self.real = real[:, start:]
        self.recompose()


@dataclass(eq=False)
class Part:
    """Rows whose prompts are computed and that are in no batch: their mask (rows, columns) and their keys and values."""

    rows: list[Row]
    real: torch.Tensor
    cache: RowsCache

    @torch.inference_mode()
    def going_on(self) -> Part:
        """Without the rows that have ended."""
        stay = [at for at, row in enumerate(self.rows) if row.finish is None]
        if len(stay) == len(self.rows):
            return self
        return Part([self.rows[at] for at in stay], self.real[stay], self.cache.part(stay))

    @torch.inference_mode()
    def single(self) -> list[Part]:
        """One part per row, without its padding on the left, in CPU memory."""
        parts = []
        for at, row in enumerate(self.rows):
            start = int(self.real[at].int().argmax())
            row.aside_at = time.perf_counter()
            parts.append(Part([row], self.real[at : at + 1, start:].cpu(), self.cache.part([at], start).to(torch.device("cpu"))))
        return parts


def takes_ready_mask(model: PreTrainedModel) -> bool:
    """Whether one boolean 4-D mask says all there is to say in every layer, and SDPA reads it.

    It saves building the masks at every token; the others get the 2-D one, from which transformers builds theirs.
    """
    config = model.config.get_text_config()
    return config._attn_implementation == "sdpa" and has_plain_attention(config)


def has_plain_attention(config: Any) -> bool:
    """Whether every layer of a model with this text configuration has full attention: no window, no ALiBi."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) or getattr(config, "alibi", False)
    return config.model_type in PLAIN_ATTENTION and kinds == {"full_attention"} and not windowed


def chooser_for(rows: Sequence[Row], model: PreTrainedModel) -> Chooser:
    return Chooser(
        [row.decoding for row in rows],
        [row.generator for row in rows],
        [row.ids + row.new_ids for row in rows],
        model.config.get_text_config().vocab_size,
        model.device,
    )


def join_masks(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    width = max(first.shape[1], second.shape[1])
    left_padded = [torch.nn.functional.pad(mask, (width - mask.shape[1], 0), value=False) for mask in (first, second)]
    return torch.cat(left_padded)


def group_by_length(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in groups that fit each other's length, the longest first: little padding."""
    groups: list[list[Row]] = []
    for row in sorted(rows, key=own_length, reverse=True):
        if groups and own_length(row) >= own_length(groups[-1][0]) / PADDING_WASTE - PADDING_SLACK:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def settle(row: Row, tokenizer: PreTrainedTokenizerBase) -> None:
    """Turn the newest token into text, or into the end of the row.

    Text is the difference between decoding a short context with and without the new tokens: alone, a
    sentencepiece token loses its leading space, and half a character decodes to U+FFFD.
    """
    if row.failed:
        del row.new_ids[-1]
        finish(row, "failed", row.text)
        return
    ended = row.new_ids[-1] in row.end_ids
    full = len(row.new_ids) >= row.max_new_tokens
    news = unsettled_text(row, tokenizer, row.new_ids[:-1] if ended else row.new_ids)
    if news.endswith("\ufffd") and not (ended or full):
        return
    if news:
        row.text += news
        row.settled_from, row.settled = row.settled, len(row.new_ids)
    cut = min((at for at in map(row.text.find, row.stops) if at >= 0), default=None)
    if cut is not None:
        finish(row, "stop", row.text[:cut])
    elif ended or full:
        finish(row, "stop" if ended else "length", row.text)


def unsettled_text(row: Row, tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    context = readable_text(tokenizer, ids[row.settled_from : row.settled])
    return readable_text(tokenizer, ids[row.settled_from :])[len(context) :]


def readable_text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The ids' text without special tokens, but with those that part thoughts from answers: without them nobody could."""
    dropped = dropped_ids(tokenizer)
    kept = ids if dropped is None else [id for id in ids if id not in dropped]
    text: str = tokenizer.decode(kept, skip_special_tokens=dropped is None)
    return text


@lru_cache(maxsize=2)
def dropped_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int] | None:
    """The special tokens that are no markup of thoughts; None where no special token is such markup."""
    special = {id: token.content for id, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
    dropped = frozenset(id for id, token in special.items() if not thoughts.is_markup(token))
    return dropped if len(dropped) < len(special) else None


def text_so_far(row: Row) -> str:
    """The unfinished row's text without an end that may yet become a stop string."""
    held = (size for stop in row.stops for size in range(1, len(stop)) if row.text.endswith(stop[:size]))
    return row.text[: len(row.text) - max(held, default=0)]


def finish(row: Row, why: Finish | Literal["failed"], text: str) -> None:
    row.finish, row.text, row.finished_at = why, text, time.perf_counter()
