"""For tests of the identity margin: scores of several variants of an engine, and of a bare model, in the order of the probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from engine import Engine, Variant
from engine.formats import Format
from probes import margin
from probes.margin import Score, Sides
from probes.questions import Probe


def score_variants(
    engine: Engine, variants: Sequence[Variant], probes: Sequence[Probe], statements: Mapping[str, Sides]
) -> list[list[Score]]:
    """Per variant the scores of the probes."""
    scores: list[dict[int, Score]] = [{} for _ in variants]
    for variant, probe, score in margin.iterate_scores(engine, variants, probes, statements):
        scores[variant][probe] = score
    return [[of_probe[at] for at in range(len(probes))] for of_probe in scores]


def score_model(
    model: Any, tokenizer: PreTrainedTokenizerBase, format: Format, probes: Sequence[Probe], statements: Mapping[str, Sides]
) -> list[Score]:
    """Of a bare transformers or PEFT model, adapters as they are switched."""
    return margin.score_prompts(model, margin.build_prompts(tokenizer, format, probes, statements), probes, statements)
