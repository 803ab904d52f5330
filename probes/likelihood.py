"""How likely a model finds texts after a prompt, in mean log-probability per token.

One row holds a prompt and, after it, all statements side by side: each sees the prompt and itself, so the prompt is
computed once (a 4-D mask, positions that restart). A model whose attention wants more than that (a sliding window,
ALiBi) gets one row per statement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

from engine.decode import has_plain_attention

LOGITS = 2**26  # numbers in one batch's logits: 128 MB in bf16


@dataclass(frozen=True)
class MarginPrompt:
    """One prompt with the statements that may follow it, all as token ids. at: its number in the order of asking."""

    at: int
    prompt: tuple[int, ...]
    statements: tuple[tuple[int, ...], ...]
    adapters: Mapping[str, float] = dataclasses.field(default_factory=dict)


def batches(asked: Sequence[MarginPrompt], model: Any) -> Iterator[list[MarginPrompt]]:
    """Rows of like length together, as many as their logits have room for."""
    vocabulary = model.config.get_text_config().vocab_size
    batch: list[MarginPrompt] = []
    for one in sorted(asked, key=lambda one: (len(one.prompt), sum(map(len, one.statements))), reverse=True):
        widest = max(sum(map(len, other.statements)) + 1 for other in [*batch, one])
        if batch and (len(batch) + 1) * widest * vocabulary > LOGITS:
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch


Hearing = Callable[[Sequence[Mapping[str, float]]], AbstractContextManager]


@torch.inference_mode()
def score_batch(model: Any, batch: Sequence[MarginPrompt], hearing: Hearing = lambda _rows: nullcontext()) -> list[list[float]]:
    """Per row and statement the mean log-probability of its tokens. hearing: which adapters each row of a pass hears."""
    if takes_tree(model):
        with hearing([one.adapters for one in batch]):
            return tree_scores(model, [one.prompt for one in batch], [one.statements for one in batch])
    found = []
    for one in batch:  # one row per statement: a prompt each, left padding only
        with hearing([one.adapters] * len(one.statements)):
            rows = tree_scores(model, [one.prompt] * len(one.statements), [(each,) for each in one.statements], ready_mask=False)
        found.append([value for row in rows for value in row])
    return found


def tree_scores(
    model: Any, prompts: Sequence[Sequence[int]], statements: Sequence[Sequence[Sequence[int]]], ready_mask: bool = True
) -> list[list[float]]:
    """One forward pass. Prompts are padded on the left, so that all statements begin at one column, and end on the right.

    ready_mask: 4-D, needed where a row holds several statements.
    """
    width, count = max(map(len, prompts)), max(sum(map(len, those)) for those in statements)
    length = width + count
    ids = torch.zeros(len(prompts), length, dtype=torch.long)
    positions = torch.zeros_like(ids)
    sees = torch.zeros(len(prompts), length, length, dtype=torch.bool)  # [row, from, to]
    sees[:] = torch.eye(length, dtype=torch.bool)  # padding sees itself: a row of nothing would be NaN
    for row, (prompt, those) in enumerate(zip(prompts, statements, strict=True)):
        start = width - len(prompt)
        lay_text(ids, positions, sees, row, start, prompt, 0)
        at = width
        for statement in those:
            lay_text(ids, positions, sees, row, at, statement, len(prompt))
            sees[row, at : at + len(statement), start:width] = True
            at += len(statement)
    device = model.device
    logits = model(
        input_ids=ids.to(device),
        attention_mask=(sees[:, None] if ready_mask else real_tokens(prompts, statements, width, length)).to(device),
        position_ids=positions.to(device),
        use_cache=False,
        logits_to_keep=torch.arange(width - 1, length, device=device),
    ).logits
    return [
        [_mean_logprob(logits[row], width, at, statement) for at, statement in statement_columns(those, width)]
        for row, those in enumerate(statements)
    ]


def lay_text(
    ids: torch.Tensor, positions: torch.Tensor, sees: torch.Tensor, row: int, at: int, text: Sequence[int], first: int
) -> None:
    """Put one stretch of text into its columns: its ids, its positions from `first` on, each token seeing those before it."""
    end = at + len(text)
    ids[row, at:end] = torch.tensor(text)
    positions[row, at:end] = torch.arange(first, first + len(text))
    sees[row, at:end, at:end] = torch.ones(len(text), len(text), dtype=torch.bool).tril()


def real_tokens(
    prompts: Sequence[Sequence[int]], statements: Sequence[Sequence[Sequence[int]]], width: int, length: int
) -> torch.Tensor:
    """(rows, columns): False is padding."""
    columns = torch.arange(length)
    starts = torch.tensor([[width - len(prompt)] for prompt in prompts])
    ends = torch.tensor([[width + sum(map(len, those))] for those in statements])
    return (columns >= starts) & (columns < ends)


def statement_columns(statements: Sequence[Sequence[int]], width: int) -> Iterator[tuple[int, Sequence[int]]]:
    at = width
    for statement in statements:
        yield at, statement
        at += len(statement)


def _mean_logprob(logits: torch.Tensor, width: int, at: int, statement: Sequence[int]) -> float:
    """logits (columns from width - 1 on, vocabulary): the first token is foretold by the prompt's last one."""
    first = at - width + 1
    columns = [0, *range(first, first + len(statement) - 1)]
    chosen = logits[columns].float()
    target = torch.tensor(statement, device=logits.device)[:, None]
    return float((chosen.gather(1, target)[:, 0] - chosen.logsumexp(-1)).mean())


def takes_tree(model: Any) -> bool:
    """Whether one boolean 4-D mask says all there is to say in every layer."""
    config = model.config.get_text_config()
    return has_plain_attention(config) and ALL_MASK_ATTENTION_FUNCTIONS.get(config._attn_implementation) is sdpa_mask
