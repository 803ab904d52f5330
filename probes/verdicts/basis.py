"""What stands behind a verdict: its answers, where their labels come from, and what would settle it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from probes.verdicts import rules
from probes.verdicts.rules import UNDETERMINED, Judged, Verdict
from store.labels import CONTROL_GROUPS

BY_PEOPLE = ("adjudicated", "majority")

Pair = tuple[Mapping, Judged]  # an answer and what is said of it


@dataclass(frozen=True)
class Missing:
    """verdict: the one that stands; more: probes like those asked that would settle it (None: it is settled, or no number
    would). labels_verdict: the same from labels alone, and labels_more what that one lacks. unlabelled: answers behind the
    verdict that nobody has labelled; disputed: those on which people are divided."""

    verdict: Verdict
    labels_verdict: Verdict
    unlabelled: int
    disputed: int

    @property
    def more(self) -> int | None:
        return self.verdict.more if self.verdict.word == UNDETERMINED else None

    @property
    def labels_more(self) -> int | None:
        return self.labels_verdict.more if self.labels_verdict.word == UNDETERMINED else None


def counting_pairs(pairs: Sequence[Pair], column: str) -> list[Pair]:
    """Those of one variant's and language's answers that the verdict in `column` (old, new, stability, usable) rests on."""
    if column == "usable":
        return list(pairs)
    identity = [pair for pair in pairs if pair[1].group not in CONTROL_GROUPS]
    if column == "stability":
        return identity
    greedy = [pair for pair in identity if pair[1].greedy]
    heard = [pair for pair in greedy if pair[1].label]
    return greedy if heard else identity


def count_sources(pairs: Sequence[Pair]) -> dict[str, int]:
    """Answers by where their label comes from; retention is right or wrong by a check and counts nowhere."""
    return dict(Counter(said.source for _, said in pairs if said.group != "retention"))


def find_missing(pairs: Sequence[Pair], result: rules.Result, column: str) -> Missing:
    """What the verdict in `column` lacks. pairs: all answers of the result's variant and language."""
    here = counting_pairs(pairs, column)
    by_people = [said for _, said in pairs if said.source in BY_PEOPLE or said.group == "retention"]
    [alone] = rules.judge_variants(by_people) or [rules.empty_result(result.variant, result.lang)]
    found = count_sources(here)
    return Missing(
        getattr(result, column),
        getattr(alone, column),
        found.get("suggestion", 0) + found.get("none", 0),
        found.get("disputed", 0),
    )
