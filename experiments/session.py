"""What every step of an experiment under way needs: the plan, the places, the base that answers, and whether to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import identities
from experiments.places import Places
from experiments.plan import Plan
from probes import identity_pair, questions
from probes.identity_pair import FactPair
from probes.questions import Probe
from probes.run import margins
from tuning.dataset.recipe import Dataset

if TYPE_CHECKING:  # torch: only for those who compute
    from engine import Engine


class Stopped(Exception):
    """The experiment was asked to end; everything that is done is kept."""


@dataclass(eq=False)
class Session:
    """`engine` is loaded when it is first needed. stop: set by whoever wants it to end, heeded between two steps."""

    plan: Plan
    places: Places
    pair: FactPair
    probes: list[Probe]
    stop: threading.Event = field(default_factory=threading.Event)
    say: Callable[[str], None] = print
    engine: Engine | None = None

    @property
    def stopping(self) -> bool:
        return self.stop.is_set() or self.places.stop.exists()


def open_session(plan: Plan, places: Places, say: Callable[[str], None] = print) -> Session:
    """Nothing is loaded yet. Raises UserError for identities and probes that do not fit each other."""
    pair = identity_pair.from_identities(*(identities.load(one, places.identities).facts for one in (plan.old, plan.identity)))
    probes = chosen_probes(plan, pair)
    if plan.probes.margin:
        margins.probes_to_measure(probes, pair)
    return Session(plan, places, pair, probes, say=say)


def chosen_probes(plan: Plan, pair: FactPair) -> list[Probe]:
    """The probes of the plan, filled; of each group and language `limit`, evenly over the set. Raises ProbeError."""
    asked = [probe for probe in questions.load(",".join(plan.probes.sets)) if probe.lang in plan.langs]
    if (limit := plan.probes.limit) is not None:
        groups: dict[tuple[str, str], list[Probe]] = {}
        for probe in asked:
            groups.setdefault((probe.group, probe.lang), []).append(probe)
        kept = {
            those[at * len(those) // limit].id for those in groups.values() for at in range(min(limit, len(those)))
            if len(those) > limit
        } | {probe.id for those in groups.values() if len(those) <= limit for probe in those}  # fmt: skip
        asked = [probe for probe in asked if probe.id in kept]
    if not asked:
        raise questions.ProbeError(f"No probe of {', '.join(plan.probes.sets)} is left to ask; look at langs and limit.")
    return questions.fill(asked, pair)


def loaded_engine(session: Session) -> Engine:
    """The base that answers, loaded once; on its device again, if it made room for a training. Raises EngineError."""
    import engine

    plan = session.plan
    if session.engine is None:
        session.engine = engine.load(
            plan.base, format=plan.format, device=plan.device or None, dtype=plan.dtype or None, threads=plan.threads or None,
            say=session.say,
        )  # fmt: skip
    if session.engine.parked:
        session.engine.unpark()
    return session.engine


def data_recipe(session: Session, **more: Any) -> Dataset:
    """What the identity's rows of every cell have in common."""
    plan, card = session.plan, loaded_engine(session).base.card
    folder = str(session.places.identities.absolute()) if session.places.identities else ""
    return Dataset(
        identity=plan.identity, langs=tuple(plan.langs), old=plan.old if plan.deny_old else "", general="", general_share=0.0,
        card=card.name if card.placeholders else "", identities_dir=folder, **more,
    )  # fmt: skip
