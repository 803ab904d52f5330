"""The quick set as a training asks it of the adapter that it is making, and what rules suggest of the answers.

What asks is handed plain data and a plain function, and knows nothing of probes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import identities
from identities import LANGS
from probes import identity_pair, questions
from probes.identity_pair import FactPair
from probes.questions import Probe, ProbeError
from probes.suggest import labels

SET = "quick"
FIRST = 2  # identity questions between two controls: whoever asks only the first few of a list has both kinds


def quick_questions(
    old: str, new: str, folder: str | Path | None = None, langs: Sequence[str] = LANGS
) -> tuple[list[dict[str, str]], Callable[[Mapping[str, str], str], str]]:
    """(questions as plain data, the weightiest first and the languages in turn; (question, answer) -> suggested label).

    old, new: names of identities in `folder`. langs: empty takes every language in which the new one has a name. Raises
    IdentityError or ProbeError.
    """
    facts = identities.load(new, folder).facts
    if facts is None:
        raise ProbeError(f"The identity {new} has no facts; write {new}.yaml beside {new}.txt.")
    known = identities.load(old, folder).facts if old != new and old in identities.names(folder) else None
    pair = identity_pair.from_identities(known, facts)
    spoken = [lang for lang in langs or LANGS if pair.new.first("name", lang)]
    by_lang = [in_order([probe for probe in questions.load(SET, pair) if probe.lang == lang]) for lang in spoken]
    asked = [plain(probe) for several in zip_longest(*by_lang) for probe in several if probe]
    if not asked:
        raise ProbeError(f"There is nothing to ask: the set {SET} has no questions in {', '.join(langs) or 'any language'}.")
    return asked, judge_of(pair)


def judge_of(pair: FactPair) -> Callable[[Mapping[str, str], str], str]:
    """(question as plain data, answer as the model wrote it) -> the suggested label; never a label."""
    return lambda question, said: str(labels.suggest({**question, "raw": said, "answer": said}, pair)["suggestion"])


def in_order(probes: Sequence[Probe]) -> list[Probe]:
    """One language's, the weightiest first: a control after each few of the identity's."""
    about, controls = [one for one in probes if one.about_identity], [one for one in probes if not one.about_identity]
    found: list[Probe] = []
    while about or controls:
        taken = 1 if not found else FIRST  # the very first two are one of each kind
        found += [*about[:taken], *controls[:1]]
        about, controls = about[taken:], controls[1:]
    return found


def plain(probe: Probe) -> dict[str, Any]:
    return {name: getattr(probe, name) for name in ("id", "group", "category", "lang", "question")}
