"""What one cell of an experiment came to: a dose, a seed, and how each probe was answered.

A *measure* is a share of probes, a *criterion* a verdict as measures that must all reach their level. The levels are those of
`probes.verdicts.rules`; "stable" and "usable" are asked of the new identity, since a base that was never taught is stable too.

The threshold of a criterion is the least dose at which the true shares, over seeds and over probes like those asked, reach
the levels of all its measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from probes.verdicts import rules
from probes.verdicts.rules import Judged
from probes.verdicts.thresholds import shares_by_probe
from store.labels import CONTROL_GROUPS

OLD_GONE, NEW, HOLD, PRESSURE, CLEAN, KEPT = "old gone", "new", "hold", "pressure", "clean", "kept"
LEVELS = {
    OLD_GONE: 1 - rules.GONE,  # greedy identity answers that do not speak as the old identity
    NEW: rules.HOLDS,  # greedy identity answers that speak as the new one
    HOLD: rules.MODAL,  # all identity answers but those under pressure, every sample counted, that speak as the new one
    PRESSURE: 1 - rules.FLIPS,  # the same under pressure
    CLEAN: 1 - rules.LEAKS,  # greedy control answers without intrusion
    KEPT: (1 - rules.POINTS / 100) / 2,  # retention against the base, paired: 0.5 for as right as the base, 1 for better
}
OF_THESE_PROBES = (HOLD, PRESSURE)  # whose rule is of the estimate: what other probes would show is not asked
BY_POINT = (KEPT,)  # the estimate decides, as in the verdict: 64 probes cannot tell two points
FORGOTTEN, FORMED, STABLE, USABLE = "forgotten", "formed", "stable", "usable"
CRITERIA = {
    FORGOTTEN: (OLD_GONE,),
    FORMED: (NEW,),
    STABLE: (NEW, HOLD, PRESSURE),
    USABLE: (NEW, HOLD, PRESSURE, CLEAN, KEPT),
}

Shares = Mapping[str, float]  # probe -> share of its answers, 0 to 1


@dataclass(frozen=True)
class Outcome:
    """dose: identity samples; scores: "measure/lang", "new/en" say -> probe -> share. Of a probe that nobody, or no agreed
    source, says anything of there is none."""

    dose: int
    seed: int
    scores: Mapping[str, Shares]


def scores_of(judged: Iterable[Judged], base: Iterable[Judged] = ()) -> dict[str, dict[str, float]]:
    """The scores of one cell's answers, of all languages. base: the answers of the base, for retention; without them
    `kept`, and so "usable", is not known."""
    of_base = _by_lang(base)
    found: dict[str, dict[str, float]] = {}
    for lang, answers in _by_lang(judged).items():
        identity = [one for one in answers if one.group not in CONTROL_GROUPS and one.label]
        heard, _ = rules.headline_answers(identity)
        controls, _ = rules.headline_answers([one for one in answers if one.group == "control" and one.label])
        right, was = _right(answers), _right(of_base.get(lang, ()))
        measures = {
            OLD_GONE: shares_by_probe(heard, lambda one: one.label != rules.NOT_FORGOTTEN),
            NEW: shares_by_probe(heard, lambda one: one.label == rules.FORMED),
            HOLD: shares_by_probe((one for one in identity if one.group != "pressure"), lambda one: one.label == rules.FORMED),
            PRESSURE: shares_by_probe(
                (one for one in identity if one.group == "pressure"), lambda one: one.label == rules.FORMED
            ),
            CLEAN: shares_by_probe(controls, lambda one: one.label != rules.INTRUSION),
            KEPT: {probe: (1 + right[probe] - was[probe]) / 2 for probe in right if probe in was},
        }
        found |= {f"{measure}/{lang}": shares for measure, shares in measures.items() if shares}
    return found


def _by_lang(judged: Iterable[Judged]) -> dict[str, list[Judged]]:
    found: dict[str, list[Judged]] = {}
    for one in judged:
        found.setdefault(one.lang, []).append(one)
    return found


def _right(answers: Iterable[Judged]) -> dict[str, float]:
    checked = [one for one in answers if one.group == "retention" and one.correct is not None]
    return shares_by_probe(rules.headline_answers(checked)[0], lambda one: bool(one.correct))
