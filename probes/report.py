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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from matplotlib.figure import Figure

import identities
import store
from common import ending, outside
from identities import natural
from probes import collect, curves, dose, exchange, facts, files, found, margin_series, preferences, table, thresholds, verdicts
from probes.behind import Pair
from probes.collect import Answers, RowsError
from probes.dose import Dose
from probes.facts import FactPair
from probes.preferences import Preference
from probes.report_page import markdown, page, threshold_name
from probes.table import Row
from probes.thresholds import Threshold

CHECKOUT = Path(__file__).parent.parent


LANGS = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}


@dataclass(frozen=True)
class Report:
    """Everything that is written. sources: what was read, with the first digits of a file's SHA-256. judged: every answer with
    what is said of it. margins: per variant (`margin_series.of_answers`); trainings: of the runs that made them.
    votes: of the database that the answers or their labels come from."""

    title: str
    rows: Sequence[Row]
    answers: Sequence[Mapping]
    judged: Sequence[Pair]
    labels: Mapping[int, Sequence[Mapping]]
    sources: Sequence[str]
    made_by: str
    base: str | None = None
    thresholds: Sequence[Threshold] = ()
    margins: Mapping = field(default_factory=dict)
    trainings: Mapping = field(default_factory=dict)
    votes: Sequence[Preference] = ()


def build(
    answers: Answers,
    *,
    fact_pair: FactPair | None = None,
    labels: Mapping[int, Sequence[Mapping]] | None = None,
    theirs: Mapping[tuple[str, str], Mapping] | None = None,
    about: Mapping[str, Dose] | None = None,
    source: str = "best",
    base: str | None = None,
    title: str = "",
    made_by: str = "",
    trainings: Mapping | None = None,
    votes: Sequence[Preference] = (),
) -> Report:
    """Judges the answers. theirs: (variant, language) -> verdicts reported elsewhere; those without answers get rows, too.

    base: the variant retention is compared with (default: the one named base, if there is one). It stands first in the table,
    the others by name.
    """
    rows = collect.suggested(answers.rows, fact_pair)
    if base is None and any(row.get("variant") == "base" for row in rows):
        base = "base"
    heard = [row for row in rows if row.get("answer") is not None]
    judged = verdicts.evidence(heard, labels, source)
    results = verdicts.judge(judged, base)
    known = {(result.variant, result.lang) for result in results}
    results += [verdicts.unheard(*key) for key in theirs or {} if key not in known]

    def place(variant: str) -> tuple:
        return variant != base, natural(variant)

    results.sort(key=lambda result: (place(result.variant), result.lang))
    doses = {**answers.doses, **(about or {})}
    made = table.rows(results, rows, doses, theirs or {})
    found = curves.points(made)
    return Report(
        title, made, rows, list(zip(heard, judged, strict=True)), labels or {}, answers.sources, made_by, base,
        [one for axis in curves.axes_with_data(found) for one in thresholds.find(judged, doses, axis)],
        dict(sorted(margin_series.of_answers(rows).items(), key=lambda of: place(of[0]))),
        dict(sorted((trainings or {}).items(), key=lambda of: natural(of[0]))), votes,
    )  # fmt: skip


def write(report: Report, folder: str | Path, langs: Sequence[str] = ("en",)) -> list[Path]:
    """report.html, table.md, table.csv, answers.csv, votes.csv if anybody voted and, as far as there is anything to draw,
    curves as .png and .svg.

    langs: en, zh, or both in the order of preference: then the page has a switch, and table and curves in the second one stand
    beside the first one's as NAME.zh or NAME.en.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "report.html"
    drawn = {of: figures(report, of) for of in langs}
    written = []
    for of in langs:
        ending = "" if of == langs[0] else f".{of}"
        written += [path for name, figure in drawn[of].items() for path in curves.save(figure, folder / f"{name}{ending}")]
        written.append(files.write_text(folder / f"table{ending}.md", markdown(report, of)))
    written.append(files.write_text(first, page(report, {of: {n: curves.svg(f) for n, f in drawn[of].items()} for of in langs})))
    exchange.write_rows(folder / "table.csv", table.plain(report.rows))
    exchange.write_rows(folder / "answers.csv", answer_rows(report), exchange.ANSWER_COLUMNS)
    written += [folder / "table.csv", folder / "answers.csv"]
    if report.votes:
        exchange.write_rows(folder / "votes.csv", preferences.plain(report.votes))
        written.append(folder / "votes.csv")
    return [first, *sorted({*written} - {first}, key=lambda path: natural(path.name))]


def figures(report: Report, lang: str = "en") -> dict[str, Figure]:
    """File name -> figure: `curves-AXIS` per axis with two doses or more, `margins`, `margins-training`."""
    found = curves.points(report.rows)
    drawn = {}
    for axis in curves.axes_with_data(found):
        marked = thresholds.lines([one for one in report.thresholds if one.axis == axis])
        kinds = {one.kind for one in report.thresholds if one.axis == axis and one.enough}
        named = {
            of: {threshold_name(lang, what, kind if len(kinds) > 1 else ""): dose for (what, kind), dose in those.items()}
            for of, those in marked.items()
        }
        drawn[f"curves-{axis}"] = curves.dose_response(found, axis, named, lang)
    if report.margins:
        drawn["margins"] = curves.margins_by_variant(report.margins, lang)
    if report.trainings:
        drawn["margins-training"] = curves.margins(report.trainings, lang)
    return drawn


def read_verdicts(path: str | Path) -> tuple[dict[tuple[str, str], dict], dict[str, Dose]]:
    """Verdicts reported elsewhere: JSON, name -> `data` and, per language, `old`, `new`, `stability`. A name "model_3" or "3"
    is the variant "model 3". By (variant, language), and what `data` says of the doses. Raises RowsError."""
    text = files.read_text(path, "verdicts file", RowsError)
    plain = outside.from_json(text, f"The verdicts file {path}", RowsError, gaps=True, broken="is not valid JSON")
    if not isinstance(plain, Mapping) or not all(isinstance(of, Mapping) for of in plain.values()):
        raise RowsError(f"The verdicts file {path} is no mapping from a model to its verdicts per language.")
    found, doses = {}, {}
    for name, of in plain.items():
        number = name.removeprefix("model").strip("_ -")
        variant = f"model {number}" if number.isdecimal() else name
        found |= {(variant, lang): dict(told) for lang, told in of.items() if isinstance(told, Mapping)}
        doses[variant] = dose.from_text(str(of.get("data") or ""))
    return found, doses


def answer_rows(report: Report) -> list[dict]:
    """All answers as plain rows (`exchange.ANSWER_COLUMNS`), the label and where it comes from beside each."""
    return [
        dict(answer)
        | {"label": said.label, "label_source": said.source, "voices": len(report.labels.get(answer.get("answer_id"), ()))}
        for answer, said in report.judged
    ]


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m probes.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    say = options.add_argument
    say("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    say("--db", type=Path, help="database (default: runs/mirror.db); with --answers, whose labels to use")
    say("--run", type=int, action="append", default=[], metavar="N", help="a run of the database; may be given several times")
    say("--queue", type=int, action="append", default=[], metavar="N", help="a queue of the database")
    say("--answers", type=Path, action="append", default=[], metavar="FILE", help="JSONL of probes.run or probes.suggest")
    say(
        "--transcripts", type=Path, action="append", default=[], metavar="FILE", help="JSONL: model, data, lang, question, answer"
    )
    say("--facts", type=Path, metavar="FILE", help="YAML with old and new, for suggestions")
    say("--old", metavar="IDENTITY", help="whose facts are the old ones if there is no --facts (the run's own, else BayLing)")
    say("--new", metavar="IDENTITY", help="and the new ones (the run's own, else finance-advisor)")
    say("--verdicts", type=Path, metavar="FILE", help="JSON of verdicts reported elsewhere, to stand beside ours")
    say("--about", type=Path, metavar="FILE", help="YAML: variant -> data, samples, distinct, steps, share, kind")
    say("--base", metavar="VARIANT", help="the variant retention is compared with (default: the one named base)")
    say("--source", choices=verdicts.SOURCES, default="best", help="best: labels, and suggestions where there are none (default)")
    say("--title", default="", help="the report's own title")
    say("--lang", choices=tuple(LANGS), default="en", help="language of the report; both: a page with a switch (%(default)s)")
    return options


def gather(args: argparse.Namespace) -> tuple[Answers, dict[int, list[dict]], list[Preference]]:
    """The answers that are asked for, the labels they have in the database, and the votes that were given there."""
    db = args.db or CHECKOUT / "runs" / "mirror.db"
    parts = [*map(collect.of_file, args.answers), *map(collect.of_transcripts, args.transcripts)]
    if parts and (args.db or args.run or args.queue) and db.exists():
        with store.open(db) as opened:  # labels are looked up by number, and a file's numbers may mean other answers here
            parts = [replace(part, rows=found.owned(opened, part.rows)) for part in parts]
    of_store = [*(collect.of_run(db, run) for run in args.run), *(collect.of_queue(db, queue) for queue in args.queue)]
    if not parts and not of_store:
        latest = store.runs.recent(db, 1) if db.exists() else []
        if not latest:
            raise RowsError(f"There is no run in {db}; say what the report is about: --run, --queue, --answers or --transcripts.")
        of_store = [collect.of_run(db, latest[0]["id"])]
    answers = collect.joined([*parts, *of_store])
    labels: dict[int, list[dict]] = {}
    votes: list[Preference] = []
    if of_store or args.db:
        ids = {row["answer_id"] for row in answers.rows if row.get("answer_id") is not None}
        labels, votes = store.labels.standing(db, answers=ids), preferences.of_store(db)
    hashed = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" for path in (*args.answers, *args.transcripts)]
    stored = [name for part in of_store for name in part.sources]
    return replace(answers, sources=(*hashed, *stored)), labels, votes


def trainings_of(args: argparse.Namespace, answers: Answers) -> dict:
    """The margin while training of the adapters that answered."""
    db = args.db or CHECKOUT / "runs" / "mirror.db"
    return margin_series.of_trainings(db, answers.folders.values()) if db.exists() else {}


def facts_of(args: argparse.Namespace, answers: Answers) -> FactPair:
    if args.facts:
        return facts.load(args.facts)
    if answers.facts and not (args.old or args.new):
        return facts.from_mapping(answers.facts, "the run's facts")
    return facts.from_identities(
        *(identities.load(name).facts for name in (args.old or "BayLing", args.new or "finance-advisor"))
    )


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        answers, labels, votes = gather(args)
        theirs, told = read_verdicts(args.verdicts) if args.verdicts else ({}, {})
        about = {**told, **answers.doses, **(dose.read(args.about) if args.about else {})}
        made_by = shlex.join(["python", "-m", "probes.report", *(sys.argv[1:] if argv is None else argv)])
        report = build(
            answers, fact_pair=facts_of(args, answers), labels=labels, theirs=theirs, about=about, source=args.source,
            base=args.base, title=args.title, made_by=made_by, trainings=trainings_of(args, answers), votes=votes,
        )  # fmt: skip
        written = write(report, args.out, LANGS[args.lang])
    except (store.StoreError, ValueError, OSError) as error:  # the other rooms' own errors are ValueErrors
        print(error, file=sys.stderr)
        return 2
    print(markdown(report, LANGS[args.lang][0]))
    print("\n".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    ending.run(main)
