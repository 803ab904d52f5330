"""How far people agree with each other and with the suggestions, and where they do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np

from probes.verdicts import decide

Labels = Mapping[int, Sequence[Mapping]]  # answer id -> standing label rows, as `store.labels.standing` gives them


@dataclass(frozen=True)
class Alpha:
    """Krippendorff's alpha, nominal. value is None where it is not defined: no answer labelled twice, or one label only.

    answers: how many were labelled by two people or more. agreed: the share of pairs of labels on them that are the same.
    """

    value: float | None
    answers: int
    people: int
    agreed: float | None


@dataclass(frozen=True)
class Pair:
    """Two annotators, or one and the suggestions: on how many answers they both spoke and agreed, and what they said there.

    confusion: (label of the first, label of the second) -> how often.
    """

    first: str
    second: str
    answers: int
    agreed: float
    alpha: float | None
    confusion: Mapping[tuple[str, str], int]


def voices(labels: Labels) -> dict[int, dict[str, str]]:
    """answer id -> annotator -> label; adjudications are left out, they were made knowing the others."""
    return {
        answer: said
        for answer, rows in labels.items()
        if (said := {row["annotator"]: row["label"] for row in rows if row["kind"] == "label"})
    }


def alpha(said: Mapping[int, Mapping[str, str]], only: str | None = None) -> Alpha:
    """Over all labels; with `only`, of that label against all others together."""
    units = [[label == only for label in by.values()] if only else list(by.values()) for by in said.values() if len(by) > 1]
    people = {name for by in said.values() if len(by) > 1 for name in by}
    if not units:
        return Alpha(None, 0, 0, None)
    values = sorted({value for unit in units for value in unit})
    counts = np.array([[unit.count(value) for value in values] for unit in units])
    size = counts.sum(axis=1)
    same, pairs = (counts * (counts - 1)).sum(), (size * (size - 1)).sum()
    # With one value only nothing could have been disagreed about: alpha is 0/0.
    found = None if len(values) < 2 else float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))
    return Alpha(found if found is None or math.isfinite(found) else None, len(units), len(people), float(same / pairs))


def alphas(labels: Labels, langs: Mapping[int, str]) -> dict[str, Alpha]:
    """`overall`, per language `lang en`, and per label that was ever given `label formed`. langs: answer id -> language."""
    said = voices(labels)
    found = {"overall": alpha(said)}
    for lang in sorted({langs[answer] for answer in said if langs.get(answer)}):
        found[f"lang {lang}"] = alpha({answer: by for answer, by in said.items() if langs.get(answer) == lang})
    for label in sorted({label for by in said.values() for label in by.values()}):
        found[f"label {label}"] = alpha(said, label)
    return found


def pairs(labels: Labels) -> list[Pair]:
    """Every two annotators who have labelled a common answer, the most common answers first."""
    said = voices(labels)
    people = sorted({name for by in said.values() for name in by})
    found = [_pair(a, b, [(by[a], by[b]) for by in said.values() if a in by and b in by]) for a, b in combinations(people, 2)]
    return sorted((pair for pair in found if pair.answers), key=lambda pair: -pair.answers)


def with_suggestions(labels: Labels, suggestions: Mapping[int, str]) -> list[Pair]:
    """Each annotator against the suggestions, then what people decided together ("people"). suggestions: answer id -> label."""
    said = voices(labels)
    decided = {answer: label for answer, rows in labels.items() if (label := decide(rows).label)}
    by_person = {name: {answer: by[name] for answer, by in said.items() if name in by} for name in _people(said)}
    found = []
    for name, given in [*by_person.items(), ("people", decided)]:
        pair = _pair(
            name, "suggestions", [(label, suggestions[answer]) for answer, label in given.items() if answer in suggestions]
        )
        found += [pair] if pair.answers else []
    return found


def disagreements(labels: Labels, *, settled: bool = False) -> list[dict]:
    """Answers that people labelled differently, the most evenly divided first: `answer`, `labels` (annotator -> label),
    `split` (share of the commonest label) and, if settled ones are asked for too, `settled` (the adjudication or None)."""
    found = []
    for answer, by in voices(labels).items():
        counts = Counter(by.values())
        decision = decide(labels[answer])
        adjudicated = decision.label if decision.how == "adjudicated" else None
        if len(counts) > 1 and (settled or adjudicated is None):
            found.append({"answer": answer, "labels": by, "split": max(counts.values()) / len(by), "settled": adjudicated})
    return sorted(found, key=lambda row: (row["split"], -len(row["labels"]), row["answer"]))


def _people(said: Mapping[int, Mapping[str, str]]) -> list[str]:
    return sorted({name for by in said.values() for name in by})


def _pair(first: str, second: str, both: Iterable[tuple[str, str]]) -> Pair:
    confusion = Counter(both)
    total = confusion.total()
    if not total:
        return Pair(first, second, 0, 0.0, None, {})
    agreed = sum(count for (a, b), count in confusion.items() if a == b) / total
    units = {n: {"a": a, "b": b} for n, (a, b) in enumerate(confusion.elements())}
    return Pair(first, second, total, agreed, alpha(units).value, dict(confusion))
