"""A run up to its first question, begun or continued: the same for the command line and for the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.paths import Opened
from engine.types import EngineError, Variant
from probes import identity_pair
from probes.identity_pair import FactPair
from probes.questions import Probe
from probes.run import runner
from probes.run.runner import SavedRun
from probes.run.settings import RunProgress, RunSettings, Switches

if TYPE_CHECKING:  # torch: only for those who ask
    from engine import Engine


@dataclass(frozen=True)
class ReadyRun:
    """A run that asks as its events are taken. about: what its row keeps for suggestions and margin."""

    variants: Sequence[Variant]
    probes: Sequence[Probe]
    switches: Switches
    events: Iterator[RunProgress]
    about: Mapping[str, Any] = field(default_factory=dict)


def start_run(
    engine: Engine,
    variants: Sequence[Variant],
    probes: Sequence[Probe],
    settings: RunSettings,
    *,
    db: str | Path,
    name: str = "",
    set_name: str = "",
    reuse: bool = True,
    switches: Switches | None = None,
    about: Mapping[str, Any] | None = None,
) -> ReadyRun:
    """A new run, which stands in the database from here on. Raises ProbeError, EngineError."""
    switches, about = switches or Switches(), about or {}
    events = runner.run(
        engine, variants, probes, settings, db=db, name=name, set_name=set_name, reuse=reuse, switches=switches, about=about
    )
    return ReadyRun(variants, probes, switches, events, about)


def resume_run(
    engine: Engine,
    saved: SavedRun,
    *,
    db: str | Path,
    reuse: bool = True,
    switches: Switches | None = None,
    accept_other_base: bool = False,
    opened: Opened | None = None,
) -> ReadyRun:
    """A stored run goes on; adapters of it that are not loaded are brought back from where they were.

    opened: where their folders may lie, for whoever acts for others; a folder that is gone is then told as an adapter that is
    not loaded as it was. None: the local user, who is told of the folder itself.
    Raises EngineError, and ProbeError unless base and adapters are those that the run began with.
    """
    switches = switches or Switches()
    for one in saved.row["variants"]:
        for name, path in one["paths"].items():
            if name in engine.adapters:
                continue
            if opened is not None:
                if not Path(path).is_dir():
                    continue
                opened.place(path, EngineError, f"The adapter {name} of this run lies elsewhere; its folder")
            engine.add_adapter(path, name, accept_other_base=accept_other_base)
    runner.check_same(engine, saved.row)
    events = runner.run(
        engine, saved.variants, saved.probes, saved.settings, db=db, run_id=saved.row["id"], reuse=reuse, switches=switches
    )
    return ReadyRun(saved.variants, saved.probes, switches, events, about_of(saved.row))


def describe_sides(old: str, new: str, pair: FactPair, margin: bool) -> dict[str, Any]:
    """What a run's row keeps: the identities' names, "" for none, their facts, and whether their margin is to be measured."""
    return {"old": old, "new": new, "facts": identity_pair.to_mapping(pair), "margin": margin}


def about_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's row keeps for suggestions and margin; empty for a run that was not begun with it."""
    return (row["settings"] or {}).get("about") or {}
