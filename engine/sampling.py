"""Choosing the next token for a batch whose rows decode differently."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engine.types import Decoding


class Chooser:
    """Per-row decoding settings as tensors, made anew whenever the batch's rows change.

    A row draws one number per token from its own generator: its text does not depend on its companions.
    """

    def __init__(
        self,
        decodings: Sequence[Decoding],
        generators: Sequence[torch.Generator],
        seen: Sequence[Sequence[int]],
        vocabulary: int,
        device: torch.device,
    ) -> None:
        """seen: per row, the token ids so far (prompt and answer), read where there is a repetition penalty."""
        self.generators = generators
        self.sampled = torch.tensor([decoding.temperature > 0 for decoding in decodings], device=device)
        self.greedy = not any(decoding.temperature for decoding in decodings)
        self.temperature = column([decoding.temperature or 1.0 for decoding in decodings], device)
        self.top_p = column([decoding.top_p for decoding in decodings], device)
        self.top_k = column([decoding.top_k for decoding in decodings], device)
        self.penalty = column([decoding.repetition_penalty for decoding in decodings], device)
        self.seen: torch.Tensor | None = None  # (rows, vocabulary)
        if any(decoding.repetition_penalty != 1 for decoding in decodings):
            self.seen = torch.zeros(len(decodings), vocabulary, dtype=torch.bool, device=device)
            for row, ids in enumerate(seen):
                self.seen[row, torch.tensor(ids, device=device)] = True

    def choose(self, logits: torch.Tensor) -> tuple[list[int], list[float]]:
        """logits (rows, vocabulary) -> per row the token id and its log-probability under the model itself.

        Where that is no finite number the row's logits were none, and the token means nothing.
        """
        logits = logits.float()
        scores = logits if self.seen is None else self.penalise(logits)
        tokens = scores.argmax(-1)
        if not self.greedy:
            tokens = torch.where(self.sampled, self.sample(scores), tokens)
        if self.seen is not None:
            self.seen.scatter_(1, tokens[:, None], True)
        logprobs = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)
        both = torch.stack([tokens.to(logprobs.dtype), logprobs])  # one transfer from the GPU; fp32 is exact up to 2^24
        chosen, probabilities = both.tolist()
        return [int(token) for token in chosen], probabilities

    def penalise(self, logits: torch.Tensor) -> torch.Tensor:
        """CTRL's repetition penalty (arXiv:1909.05858): seen tokens' logits divided if positive, else multiplied."""
        punished = torch.where(logits > 0, logits / self.penalty, logits * self.penalty)
        return torch.where(self.seen, punished, logits)

    def sample(self, scores: torch.Tensor) -> torch.Tensor:
        """Temperature, then top-k, then top-p, then the inverse of the cumulated probabilities at one number per row."""
        ordered, order = (scores / self.temperature).sort(-1, descending=True)
        rank = torch.arange(ordered.shape[1], device=ordered.device)
        cut = (self.top_k > 0) & (rank >= self.top_k)
        ordered = ordered.masked_fill(cut, float("-inf"))
        probabilities = ordered.softmax(-1)
        # the token that crosses top_p stays in
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(before >= self.top_p, 0.0)
        cumulated = probabilities.cumsum(-1)
        drawn = torch.stack([torch.rand(1, generator=generator) for generator in self.generators]).to(scores.device)
        at = (cumulated <= drawn * cumulated[:, -1:]).sum(-1, keepdim=True)
        # rounding must not step over the last token that has any probability
        at = at.minimum((probabilities > 0).sum(-1, keepdim=True) - 1).clamp(min=0)
        return order.gather(1, at)[:, 0]


def column(values: Sequence[float], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, device=device)[:, None]
