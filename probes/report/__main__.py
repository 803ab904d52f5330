"""The results, for people who will not open the app: one HTML file that needs nothing else, and Markdown, CSV and curves.

    python -m probes.report --run 3 --out runs/report
    python -m probes.report --answers answers.jsonl --facts FACTS.yaml --out runs/report
    python -m probes.report --transcripts FILE --facts FACTS.yaml --verdicts FILE --about FILE --out runs/report
    python -m probes.report --run 3 --lang zh --out runs/report    (--lang both: a page with a switch)

Without --run, --queue, --answers or --transcripts it is about the latest run in the database. Labels in the database are used
where there are any; suggestions stand in for missing ones and are marked.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import identities
import store
from common import ending
from common.errors import UserError
from probes import identity_pair
from probes.answers import dose, matching, sources as collect
from probes.answers.sources import Answers, RowsError
from probes.identity_pair import FactPair
from probes.report import board as vote_board, margins as margin_series, preferences
from probes.report.board import BoardRow
from probes.report.build import build_report, read_verdicts, write_report
from probes.report.page import render_markdown
from probes.report.preferences import Preference
from probes.verdicts import rules

CHECKOUT = Path(__file__).parents[2]
LANGS = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m probes.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    say("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    say("--db", type=Path, help="database (default: runs/mirror.db); with --answers, whose labels to use")
    say("--run", type=int, action="append", default=[], metavar="N", help="a run of the database; may be given several times")
    say("--queue", type=int, action="append", default=[], metavar="N", help="a queue of the database")
    say(
        "--answers",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="JSONL of probes.run or probes.suggest, or a .gz of it",
    )
    say(
        "--transcripts", type=Path, action="append", default=[], metavar="FILE", help="JSONL: model, data, lang, question, answer"
    )
    say("--facts", type=Path, metavar="FILE", help="YAML with old and new, for suggestions")
    say(
        "--old",
        metavar="IDENTITY",
        help=f"whose facts are the old ones if there is no --facts (the run's own, else {identities.DEFAULT_OLD})",
    )
    say("--new", metavar="IDENTITY", help=f"and the new ones (the run's own, else {identities.DEFAULT_NEW})")
    say("--verdicts", type=Path, metavar="FILE", help="JSON of verdicts reported elsewhere, to stand beside ours")
    say("--about", type=Path, metavar="FILE", help="YAML: variant -> data, samples, distinct, steps, share, kind")
    say("--base", metavar="VARIANT", help="the variant retention is compared with (default: the one named base)")
    say("--source", choices=rules.SOURCES, default="best", help="best: labels, and suggestions where there are none (default)")
    say(
        "--compare", nargs=2, action="append", metavar=("VARIANT", "VARIANT"),
        help="compare these two probe by probe, several times if need be (default: every two of three, else all with the base)",
    )  # fmt: skip
    say("--title", default="", help="the report's own title")
    say("--lang", choices=tuple(LANGS), default="en", help="language of the report; both: a page with a switch (%(default)s)")
    return options


def gather(args: argparse.Namespace) -> tuple[Answers, dict[int, list[dict]], list[Preference], list[BoardRow]]:
    """The answers that are asked for, the labels they have in the database, the votes that were given there, and their board."""
    db = args.db or CHECKOUT / "runs" / "mirror.db"
    parts = [*map(collect.read_file, args.answers), *map(collect.read_transcripts, args.transcripts)]
    if parts and (args.db or args.run or args.queue) and db.exists():
        with store.open(db) as opened:  # labels are looked up by number, and a file's numbers may mean other answers here
            parts = [replace(part, rows=matching.drop_foreign_ids(opened, part.rows)) for part in parts]
    of_store = [*(collect.read_run(db, run) for run in args.run), *(collect.read_queue(db, queue) for queue in args.queue)]
    if not parts and not of_store:
        latest = store.runs.recent(db, 1) if db.exists() else []
        if not latest:
            raise RowsError(f"There is no run in {db}; say what the report is about: --run, --queue, --answers or --transcripts.")
        of_store = [collect.read_run(db, latest[0]["id"])]
    answers = collect.join_answers([*parts, *of_store])
    labels: dict[int, list[dict]] = {}
    votes: list[Preference] = []
    board: list[BoardRow] = []
    if of_store or args.db:
        ids = {row["answer_id"] for row in answers.rows if row.get("answer_id") is not None}
        labels, votes = store.labels.standing(db, answers=ids), preferences.read_preferences(db)
        board = vote_board.read_board(db)
    hashed = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" for path in (*args.answers, *args.transcripts)]
    stored = [name for part in of_store for name in part.sources]
    return replace(answers, sources=(*hashed, *stored)), labels, votes, board


def trainings_of(args: argparse.Namespace, answers: Answers) -> dict:
    """The margin while training of the adapters that answered."""
    db = args.db or CHECKOUT / "runs" / "mirror.db"
    return margin_series.margins_of_trainings(db, answers.folders.values()) if db.exists() else {}


def facts_of(args: argparse.Namespace, answers: Answers) -> FactPair:
    if args.facts:
        return identity_pair.load(args.facts)
    if answers.facts and not (args.old or args.new):
        return identity_pair.from_mapping(answers.facts, "the run's facts")
    return identity_pair.from_identities(
        *(identities.load(name).facts for name in (args.old or identities.DEFAULT_OLD, args.new or identities.DEFAULT_NEW))
    )


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        answers, labels, votes, board = gather(args)
        theirs, told = read_verdicts(args.verdicts) if args.verdicts else ({}, {})
        about = {**told, **answers.doses, **(dose.read_doses(args.about) if args.about else {})}
        made_by = shlex.join(["python", "-m", "probes.report", *(sys.argv[1:] if argv is None else argv)])
        report = build_report(
            answers, fact_pair=facts_of(args, answers), labels=labels, theirs=theirs, about=about, source=args.source,
            base=args.base, title=args.title, made_by=made_by, trainings=trainings_of(args, answers), votes=votes,
            board=board, pairs=args.compare,
        )  # fmt: skip
        written = write_report(report, args.out, LANGS[args.lang])
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(render_markdown(report, LANGS[args.lang][0]))
    print("\n".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    ending.run(main)
