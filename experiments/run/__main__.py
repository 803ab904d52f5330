"""Makes and asks every model of a plan: `python -m experiments.run PLAN.yaml --out DIR`.

Whatever is kept in DIR is not done again: after a kill, a stop or a plan that has grown, the same command goes on. Adapters
and answers lie where the program keeps them (--adapters-dir, --db), so the chat, the label queues and the results find them.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from common import ending, files, outside
from common.errors import UserError, nearest
from experiments import checking, collect, deciding, foreseen as ahead, units, work
from experiments.cells import Cell, describe, expand
from experiments.foreseen import Foreseen
from experiments.places import ExperimentError, Places
from experiments.plan import Plan
from experiments.progress import Journal, folder_of, read_state
from experiments.run import loop
from experiments.session import Session, Stopped, open_session
from experiments.work import Done
from tuning.train.estimate import format_duration

Work = Callable[[Session, Sequence[Cell], Foreseen, Journal, Done], object]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m experiments.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    say("plan", type=Path, metavar="PLAN.yaml", help="what is to be made and asked; docs/experiment-plans.md has every key")
    say("--out", type=Path, required=True, metavar="DIR", help="where the experiment is kept; several plans may share it")
    say("--dry-run", action="store_true", help="tell what it will take and end")
    say(
        "--print-commands",
        action="store_true",
        help="a shell line per cell for a batch scheduler, and the one that collects them",
    )
    say("--cell", action="append", default=[], metavar="LABEL", help="only this cell, in a folder of its own: `units`, `collect`")
    say("--on", default="", metavar="ray|ray://HOST:PORT", help="cells as tasks of a Ray cluster, on this machine or elsewhere")
    say("--slots", type=int, default=0, metavar="N", help="workers of a cluster on this machine (default: one for two cores)")
    say("--storage", type=Path, metavar="DIR", help="a folder that all machines of the cluster see (default: --out)")
    say("--find", action="store_true", help="after the grid, look for the least dose that does: docs/experiment-plans.md")
    say("--db", type=Path, default=Places.db, help="database of the answers (default: runs/mirror.db)")
    say("--adapters-dir", type=Path, default=Places.adapters, metavar="DIR", help="where adapters go (%(default)s)")
    say("--identities-dir", type=Path, metavar="DIR", help="where identities lie (default: identities/)")
    return options


def places_of(args: argparse.Namespace) -> Places:
    folder = args.identities_dir and folder_of(args.identities_dir)
    return Places(folder_of(args.out), folder_of(args.db), folder_of(args.adapters_dir), folder)


def table(cells: Sequence[Cell], told: Foreseen) -> str:
    """The plan written out, with what every cell will take."""
    head = ("cell", "dose", "distinct", "steps", "sum of lr", "training", "asking", "memory", "disk", "kept")
    rows = [head]
    for cell in cells:
        about, ahead_of = describe(cell), told.cells[cell.label]
        memory = f"{ahead_of.memory_bytes / 2**30:.1f} GiB" if ahead_of.memory_bytes else ""
        trained = cell.kind == "trained"
        rows.append(
            (
                cell.label, f"{cell.dose:,}" if trained else "", f"{about['distinct']:,}" if trained else "",
                f"{about['steps']:,}" if trained else "", f"{about['sum_of_rates']:.3g}" if trained else "",
                format_duration(ahead_of.training_s) if ahead_of.training_s else "",
                format_duration(ahead_of.asking_s) if ahead_of.asking_s else "", memory,
                f"{ahead_of.disk_bytes / 2**20:.1f} MiB" if ahead_of.disk_bytes else "", ", ".join(ahead_of.kept),
            )
        )  # fmt: skip
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    cautions = told.cautions(lambda one: f"{one.code}: {one.text}")
    lines += [f"  {text}\n    ({listed(labels)})" for text, labels in cautions.items()]
    total = f"{len(cells)} cells, about {format_duration(told.seconds)}, {told.memory_bytes / 2**30:.1f} GiB of memory at most"
    return "\n".join([*lines, f"{total}, {told.disk_bytes / 2**20:.0f} MiB on the disk."])


def listed(labels: Sequence[str], most: int = 3) -> str:
    """The first few of many."""
    return "; ".join(labels[:most]) + (f" and {len(labels) - most} more" if len(labels) > most else "")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    logging.basicConfig(format="%(message)s")
    try:
        plan = checking.read_file(args.plan, args.identities_dir)
        places = places_of(args)
        cells = expand(plan)
        if args.dry_run:
            session = open_session(plan, places, say=lambda _line: None)
            print(table(cells, ahead.foresee_in(session, cells)))
            return 0
        if args.print_commands:
            kept = keep_plan(args.plan, places)
            print(units.command_lines(kept, places, units.units_of(cells)))
            return 0
        if args.cell:
            return run_apart(plan, places, cells, args.cell)
        if args.on and args.find:
            raise ExperimentError("--find searches on this machine: leave --on out, or make the grid with it and search then.")
        made_by = shlex.join(["python", "-m", "experiments.run", *(sys.argv[1:] if argv is None else argv)])
        work_on = on_cluster(args, places) if args.on else searching() if args.find else loop.run_cells
        return run(plan, places, cells, made_by, work_on)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


def searching() -> Work:
    """The grid, then the search."""
    from experiments.run import finding

    return finding.grid_and_search


def on_cluster(args: argparse.Namespace, places: Places) -> Work:
    """The cells' work as tasks of a Ray cluster, brought together in the end. Raises ExperimentError."""
    from experiments import on_ray

    if args.on != on_ray.LOCAL and not args.on.startswith("ray://"):
        raise ExperimentError(f"--on {args.on} is not known; give ray, or ray://HOST:PORT.")
    storage = folder_of(args.storage) if args.storage else None
    made_at = replace(places, out=storage, adapters=storage / "adapters") if storage else places
    kept = keep_plan(args.plan, made_at)

    def work_on(session: Session, cells: Sequence[Cell], _told: Foreseen, journal: Journal, done: Done) -> None:
        on_ray.run_units(session, units.units_of(cells), made_at, kept, journal, args.on, args.slots)
        done.answers |= collect.gather(session, cells, journal, made_at)

    return work_on


def keep_plan(file: Path, places: Places) -> Path:
    """A copy in the experiment's folder, which a scheduler's machines read."""
    return files.copy(file, places.plan) if folder_of(file) != places.plan else places.plan


def run_apart(plan: Plan, places: Places, cells: Sequence[Cell], labels: Sequence[str]) -> int:
    """Some cells, in a folder and a database of their own; the exit code. Raises UserError."""
    for label in labels:
        if label not in (known := [cell.label for cell in cells]):
            close = nearest(label, known)
            raise ExperimentError(
                f"--cell {label!r} is no cell of {plan.name}" + (f"; did you mean {close[0]!r}?" if close else ".")
            )
    chosen = [cell for cell in cells if cell.label in labels]
    unit = units.Unit(units.unit_name((chosen[0].of or chosen[0]).label), tuple(chosen))
    return run(plan, units.unit_places(places, unit), chosen, "")


def run(plan: Plan, places: Places, cells: Sequence[Cell], made_by: str, work_on: Work = loop.run_cells) -> int:
    """All cells; the exit code. made_by: the command, for the report; "" writes none. Raises UserError for what keeps the
    experiment from beginning.
    """
    state = read_state(places)
    if state and state.is_under_way and not _is_mine(places):
        raise ExperimentError(f"An experiment is under way in {places.out}; stop it, or take another folder.")
    places.stop.unlink(missing_ok=True)
    session, journal, done = open_session(plan, places), Journal(places, plan.name), Done()
    error: BaseException | None = None
    with ending.stop_on_signal(session.stop.set):
        try:
            told = begin(session, cells, journal)
            try:
                work_on(session, cells, told, journal, done)
            except Stopped as stopped:
                error = stopped
            deciding.tell(session, journal, done.answers)
            if made_by:
                loop.write_report(session, done, made_by)
        except BaseException as other:
            loop.ended(journal, other)
            raise
    code = loop.ended(journal, error)
    print(f"{journal.status}{f': {journal.message}' if journal.message else ''}")
    return code


def begin(session: Session, cells: Sequence[Cell], journal: Journal) -> Foreseen:
    """What it will take, said; the state is there before anything is loaded."""
    work.begin(journal, cells, {})
    told = ahead.foresee_in(session, cells)
    print(table(cells, told))
    work.begin(journal, cells, told.cells)
    journal.status = "running"
    return told


def _is_mine(places: Places) -> bool:
    """Whether the state under way is the one that `progress.start` wrote for this very process."""
    plain = outside.read_json(places.state, ExperimentError, gaps=True)
    return isinstance(plain, dict) and plain.get("pid") == os.getpid()


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    ending.run(main)
