"""A cell's answers: a run of the probes like any other, in the program's database, and the margin measured after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import identities
from engine.types import Decoding, Variant
from experiments.cells import Cell
from experiments.making import Making, Tell
from experiments.places import keep, key_of, read_kept
from experiments.session import Session, Stopped, loaded_engine
from identities import Lang
from probes import identity_pair
from probes.questions import Probe, ProbeError
from probes.run import launch, margins, plan as run_plan, runner
from probes.run.launch import ReadyRun
from probes.run.settings import RunSettings, Switches
from store import StoreError

if TYPE_CHECKING:
    from engine import Engine


def ask(session: Session, cell: Cell, making: Making | None, tell: Tell) -> tuple[int, ...]:
    """The runs that hold the cell's answers, asked or gone on with; one, or one a language where prompts differ.

    making: of the adapter that answers, None for the bare base. Raises UserError, Stopped.
    """
    engine = loaded_engine(session)
    name = "" if making is None else engine.add_adapter(making.folder, making.folder.name)
    try:
        runs: list[int] = []
        for variant, langs in variants_of(session, cell, name):
            probes = [probe for probe in session.probes if probe.lang in langs]
            if probes:
                path = session.places.kept("runs", run_key(session, making, variant, probes))
                runs.append(ask_variant(session, cell, variant, probes, path, tell))
                tell("asking", 1.0, runs=tuple(runs))
        return tuple(runs)
    finally:
        if name:
            engine.remove_adapter(name)


def variants_of(session: Session, cell: Cell, adapter: str) -> list[tuple[Variant, list[Lang]]]:
    """Who is asked, and in which languages: a prompt speaks each language in its own wording, where it has one."""
    plan = session.plan
    adapters = {adapter: 1.0} if adapter else {}
    decoding = Decoding(max_new_tokens=plan.probes.max_new_tokens)
    if cell.prompt is None:
        return [(Variant(adapter or "base", adapters, decoding=decoding), list(plan.langs))]
    by_name: dict[str, list[Lang]] = {}
    known = identities.names(session.places.identities)
    for lang in plan.langs:
        own = f"{cell.prompt.identity}-{lang}"
        by_name.setdefault(own if own in known else cell.prompt.identity, []).append(lang)
    found = []
    for name, langs in by_name.items():
        prompt = identities.load(name, session.places.identities).prompt
        label = ", ".join(filter(None, [adapter, f"prompt {name} ({cell.prompt.mode.replace('_', ' ')})"]))
        found.append((Variant(label, adapters, name, prompt, cell.prompt.mode, decoding=decoding), langs))
    return found


def ask_variant(session: Session, cell: Cell, variant: Variant, probes: Sequence[Probe], path: Path, tell: Tell) -> int:
    """One run, with its margins; what was answered before, here or anywhere else, is not asked again. path: where it is kept."""
    engine, places = loaded_engine(session), session.places
    ready = _ready_run(session, cell, variant, probes, (read_kept(path) or {}).get("run"))
    run, status = None, "done"
    for event in ready.events:
        if run is None and event.run is not None:
            keep(path, {"run": event.run, "cell": cell.label})
        run, status = event.run, event.status
        tell("asking", event.done / event.total)
        if session.stopping:
            ready.switches.stop.set()
    if status == "stopped":
        raise Stopped
    run = run if run is not None else int((read_kept(path) or {})["run"])
    if session.plan.probes.margin and _suits_margin(probes, session):
        for known in margins.measure(engine, places.db, run, ready, session.pair):
            tell("measuring", known.done / known.total)
            if session.stopping:
                ready.switches.stop.set()
        if session.stopping:
            raise Stopped
    return run


def run_key(session: Session, making: Making | None, variant: Variant, probes: Sequence[Probe]) -> str:
    """Of all that decides the answers; neither names nor folders. Told without loading the adapter."""
    base, asked = loaded_engine(session).base, session.plan.probes
    return key_of(
        base.hash, base.number_format, base.format.hash, making.key if making else "", variant.prompt, variant.mode,
        dataclasses.asdict(variant.decoding), run_plan.set_hash(probes), dataclasses.asdict(run_settings(session)), asked.margin,
        identity_pair.to_mapping(session.pair),
    )  # fmt: skip


def is_answered(session: Session, cell: Cell, making: Making | None) -> bool:
    """Whether all its runs are kept and have ended well."""
    for variant, langs in variants_of(session, cell, ""):
        probes = [probe for probe in session.probes if probe.lang in langs]
        if not probes:
            continue
        known = read_kept(session.places.kept("runs", run_key(session, making, variant, probes)))
        saved = _saved_run(session.places.db, known["run"], probes) if known else None
        if saved is None or saved.row["status"] != "done":
            return False
    return True


def run_settings(session: Session) -> RunSettings:
    asked = session.plan.probes
    return RunSettings(samples=asked.samples, temperature=asked.temperature, seed=asked.seed)


def _ready_run(session: Session, cell: Cell, variant: Variant, probes: Sequence[Probe], known: int | None) -> ReadyRun:
    """A run that is kept, gone on with, or new."""
    engine, plan, places = loaded_engine(session), session.plan, session.places
    saved = None if known is None else _saved_run(places.db, known, probes)
    if saved is not None and _same_adapters(engine, saved):
        if saved.row["status"] == "done":
            return ReadyRun(saved.variants, saved.probes, Switches(), iter(()), launch.about_of(saved.row))
        return launch.resume_run(engine, saved, db=places.db)
    about = launch.describe_sides(plan.old, plan.identity, session.pair, plan.probes.margin)
    return launch.start_run(
        engine, [variant], probes, run_settings(session), db=places.db, name=f"{plan.name}: {cell.label}",
        set_name=",".join(plan.probes.sets), about=about,
    )  # fmt: skip


def _saved_run(db: Path, run: int, probes: Sequence[Probe]) -> runner.SavedRun | None:
    """The run of this number if it is the one that was begun; another database may have it for another's."""
    try:
        saved = runner.read_run(db, run)
    except StoreError:
        return None
    return saved if saved.row["set_hash"] == run_plan.set_hash(probes) else None


def _same_adapters(engine: Engine, saved: runner.SavedRun) -> bool:
    """Whether an adapter that was made anew, on another machine say, has the very weights that were asked."""
    told = [pair for one in saved.row["variants"] for pair in one["hashes"]["adapters"].items()]
    return all(name in engine.adapters and engine.adapters[name].hash == hash_ for name, hash_ in told)


def _suits_margin(probes: Sequence[Probe], session: Session) -> bool:
    try:
        return bool(margins.probes_to_measure(probes, session.pair))
    except ProbeError:
        return False
