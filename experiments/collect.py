"""Brings cells together that were made apart: `python -m experiments.collect PLAN.yaml --out DIR`, or the folder alone.

Their answers and margins go into the program's database, once, however often this is called; state and report are written
as if all had been made here. Nothing is computed but the verdicts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import store
from common import ending, files
from common.errors import UserError
from experiments import checking, deciding, judging
from experiments.cells import Cell, describe, expand
from experiments.places import ExperimentError, Places, keep, read_kept
from experiments.plan import Plan
from experiments.progress import CellState, Journal, State, folder_of, read_state
from experiments.session import Session, open_session
from experiments.units import Unit, unit_places, units_of
from probes.answers.sources import Answers
from probes.verdicts.rules import Judged
from store import answers as stored_answers, runs as stored_runs
from store.runs import Entry


def collect(plan: Plan, places: Places, cells: Sequence[Cell] | None = None) -> Journal:
    """The state of all cells, with the figures of those that are done anywhere; their report. Raises UserError."""
    session, journal = open_session(plan, places), Journal(places, plan.name)
    found = gather(session, expand(plan) if cells is None else cells, journal, places)
    if found:
        deciding.tell(session, journal, found)
        session.say(f"report: {judging.write_report(session, list(found.values()))}")
    missing = [label for label, cell in journal.cells.items() if cell.status != "done"]
    journal.status = "done" if not missing else "stopped"
    journal.message = f"{len(missing)} cells are not done: {', '.join(missing[:6])}" if missing else ""
    journal.write(force=True)
    return journal


def gather(session: Session, cells: Sequence[Cell], journal: Journal, made_at: Places) -> dict[str, Answers]:
    """What was made apart, brought here and judged: answers by label, in the order of the cells; the journal has their states.

    made_at: where the units and their adapters lie; adapters of another folder are copied into the session's own.
    """
    found: dict[str, Answers] = {}
    for unit in units_of(cells):
        state = read_state(unit_places(made_at, unit))
        for cell in unit.cells:
            made, told = _state_of(session, unit, cell, state, made_at), journal.cells.get(cell.label)
            if made.status == "waiting" and told is not None and told.status == "failed":
                continue  # whoever had it made knows why it is not done
            journal.cells[cell.label] = made
            if made.status == "done":
                found[cell.label] = judging.read_answers(session, cell, made.runs)
    base: Sequence[Judged] = ()
    for cell in sorted(cells, key=lambda one: one.kind != "base"):
        if (its := found.get(cell.label)) is None:
            continue
        if cell.kind == "base":
            base = judging.evidence(session, its)
        journal.cells[cell.label] = replace(journal.cells[cell.label], figures=judging.figures_of(session, cell, its, base))
    return {cell.label: found[cell.label] for cell in cells if cell.label in found}


def _state_of(session: Session, unit: Unit, cell: Cell, state: State | None, made_at: Places) -> CellState:
    """What its unit says of a cell, its runs by their numbers in the session's database."""
    mine = CellState(cell.label, cell.kind, about=describe(cell))
    known = next((one for one in state.cells if one.label == cell.label), None) if state else None
    if known is None:
        return mine
    if known.status != "done":
        failed = known.status == "failed"
        why = known.why or ("" if failed else f"it is {known.status} in {unit.name}")
        return replace(mine, status="failed" if failed else "waiting", why=why, took=known.took)
    adapter = Path(known.adapter) if known.adapter else None
    if adapter is not None and made_at.adapters != session.places.adapters:
        adapter = bring_adapter(adapter, session.places.adapters)
    runs = tuple(_brought(session.places, unit_places(made_at, unit), run, adapter) for run in known.runs)
    return replace(known, runs=runs, about=mine.about, figures={}, job=None, adapter=str(adapter or ""))


def bring_adapter(folder: Path, shelf: Path) -> Path:
    """A finished adapter on another shelf, whole or not at all."""
    target = shelf / folder.name
    if not target.is_dir():
        files.write_once(target, lambda fresh: shutil.copytree(folder, fresh, dirs_exist_ok=True))
    return target


def _brought(places: Places, unit: Places, run: int, adapter: Path | None) -> int:
    """The run's number here; copied if it is not here yet. unit: where it was made."""
    about = stored_runs.get(unit.db, run)
    path = places.kept("collected", f"{unit.out.name}-{run}-{about['set_hash']}")
    known = read_kept(path)
    if known is not None and _is_there(places.db, int(known["run"]), about["set_hash"]):
        return int(known["run"])
    number = copy_run(unit.db, run, places.db, adapter)
    keep(path, {"run": number})
    for kept in (unit.out / "kept" / "runs").glob("*.json"):  # so that a run of the whole plan takes it as its own
        if (read_kept(kept) or {}).get("run") == run:
            keep(places.kept("runs", kept.stem), {"run": number})
    return number


def _is_there(db: Path, run: int, set_hash: str) -> bool:
    try:
        return bool(stored_runs.get(db, run)["set_hash"] == set_hash)
    except store.StoreError:
        return False


def copy_run(source: Path, run: int, target: Path, adapter: Path | None = None) -> int:
    """A run with its answers and margins in another database; its number there. An answer that is there is linked, not copied.

    adapter: where the one that answered lies now.
    """
    row, there = stored_runs.get(source, run), stored_runs.answers_by_place(source, run)
    if adapter is not None:
        row["variants"] = [one | {"paths": {name: str(adapter) for name in one["paths"]}} for one in row["variants"]]
    number = stored_runs.start(
        target, variants=row["variants"], probes=row["probes"], set_hash=row["set_hash"], total=row["total"], mode=row["mode"],
        samples=row["samples"], name=row["name"] or "", set_name=row["set_name"] or "", settings=row["settings"],
        base={"name": row["base"], "hash": row["base_hash"], "dtype": row["dtype"]},
    )  # fmt: skip
    entries = []
    for place, answer in there.items():
        if answer["problem"] is not None and "raw" not in answer:
            entries.append(Entry(place, problem=answer["problem"]))
            continue
        known = stored_answers.find(target, answer["request_key"]) if answer["request_key"] else None
        given = None if known else {name: value for name, value in answer.items() if name not in ("id", "reused", "problem")}
        entries.append(Entry(place, given, known["id"] if known else None, bool(known)))
    stored_runs.record(target, number, entries)
    margins = stored_runs.margins(source, run)
    stored_runs.add_margins(target, number, [(*place, *sides) for place, sides in margins.items()])
    stored_runs.set_status(target, number, row["status"], row["message"] or "")
    return number


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m experiments.collect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    say("plan", type=Path, metavar="PLAN.yaml|DIR", help="the plan, or the folder of an experiment that holds plan.yaml")
    say("--out", type=Path, metavar="DIR", help="the experiment's folder, where it is not the first argument")
    say("--db", type=Path, default=Places.db, help="database that the answers go to (default: runs/mirror.db)")
    say("--adapters-dir", type=Path, default=Places.adapters, metavar="DIR", help="where adapters lie (%(default)s)")
    say("--identities-dir", type=Path, metavar="DIR", help="where identities lie (default: identities/)")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        folder = args.out or (args.plan if args.plan.is_dir() else None)
        if folder is None:
            raise ExperimentError("--out is missing; name the experiment's folder.")
        places = Places(folder_of(folder), folder_of(args.db), folder_of(args.adapters_dir), args.identities_dir)
        file = places.plan if args.plan.is_dir() else args.plan
        journal = collect(checking.read_file(file, args.identities_dir), places)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    done = sum(cell.status == "done" for cell in journal.cells.values())
    print(f"{done} of {len(journal.cells)} cells are together{f'; {journal.message}' if journal.message else ''}.")
    return 0 if journal.status == "done" else 1


if __name__ == "__main__":
    ending.run(main)
