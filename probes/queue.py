"""Queues for those who label, from a run or a file of answers; in some the label of a few items is known beforehand.

    python -m probes.queue --run 3 --overlap 2
    python -m probes.queue --run 3 --gold expert.csv --name "second round"
    python -m probes.queue --answers answers.csv --kind pairs --open

--gold takes a file of labels (CSV, JSONL or JSON: label, variant, question, answer, or answer_id) of answers that are among those
of the queue. Whoever labels is not told which these are; whoever leads sees under Agreement in the Label tab how far everybody
agrees with them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import identities
import store
from common import ending
from common.errors import UserError
from probes import identity_pair
from probes.answers import exchange, matching, sources, tables
from probes.answers.sources import RowsError
from probes.identity_pair import FactPair
from store.label_words import as_label
from store.labels import CONTROL_GROUPS, CONTROL_LABELS, IDENTITY_LABELS
from store.queues import KINDS, STRATEGIES, Kind

DATABASE = Path(__file__).parents[1] / "runs" / "mirror.db"
SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class QueuePlan:
    """What a queue is to be. variants, langs: empty for all. size: 0 for all. old, new: names of identities, "" for nobody.
    gold: a file of known labels."""

    variants: Sequence[str]
    langs: Sequence[str]
    kind: Kind
    blind: bool
    mask: bool
    overlap: int
    draw: Literal["all", "stratified"]
    size: int
    old: str
    new: str
    name: str
    gold: str | None


def make_queue(db: str | Path, rows: Sequence[Mapping], plan: QueuePlan, folder: str | Path = identities.FOLDER) -> int | None:
    """The new queue's id; None if none of the rows (stored answers) fits. folder: of the identities. Raises RowsError, StoreError
    or IdentityError, nothing then made."""
    heard = [row for row in rows if row.get("answer") is not None]
    variants, langs = plan.variants, plan.langs
    chosen = [row for row in heard if (not variants or row["variant"] in variants) and (not langs or row.get("lang") in langs)]
    if plan.kind == "pairs":
        items = sources.pair_items(chosen)
    else:
        items = sources.queue_items(sources.add_suggestions(chosen, _fact_pair(plan.old, plan.new, folder)))
    if not items:
        return None
    told = {side: describe_identity(name, folder) for side, name in (("old", plan.old), ("new", plan.new)) if name}
    gold = read_gold(db, plan.gold, items) if plan.gold else {}
    return store.queues.create(
        db, plan.name, [item | told for item in items], kind=plan.kind, overlap=max(1, plan.overlap), blind=plan.blind,
        mask=plan.mask, strategy=plan.draw, size=plan.size or None, gold=gold,
    )  # fmt: skip


def read_gold(db: str | Path, path: str | Path, items: Sequence[Mapping]) -> dict[int, str]:
    """answer -> known label of a file of labels, all of which have to be about the queue's items. Raises RowsError with every
    problem."""
    rows = [row for row in exchange.read_rows(path) if not getattr(row, "unlabelled", False)]
    groups = {item["answer"]: item.get("group") for item in items}
    found: dict[int, str] = {}
    wrong = []
    with store.open(db) as opened:
        places = matching.find_answers(opened, rows)
    for row, (ids, problem) in zip(rows, places, strict=True):
        what, label = f"label{tables.describe_line(row)}", as_label(row.get("label"))
        here = [id for id in ids if id in groups]
        if not here:
            wrong.append(f"{what}: {problem or 'its answer is none of the queue'}")
            continue
        known = CONTROL_LABELS if groups[here[0]] in CONTROL_GROUPS else IDENTITY_LABELS
        if label not in known:
            wrong.append(f"{what}: {row.get('label')!r} is none of {', '.join(known)}")
        elif found.setdefault(here[0], label) != label:
            wrong.append(f"{what}: answer {here[0]} is {found[here[0]]} in one row and {label} in another")
    if wrong:
        more = f"; and {len(wrong) - SHOWN_PROBLEMS} more" if len(wrong) > SHOWN_PROBLEMS else ""
        raise RowsError(f"The known labels of {Path(path).name} do not fit: {'; '.join(wrong[:SHOWN_PROBLEMS])}{more}.")
    if not found:
        raise RowsError(f"{Path(path).name} holds no labels.")
    return found


def _fact_pair(old: str, new: str, folder: str | Path) -> FactPair | None:
    """What suggestions compare with; None if nobody is named."""
    known = [identities.load(name, folder).facts if name else None for name in (old, new)]
    return identity_pair.from_identities(*known) if any(known) else None


def describe_identity(name: str, folder: str | Path) -> str:
    """An identity in one line for annotators: names and makers in either language."""
    facts = identities.load(name, folder).facts
    known = facts.by_lang.values() if facts else ()
    names = " / ".join(dict.fromkeys(part.name for part in known if part.name)) or name
    makers = " / ".join(dict.fromkeys(part.maker for part in known if part.maker))
    return f"{names} ({makers})" if makers else names


def _parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m probes.queue", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    origin = options.add_mutually_exclusive_group(required=True)
    origin.add_argument("--run", type=int, metavar="N", help="a run of the database")
    origin.add_argument("--answers", type=Path, metavar="FILE", help="CSV, JSONL or JSON: model, question, answer, lang")
    say("--db", type=Path, default=DATABASE, help="database (default: runs/mirror.db)")
    say("--name", default="", help="of the queue (default: the run's or the file's)")
    say("--kind", choices=[kind for kind in KINDS if kind != "settle"], default="labels", help="what people decide (%(default)s)")
    say("--variant", action="append", default=[], metavar="NAME", help="only this one; may be given several times")
    say("--language", action="append", default=[], metavar="LANG", help="only answers in it; may be given several times")
    say("--open", action="store_true", help="show the variant, the suggestion and what others said (default: blind)")
    say("--mask", action="store_true", help="mask names and makers in the answers, too")
    say("--overlap", type=int, default=1, metavar="N", help="people per item (%(default)s)")
    say("--draw", choices=STRATEGIES, default="stratified", help="order: spread evenly, or all shuffled (%(default)s)")
    say("--size", type=int, default=0, metavar="N", help="at most so many items (0: all)")
    say("--old", metavar="IDENTITY", help="told to annotators, and what suggestions compare with (default: the run's own)")
    say("--new", metavar="IDENTITY", help="likewise")
    say("--gold", type=Path, metavar="FILE", help="labels that are known beforehand, of answers that are in the queue")
    return options


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        queue, name = _make(args)
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    items, known = len(store.queues.items(args.db, queue)), len(store.gold.known(args.db, queue))
    print(f"Queue {queue} ({name}) has {items:,} items" + (f", the label of {known:,} of them is known." if known else "."))
    return 0


def _make(args: argparse.Namespace) -> tuple[int, str]:
    about: Mapping = {}
    if args.run is not None:
        if not args.db.is_file():
            raise UserError(f"There is no database {args.db}; name one with --db.")
        run = store.runs.get(args.db, args.run)
        rows, about = sources.read_run(args.db, args.run).rows, (run["settings"] or {}).get("about") or {}
        name = args.name or " ".join(filter(None, (f"run {args.run}", run["name"])))
    else:
        rows = exchange.add_answers(args.db, sources.complete_rows(exchange.read_rows(args.answers)), args.answers.name)
        name = args.name or args.answers.name
    old, new = (about.get(side) or "" if given is None else given for side, given in (("old", args.old), ("new", args.new)))
    plan = QueuePlan(
        args.variant, args.language, args.kind, not args.open, args.mask, args.overlap, args.draw, max(0, args.size),
        old, new, name, None if args.gold is None else str(args.gold),
    )  # fmt: skip
    queue = make_queue(args.db, rows, plan)
    if queue is None:
        raise UserError(
            f"No answer fits: of {len(rows):,} none is of these variants and languages (retention is judged by its checks)."
        )
    return queue, name


if __name__ == "__main__":
    ending.run(main)
