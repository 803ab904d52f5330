"""The identity margins of a run, measured once its answers are there: the same for the command line and for the page."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from probes.identity_pair import FactPair
from probes.questions import Probe, ProbeError
from probes.run.launch import ReadyRun
from store import StoreError, owners, runs
from store.runs import Status

if TYPE_CHECKING:  # torch: only for those who measure
    from engine import Engine
    from probes.margin import Score, Sides

PAUSE_S = 0.3


class Measured(NamedTuple):
    """Where the measuring is. left_s is None until it can be guessed."""

    done: int
    total: int
    left_s: float | None


def probes_to_measure(
    probes: Sequence[Probe], pair: FactPair, placeholders: Mapping[str, str] | None = None
) -> tuple[list[Probe], dict[str, Sides]]:
    """The probes whose margin can be measured, and the statements. Raises ProbeError if there are none.

    placeholders: the base's card, as for `margin.statements_of`.
    """
    from probes import margin

    statements = margin.statements_of(pair, placeholders)
    suited = margin.suited_probes(probes, statements)
    if not suited:
        raise ProbeError(
            f"None of these probes suits a margin: identity questions of one turn about {', '.join(margin.CATEGORIES)} do. "
            "Choose another set, or leave the margin out."
        )
    return suited, statements


def measure(engine: Engine, db: str | Path, run: int, ready: ReadyRun, pair: FactPair) -> Iterator[Measured]:
    """Measures the margins that are missing, of whole variants, and stores them; the switches of `ready` are heeded.

    The run is under way meanwhile, and afterwards done, or stopped where margins are missing still. Closing the generator stops
    it. Raises ProbeError, EngineError and StoreError; the run has failed then. What was measured is kept in any case: one
    variant without numbers does not lose those of the others.
    """
    from probes import margin

    suited, statements = probes_to_measure(ready.probes, pair, engine.base.card.placeholders)
    margin.warn_of_left_out(statements)
    there = runs.margins(db, run)
    places = [at for at in range(len(ready.variants)) if any((at, probe.id) not in there for probe in suited)]
    if not places:
        return
    total, found, switches = len(places) * len(suited), list[tuple[int, str, float, float]](), ready.switches
    status: Status = "stopped"
    message, claim = "", owners.Claim()
    try:
        runs.take_over(db, run, claim.text)
        began = beaten = time.monotonic()
        yield Measured(0, total, None)
        for at, _, score in margin.iterate_scores(engine, [ready.variants[at] for at in places], suited, statements):
            found.append((places[at], score.probe_id, score.old, score.new))
            now = time.monotonic()
            yield Measured(len(found), total, (now - began) / len(found) * (total - len(found)))
            if now - beaten >= owners.BEAT_S:
                beaten = now
                runs.beat(db, run, claim.text)
            while switches.pause.is_set() and not switches.stop.wait(PAUSE_S):
                pass
            if switches.stop.is_set():
                break
        status = "done" if len(found) == total else "stopped"
    except Exception as error:
        status, message = "failed", str(error)
        raise
    finally:
        try:
            runs.add_margins(db, run, found)
            runs.set_status(db, run, status, message, owner=claim.text)
        except StoreError:
            if status != "failed":  # else that is what is told, be it that the run is somebody else's by now
                raise
        finally:
            claim.release()


def scores_of(db: str | Path, run: int, variant: int, probes: Sequence[Probe]) -> list[Score]:
    """The stored margins of one variant, in the order of the probes."""
    from probes.margin import Score

    there = runs.margins(db, run)
    return [Score(probe.id, probe.lang, *sides) for probe in probes if (sides := there.get((variant, probe.id)))]
