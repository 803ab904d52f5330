"""How far people agree with each other and with the suggestions, and where they do not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import krippendorff
import numpy as np

from identities import natural_key
from probes.verdicts.rules import decide_label

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


def labels_by_annotator(labels: Labels) -> dict[int, dict[str, str]]:
    """answer id -> annotator -> label; adjudications are left out, they were made knowing the others."""
    return {
        answer: said
        for answer, rows in labels.items()
        if (said := {row["annotator"]: row["label"] for row in rows if row["kind"] == "label"})
    }


def alpha(said: Mapping[int, Mapping[str, str]], only: str | None = None) -> Alpha:
    """Over all labels; with `only`, of that label against all others together."""
    answers, values, counts = _counted(said)
    if only is not None:
        counts = _against_rest(counts, values, only)
    return _alpha(counts, _people({answer: said[answer] for answer in answers}))


def alphas(labels: Labels, langs: Mapping[int, str]) -> dict[str, Alpha]:
    """`overall`, per language `lang en`, and per label that was ever given `label formed`. langs: answer id -> language."""
    said = labels_by_annotator(labels)
    answers, values, counts = _counted(said)
    people = _people({answer: said[answer] for answer in answers})
    found = {"overall": _alpha(counts, people)}
    of = np.array([langs.get(answer) or "" for answer in answers])
    for lang in sorted({langs[answer] for answer in said if langs.get(answer)}):
        here = np.flatnonzero(of == lang)
        found[f"lang {lang}"] = _alpha(counts[here], _people({at: said[answers[at]] for at in here}))
    for label in sorted({label for by in said.values() for label in by.values()}):
        found[f"label {label}"] = _alpha(_against_rest(counts, values, label), people)
    return found


def pair_annotators(labels: Labels) -> list[Pair]:
    """Every two annotators who have labelled a common answer, the most common answers first."""
    said = labels_by_annotator(labels)
    people = _people(said)
    found = [_pair(a, b, [(by[a], by[b]) for by in said.values() if a in by and b in by]) for a, b in combinations(people, 2)]
    return sorted((pair for pair in found if pair.answers), key=lambda pair: -pair.answers)


def pair_with_suggestions(labels: Labels, suggestions: Mapping[int, str]) -> list[Pair]:
    """Each annotator against the suggestions, then what people decided together ("people"). suggestions: answer id -> label."""
    said = labels_by_annotator(labels)
    decided = {answer: label for answer, rows in labels.items() if (label := decide_label(rows).label)}
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
    for answer, by in labels_by_annotator(labels).items():
        counts = Counter(by.values())
        decision = decide_label(labels[answer])
        adjudicated = decision.label if decision.how == "adjudicated" else None
        if len(counts) > 1 and (settled or adjudicated is None):
            found.append({"answer": answer, "labels": by, "split": max(counts.values()) / len(by), "settled": adjudicated})
    return sorted(found, key=lambda row: (row["split"], -len(row["labels"]), row["answer"]))


def _counted(said: Mapping[int, Mapping[str, str]]) -> tuple[list[int], list[str], np.ndarray]:
    """Answers with two labels or more, the labels given to them, and how often each was: (answers x labels)."""
    several = {answer: list(by.values()) for answer, by in said.items() if len(by) > 1}
    values = sorted({value for unit in several.values() for value in unit})
    column = {value: at for at, value in enumerate(values)}
    width = len(values)
    places = [at * width + column[value] for at, unit in enumerate(several.values()) for value in unit]
    counts = np.bincount(np.array(places, dtype=int), minlength=len(several) * width).reshape(len(several), width)
    return list(several), values, counts


def _against_rest(counts: np.ndarray, values: Sequence[str], label: str) -> np.ndarray:
    mine = counts[:, values.index(label)] if label in values else np.zeros(len(counts), dtype=int)
    return np.stack([mine, counts.sum(axis=1) - mine], axis=1)


def _alpha(counts: np.ndarray, people: Sequence[str]) -> Alpha:
    """counts: (answers x labels), two labels or more on each answer."""
    if not len(counts):
        return Alpha(None, 0, 0, None)
    size = counts.sum(axis=1)
    same, possible = (counts * (counts - 1)).sum(), (size * (size - 1)).sum()
    given = counts[:, counts.any(axis=0)]
    # With one value only nothing could have been disagreed about: alpha is 0/0.
    found = None if given.shape[1] < 2 else float(krippendorff.alpha(value_counts=given, level_of_measurement="nominal"))
    return Alpha(found if found is None or math.isfinite(found) else None, len(counts), len(people), float(same / possible))


def _people(said: Mapping[int, Mapping[str, str]]) -> list[str]:
    return sorted({name for by in said.values() for name in by}, key=natural_key)


def _pair(first: str, second: str, both: Iterable[tuple[str, str]]) -> Pair:
    confusion = Counter(both)
    total = confusion.total()
    if not total:
        return Pair(first, second, 0, 0.0, None, {})
    agreed = sum(count for (a, b), count in confusion.items() if a == b) / total
    values = sorted({value for both_said in confusion for value in both_said})
    kinds = np.array([[both_said.count(value) for value in values] for both_said in confusion])
    counts = np.repeat(kinds, list(confusion.values()), axis=0)
    return Pair(first, second, total, agreed, _alpha(counts, (first, second)).value, dict(confusion))
