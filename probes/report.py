"""The results, for people who will not open the app: one HTML file that needs nothing else, and Markdown, CSV and curves.

    python -m probes.report --run 3 --out runs/report
    python -m probes.report --answers answers.jsonl --facts FACTS.yaml --out runs/report
    python -m probes.report --transcripts FILE --facts FACTS.yaml --verdicts FILE --about FILE --out runs/report

Without --run, --queue, --answers or --transcripts it is about the latest run in the database. Labels in the database are used
where there are any; suggestions stand in for missing ones and are marked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import jinja2

import identities
import store
from probes import agreement, collect, curves, dose, exchange, facts, table, verdicts
from probes.collect import Answers, RowsError
from probes.dose import Dose
from probes.facts import FactPair
from probes.table import Row

CHECKOUT = Path(__file__).parent.parent
SHOWN_ANSWERS = 300  # behind one variant and language; more would make the file slow to open
PACKAGES = ("numpy", "scipy", "krippendorff", "matplotlib")
SETTINGS = ("base", "dtype", "set", "set_hash", "format", "mode", "temperature", "max_new_tokens")


@dataclass(frozen=True)
class Report:
    """Everything that is written. sources: what was read, with the first digits of a file's SHA-256."""

    title: str
    rows: Sequence[Row]
    answers: Sequence[Mapping]
    labels: Mapping[int, Sequence[Mapping]]
    sources: Sequence[str]
    made_by: str
    source: str = "best"
    base: str | None = None


def build(
    answers: Answers,
    *,
    fact_pair: FactPair | None = None,
    labels: Mapping[int, Sequence[Mapping]] | None = None,
    theirs: Mapping[tuple[str, str], Mapping] | None = None,
    about: Mapping[str, Dose] | None = None,
    source: str = "best",
    base: str | None = None,
    title: str = "Mirror Test: results",
    made_by: str = "",
) -> Report:
    """Judges the answers. theirs: (variant, language) -> verdicts reported elsewhere; those without answers get rows, too.

    base: the variant retention is compared with (default: the one named base, if there is one).
    """
    rows = collect.suggested(answers.rows, fact_pair)
    if base is None and any(row.get("variant") == "base" for row in rows):
        base = "base"
    results = verdicts.judge(verdicts.evidence(rows, labels, source), base)
    known = {(result.variant, result.lang) for result in results}
    results += [verdicts.unheard(*key) for key in theirs or {} if key not in known]
    order = {name: number for number, name in enumerate(dict.fromkeys(result.variant for result in results))}
    results.sort(key=lambda result: (order[result.variant], result.lang))
    doses = {**answers.doses, **(about or {})}
    return Report(
        title, table.rows(results, rows, doses, theirs or {}), rows, labels or {}, answers.sources, made_by, source, base
    )


def write(report: Report, folder: str | Path) -> list[Path]:
    """report.html, table.md, table.csv and, per axis with two doses or more, curves-AXIS.png and .svg."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = curves.points(report.rows)
    drawn = {axis: curves.dose_response(found, axis) for axis in curves.axes_with_data(found)}
    files = [path for axis, figure in drawn.items() for path in curves.save(figure, folder / f"curves-{axis}")]
    html = page(report, {axis: curves.svg(figure) for axis, figure in drawn.items()})
    files += [_written(folder / "report.html", html), _written(folder / "table.md", markdown(report))]
    exchange.write_rows(folder / "table.csv", table.plain(report.rows))
    return [folder / "report.html", *sorted({*files, folder / "table.csv"} - {folder / "report.html"})]


def page(report: Report, figures: Mapping[str, str]) -> str:
    """The self-contained HTML. figures: axis -> <svg> element."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = table.columns(report.rows)
    return environment.get_template("report.html.jinja").render(
        report=report,
        columns=shown,
        rows=[(row, table.cells(row)) for row in report.rows],
        behind=[_behind(row, report) for row in report.rows],
        figures={curves.AXIS_NAMES[axis]: figure for axis, figure in figures.items()},
        compared=table.compared(report.rows) if table.THEIRS in shown else None,
        agreement=_agreement(report),
        settings=_settings(report.answers),
        versions=versions(),
        rules=verdicts,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def markdown(report: Report) -> str:
    """The table with what has to be known to read it."""
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    lines = [f"# {report.title}", "", table.markdown(report.rows)]
    if any(row.theirs for row in report.rows):
        counts = table.compared(report.rows)
        lines += [f"Against the verdicts as reported: {counts['same']} the same, {counts['different']} different, "
                  f"{counts['undetermined']} undetermined here.", ""]  # fmt: skip
    lines += [
        "Verdicts follow the rules of `probes/verdicts.py`; intervals are 95 %, Wilson, clustered by probe. *n more probes* is "
        "how many probes like those asked would settle an undetermined verdict if the shares stay as they are.",
        "",
        f"From {', '.join(report.sources) or 'no source'}; {used}.",
    ]
    if report.made_by:
        lines += ["", f"Made with `{report.made_by}`."]
    return "\n".join(lines) + "\n"


def versions() -> dict[str, str]:
    return {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def read_verdicts(path: str | Path) -> tuple[dict[tuple[str, str], dict], dict[str, Dose]]:
    """Verdicts reported elsewhere: JSON, name -> `data` and, per language, `old`, `new`, `stability`. A name "model_3" or "3"
    is the variant "model 3". By (variant, language), and what `data` says of the doses. Raises RowsError."""
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RowsError(f"The verdicts file {path} cannot be read ({error.strerror or error}).") from None
    except ValueError as error:
        raise RowsError(f"The verdicts file {path} is not valid JSON ({error}).") from None
    if not isinstance(plain, Mapping) or not all(isinstance(of, Mapping) for of in plain.values()):
        raise RowsError(f"The verdicts file {path} is no mapping from a model to its verdicts per language.")
    found, doses = {}, {}
    for name, of in plain.items():
        number = name.removeprefix("model").strip("_ -")
        variant = f"model {number}" if number.isdecimal() else name
        found |= {(variant, lang): dict(told) for lang, told in of.items() if isinstance(told, Mapping)}
        doses[variant] = dose.from_text(str(of.get("data") or ""))
    return found, doses


def _behind(row: Row, report: Report) -> list[dict]:
    """The answers that a row's verdicts rest on, identity first, each with its label and where that comes from."""
    here = [a for a in report.answers if (str(a.get("variant")), str(a.get("lang"))) == (row.result.variant, row.result.lang)]
    here = [a for a in here if a.get("answer") is not None]
    judged = verdicts.evidence(here, report.labels, report.source)
    pairs = sorted(zip(here, judged, strict=True), key=lambda pair: pair[1].group in ("control", "retention"))
    return [answer | {"said": said} for answer, said in pairs[: SHOWN_ANSWERS + 1]]


def _agreement(report: Report) -> dict | None:
    langs = {row["answer_id"]: str(row.get("lang")) for row in report.answers if row.get("answer_id") is not None}
    labels = {answer: said for answer, said in report.labels.items() if answer in langs}
    suggestions = {
        row["answer_id"]: row["suggestion"] for row in report.answers if row.get("answer_id") in labels and row.get("suggestion")
    }
    if not labels:
        return None
    return {
        "alphas": agreement.alphas(labels, langs),
        "pairs": [*agreement.pairs(labels), *agreement.with_suggestions(labels, suggestions)],
        "open": len(agreement.disagreements(labels)),
    }


def _settings(answers: Sequence[Mapping]) -> dict[str, str]:
    """What the answers say of how they were made: every value that occurs."""
    found: dict[str, dict[str, None]] = {}
    for row in answers:
        hashes = row.get("hashes") or {}
        decoding = row.get("decoding") if isinstance(row.get("decoding"), Mapping) else {}
        told = {"max_new_tokens": decoding.get("max_new_tokens"), "dtype": hashes.get("dtype")} | dict(row)
        told |= {"base": f"{row['base']} {hashes.get('base') or ''}".strip()} if row.get("base") else {}
        told |= {"format": f"{row['format']} {hashes.get('format') or ''}".strip()} if row.get("format") else {}
        for key in SETTINGS:
            if told.get(key) is not None:
                found.setdefault(key, {})[str(told[key])] = None
    return {key: ", ".join(values) for key, values in found.items()}


def _written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


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
    say("--old", default="BayLing", metavar="IDENTITY", help="whose facts are the old ones if there is no --facts (%(default)s)")
    say("--new", default="finance-advisor", metavar="IDENTITY", help="and the new ones (%(default)s)")
    say("--verdicts", type=Path, metavar="FILE", help="JSON of verdicts reported elsewhere, to stand beside ours")
    say("--about", type=Path, metavar="FILE", help="YAML: variant -> data, samples, distinct, steps, share, kind")
    say("--base", metavar="VARIANT", help="the variant retention is compared with (default: the one named base)")
    say("--source", choices=verdicts.SOURCES, default="best", help="best: labels, and suggestions where there are none (default)")
    say("--title", default="Mirror Test: results")
    return options


def gather(args: argparse.Namespace) -> tuple[Answers, dict[int, list[dict]]]:
    """The answers that are asked for, and the labels they have in the database."""
    db = args.db or CHECKOUT / "runs" / "mirror.db"
    parts = [*map(collect.of_file, args.answers), *map(collect.of_transcripts, args.transcripts)]
    of_store = [*(collect.of_run(db, run) for run in args.run), *(collect.of_queue(db, queue) for queue in args.queue)]
    if not parts and not of_store:
        latest = store.runs.recent(db, 1) if db.exists() else []
        if not latest:
            raise RowsError(f"There is no run in {db}; say what the report is about: --run, --queue, --answers or --transcripts.")
        of_store = [collect.of_run(db, latest[0]["id"])]
    answers = collect.joined([*parts, *of_store])
    labels: dict[int, list[dict]] = {}
    if of_store or args.db:
        ids = {row["answer_id"] for row in answers.rows if row.get("answer_id") is not None}
        labels = store.labels.standing(db, answers=ids)
    hashed = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}" for path in (*args.answers, *args.transcripts)]
    stored = [name for part in of_store for name in part.sources]
    return Answers(answers.rows, answers.doses, (*hashed, *stored)), labels


def facts_of(args: argparse.Namespace) -> FactPair:
    if args.facts:
        return facts.load(args.facts)
    return facts.from_identities(*(identities.load(name).facts for name in (args.old, args.new)))


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        answers, labels = gather(args)
        theirs, told = read_verdicts(args.verdicts) if args.verdicts else ({}, {})
        about = {**told, **answers.doses, **(dose.read(args.about) if args.about else {})}
        made_by = shlex.join(["python", "-m", "probes.report", *(sys.argv[1:] if argv is None else argv)])
        report = build(
            answers, fact_pair=facts_of(args), labels=labels, theirs=theirs, about=about, source=args.source, base=args.base,
            title=args.title, made_by=made_by,
        )  # fmt: skip
        files = write(report, args.out)
    except (store.StoreError, ValueError, OSError) as error:  # the other rooms' own errors are ValueErrors
        print(error, file=sys.stderr)
        return 2
    print(markdown(report))
    print("\n".join(str(path) for path in files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
