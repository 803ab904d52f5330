"""Two variants on the same probes: McNemar's test, the difference with its interval, and how many probes would settle it.

What people labelled is compared with what people labelled, what the rules suggest with suggestions; a probe that has a label of
one variant and only a suggestion of the other is in neither. Retention is compared by its checks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import scipy

from probes.verdicts import rules, statistics
from probes.verdicts.basis import BY_PEOPLE
from probes.verdicts.rules import CONFUSION, FORMED, INTRUSION, NOT_FORGOTTEN, UNDETERMINED, Judged
from store.labels import CONTROL_GROUPS

ALPHA = 1 - statistics.CONFIDENCE
LABELS, SUGGESTIONS, CHECKS = "labels", "suggestions", "checks"
RIGHT = "right"
# what is counted -> of which answers: identity probes, controls, retention
OUTCOMES = {FORMED: "identity", NOT_FORGOTTEN: "identity", CONFUSION: "identity", INTRUSION: "control", RIGHT: "retention"}
FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Comparison:
    """How often `what` holds of one variant's answers and of another's, probe by probe.

    source: labels, suggestions or checks. both, first_only, second_only, neither: probes. left_out: probes that only one of the
    two has a word for, or whose samples are divided evenly. difference: of the shares, first minus second, with its 95 %
    interval. p: exact, McNemar; adjusted: Holm's, over the pairs that were compared in the same way. word: first, second (holds
    more often there) or undetermined; more: further probes like those asked that would settle it, None: it is, or none would.
    """

    first: str
    second: str
    lang: str
    what: str
    source: str
    both: int
    first_only: int
    second_only: int
    neither: int
    left_out: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float = 1.0
    word: str = UNDETERMINED
    more: int | None = None

    @property
    def probes(self) -> int:
        return self.both + self.first_only + self.second_only + self.neither


def compare_pairs(
    rows: Sequence[Mapping], labels: Mapping[int, Sequence[Mapping]], pairs: Sequence[tuple[str, str]], source: str = "best"
) -> list[Comparison]:
    """Every pair in every language, by labels and by suggestions each on their own, as far as both have answered the same probes.

    rows, labels: as `rules.collect_evidence` takes them. source: one of `rules.SOURCES`; best means both.
    """
    asked = {"best": (LABELS, SUGGESTIONS)}.get(source, (source,))
    found: list[Comparison] = []
    for by in asked:
        judged = _by_variant(rules.collect_evidence(rows, labels, by))
        wanted = (*BY_PEOPLE,) if by == LABELS else ("suggestion",)
        for pair in pairs:
            found += _compare(judged, pair, by, wanted)
    found += [one for pair in pairs for one in _compare(judged, pair, CHECKS, ())]
    return _adjusted(found)


def _by_variant(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for answer in judged:
        found.setdefault(answer.variant, []).append(answer)
    return found


def _compare(judged: Mapping[str, list[Judged]], pair: tuple[str, str], source: str, wanted: Sequence[str]) -> list[Comparison]:
    """judged: by variant."""
    here = [answer for name in pair for answer in judged.get(name, ())]
    found = []
    for lang in sorted({answer.lang for answer in here}):
        of_lang = [answer for answer in here if answer.lang == lang]
        for what, kind in OUTCOMES.items():
            if (kind == "retention") == (source == CHECKS):
                said = [_said([one for one in of_lang if one.variant == name and _is(one, kind)], what, wanted) for name in pair]
                found += _table(said[0], said[1], (*pair, lang, what, source))
    return found


def _is(answer: Judged, kind: str) -> bool:
    return answer.group == kind if kind != "identity" else answer.group not in CONTROL_GROUPS


def _said(answers: Sequence[Judged], what: str, wanted: Sequence[str]) -> dict[str, bool | None]:
    """Probe -> whether `what` holds in more than half of its headline answers; None where they are divided evenly."""
    told = [one for one in answers if (one.correct is not None if what == RIGHT else one.label and one.source in wanted)]
    hits: dict[str, Counter[bool]] = {}
    for one in rules.headline_answers(told)[0]:
        hits.setdefault(one.probe, Counter())[bool(one.correct) if what == RIGHT else one.label == what] += 1
    return {probe: None if of[True] == of[False] else of[True] > of[False] for probe, of in hits.items()}


def _table(
    one: Mapping[str, bool | None], two: Mapping[str, bool | None], about: tuple[str, str, str, str, str]
) -> list[Comparison]:
    both = {probe: (one[probe], two[probe]) for probe in one.keys() & two.keys()}
    whole = Counter(said for said in both.values() if None not in said)
    if not whole.total():
        return []
    counts = whole[True, True], whole[True, False], whole[False, True], whole[False, False]
    left_out = len(one.keys() | two.keys()) - whole.total()
    from statsmodels.stats.contingency_tables import mcnemar  # takes a second, and few ask for it

    p = float(mcnemar([counts[:2], counts[2:]], exact=True).pvalue) if counts[1] + counts[2] else 1.0
    return [Comparison(*about, *counts, left_out, *paired_difference(*counts), p)]


def paired_difference(both: float, first: float, second: float, neither: float) -> tuple[float, float, float]:
    """(difference of two shares of the same probes, low, high): Newcombe's square-and-add interval from Wilson's
    (Statistics in Medicine 17, 1998, page 2635, method 10)."""
    total = both + first + second + neither
    one, two = (both + first) / total, (both + second) / total
    (low_1, high_1), (low_2, high_2) = statistics.wilson(one, total), statistics.wilson(two, total)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    joint = both * neither - first * second
    joint = max(joint - total / 2, 0.0) if joint > 0 else joint  # his correction for continuity
    phi = joint / math.sqrt(margins) if margins else 0.0

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    difference = one - two
    return difference, difference - reach(one - low_1, high_2 - two), difference + reach(high_1 - one, two - low_2)


def exact_p(first: float, second: float) -> float:
    """McNemar's exact p of the probes that differ, also for numbers that are no whole ones; statsmodels' for those that are."""
    if first + second <= 0:
        return 1.0
    fewer, total = min(first, second), first + second
    return min(1.0, 2 * float(scipy.special.betainc(total - fewer, fewer + 1, 0.5)))


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted for one another, in the same order. statsmodels' `multipletests` is equal, and takes 0.1 s to collect garbage."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = largest
    return adjusted


def _adjusted(found: Sequence[Comparison]) -> list[Comparison]:
    families: dict[tuple[str, str, str], list[int]] = {}
    for at, one in enumerate(found):
        families.setdefault((one.lang, one.what, one.source), []).append(at)
    made = list(found)
    for places in families.values():
        for at, p in zip(places, holm([found[at].p for at in places]), strict=True):
            made[at] = _decided(replace(found[at], adjusted=p), len(places))
    return made


def _decided(one: Comparison, compared: int) -> Comparison:
    if one.adjusted <= ALPHA:
        return replace(one, word=FIRST if one.first_only > one.second_only else SECOND)

    def settled(more: int) -> bool:
        grown = 1 + more / one.probes
        return compared * exact_p(one.first_only * grown, one.second_only * grown) <= ALPHA

    return replace(one, more=statistics.probes_to_settle(settled))
