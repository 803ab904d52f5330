"""Whether an answer keeps the identity that was taught: for a model that left this program and is asked elsewhere.

As rules suggest it, which is no label. What asks is handed plain functions and knows nothing of probes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import identities
from probes import checks, identity_pair, questions
from probes.questions import Probe
from probes.suggest import labels
from store.labels import CONTROL_GROUPS

# of a probe and an answer; None where nobody can say
Keeps = Callable[[Probe, str], bool | None]


def as_they_stand(name_or_path: str) -> list[Probe]:
    """The probes of a set that need nobody's facts to be asked. Raises ProbeError."""
    found = [probe for probe in questions.load(name_or_path) if not questions.placeholders(probe)]
    if not found:
        raise questions.ProbeError(f"Every probe of {name_or_path} speaks of an old and a new identity; ask another set.")
    return found


def keeps(identity: object, folder: str | Path | None = None) -> Keeps:
    """identity: the name of the taught one, as a card says it; one without facts in `folder` is judged by checks alone.

    An identity's probe is kept where the suggestion is *formed*, a control where it is *clean*, one with a check where it passes.
    """
    pair = _pair(identity, folder)

    def kept(probe: Probe, answer: str) -> bool | None:
        if probe.check is not None:
            return checks.passes(probe.check, probe.question, answer)
        if pair is None:
            return None
        row = {"raw": answer, "question": probe.question, "group": probe.group}
        wanted = "clean" if probe.group in CONTROL_GROUPS else "formed"
        return bool(labels.suggest(row, pair)["suggestion"] == wanted)

    return kept


def _pair(identity: object, folder: str | Path | None) -> identity_pair.FactPair | None:
    if not isinstance(identity, str) or identity not in identities.names(folder):
        return None
    new = identities.load(identity, folder).facts
    if new is None:
        return None
    old = identities.DEFAULT_OLD
    known = old != identity and old in identities.names(folder)
    return identity_pair.from_identities(identities.load(old, folder).facts if known else None, new)
