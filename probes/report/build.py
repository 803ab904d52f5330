"""The results, for people who will not open the app: one HTML file that needs nothing else, and Markdown, CSV and curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common import files, outside, reading
from identities import natural_key
from probes.answers import dose, exchange, sources as collect
from probes.answers.dose import Dose
from probes.answers.sources import Answers, RowsError
from probes.identity_pair import FactPair
from probes.report import board as vote_board, curves, margins as margin_series, pairwise, preferences, table
from probes.report.board import BoardRow
from probes.report.model import Report
from probes.report.page import render_markdown, render_page, threshold_name
from probes.report.preferences import Preference
from probes.verdicts import rules, thresholds
from probes.verdicts.basis import BY_PEOPLE
from probes.verdicts.paired import Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKED = "answers.jsonl.gz"
BULKY = ("prompt", "timings", "mean_logprob", "decoding", "adapters")


def build_report(
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
    board: Sequence[BoardRow] = (),
    pairs: Sequence[Sequence[str]] | None = None,
) -> Report:
    """Judges the answers. theirs: (variant, language) -> verdicts reported elsewhere; those without answers get rows, too.

    base: the variant retention is compared with (default: the one named base, if there is one). It stands first in the table,
    the others by name. pairs: variants to be compared probe by probe (default: `pairwise.default_pairs`).
    """
    rows = collect.add_suggestions(answers.rows, fact_pair)
    if base is None and any(row.get("variant") == "base" for row in rows):
        base = "base"
    heard = [row for row in rows if row.get("answer") is not None]
    judged = rules.collect_evidence(heard, labels, source)
    results = rules.judge_variants(judged, base)
    known = {(result.variant, result.lang) for result in results}
    results += [rules.empty_result(*key) for key in theirs or {} if key not in known]

    def place(variant: str) -> tuple:
        return variant != base, natural_key(variant)

    results.sort(key=lambda result: (place(result.variant), result.lang))
    doses = {**answers.doses, **(about or {})}
    made = table.build_rows(results, rows, doses, theirs or {})
    found = curves.dose_points(made)
    compared = compare_variants(rows, labels or {}, [result.variant for result in results], base, pairs, source)
    return Report(
        title, made, rows, list(zip(heard, judged, strict=True)), labels or {}, answers.sources, made_by, base,
        [one for axis in curves.axes_with_data(found) for one in thresholds.find_thresholds(judged, doses, axis)],
        dict(sorted(margin_series.margins_of_answers(rows).items(), key=lambda of: place(of[0]))),
        dict(sorted((trainings or {}).items(), key=lambda of: natural_key(of[0]))), votes,
        board, compared, source,
    )  # fmt: skip


def compare_variants(
    rows: Sequence[Mapping], labels: Mapping[int, Sequence[Mapping]], known: Sequence[str], base: str | None,
    pairs: Sequence[Sequence[str]] | None, source: str,
) -> list[Comparison]:  # fmt: skip
    """known: the variants in the order of the table. Raises UserError for a pair that is none of them."""
    known = list(dict.fromkeys(known))
    wanted = pairwise.default_pairs(known, base) if pairs is None else pairwise.check_pairs(pairs, known)
    return pairwise.compare(rows, labels, wanted, source)


def write_report(report: Report, folder: str | Path, langs: Sequence[str] = ("en",)) -> list[Path]:
    """report.html, table.md, table.csv, answers.csv and answers.jsonl.gz, votes.csv and board.csv if anybody voted, pairs.csv
    if two variants answered the same probes, and, as far as there is anything to draw, curves as .png and .svg.

    langs: en, zh, or both in the order of preference: then the page has a switch, and table and curves in the second one stand
    beside the first one's as NAME.zh or NAME.en.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = folder / "report.html"
    drawn = {of: draw_figures(report, of) for of in langs}
    written = []
    for of in langs:
        ending = "" if of == langs[0] else f".{of}"
        written += [path for name, figure in drawn[of].items() for path in curves.save(figure, folder / f"{name}{ending}")]
        written.append(files.write_text(folder / f"table{ending}.md", render_markdown(report, of)))
    written.append(
        files.write_text(first, render_page(report, {of: {n: curves.svg(f) for n, f in drawn[of].items()} for of in langs}))
    )
    exchange.write_rows(folder / "table.csv", table.csv_rows(report.rows))
    rows = answer_rows(report)
    exchange.write_rows(folder / "answers.csv", rows, exchange.ANSWER_COLUMNS)
    exchange.write_rows(folder / PACKED, packed_rows(report, rows))
    written += [folder / "table.csv", folder / "answers.csv", folder / PACKED]
    more = {
        "votes": preferences.csv_rows(report.votes),
        "board": vote_board.csv_rows(report.board),
        "pairs": pairwise.csv_rows(report.pairs),
    }
    for name, found in more.items():
        if found:
            exchange.write_rows(folder / f"{name}.csv", found)
            written.append(folder / f"{name}.csv")
    return [first, *sorted({*written} - {first}, key=lambda path: natural_key(path.name))]


def draw_figures(report: Report, lang: str = "en") -> dict[str, Figure]:
    """File name -> figure: `curves-AXIS` per axis with two doses or more, `margins`, `margins-training`."""
    found = curves.dose_points(report.rows)
    drawn = {}
    for axis in curves.axes_with_data(found):
        marked = thresholds.threshold_lines([one for one in report.thresholds if one.axis == axis])
        kinds = {one.kind for one in report.thresholds if one.axis == axis and one.enough}
        named = {
            of: {threshold_name(lang, what, kind if len(kinds) > 1 else ""): dose for (what, kind), dose in those.items()}
            for of, those in marked.items()
        }
        drawn[f"curves-{axis}"] = curves.draw_dose_response(found, axis, named, lang)
    if report.margins:
        drawn["margins"] = curves.draw_margins_by_variant(report.margins, lang)
    if report.trainings:
        drawn["margins-training"] = curves.draw_margins(report.trainings, lang)
    return drawn


def read_verdicts(path: str | Path) -> tuple[dict[tuple[str, str], dict], dict[str, Dose]]:
    """Verdicts reported elsewhere: JSON, name -> `data` and, per language, `old`, `new`, `stability`. A name "model_3" or "3"
    is the variant "model 3". By (variant, language), and what `data` says of the doses. Raises RowsError."""
    text = reading.read_text(path, "verdicts file", RowsError)
    plain = outside.from_json(text, f"The verdicts file {path}", RowsError, gaps=True, broken="is not valid JSON")
    if not isinstance(plain, Mapping) or not all(isinstance(of, Mapping) for of in plain.values()):
        raise RowsError(f"The verdicts file {path} is no mapping from a model to its verdicts per language.")
    found: dict[tuple[str, str], dict] = {}
    doses: dict[str, Dose] = {}
    for name, of in plain.items():
        number = name.removeprefix("model").strip("_ -")
        variant = f"model {number}" if number.isdecimal() else name
        found |= {(variant, lang): dict(told) for lang, told in of.items() if isinstance(told, Mapping)}
        doses[variant] = dose.from_text(str(of.get("data") or ""))
    return found, doses


def packed_rows(report: Report, rows: Sequence[Mapping]) -> list[dict]:
    """`answer_rows` as `sources.read_file` reads them again, so that this report can be made of them alone: suggestions as
    suggestions, only people's labels as labels, and what each variant was trained on. Without prompts and timings."""
    doses = {row.result.variant: dose.to_mapping(row.dose) for row in report.rows}
    found = []
    for row in rows:
        left_out = BULKY if row["label_source"] in BY_PEOPLE else (*BULKY, "label")
        told = {key: value for key, value in row.items() if value not in (None, "", [], {}) and key not in left_out}
        found.append(told | {"answer": row["answer"], "dose": doses[row["variant"]]})
    return found


def answer_rows(report: Report) -> list[dict]:
    """All answers as plain rows (`exchange.ANSWER_COLUMNS`), the label and where it comes from beside each."""
    return [
        dict(answer)
        | {"label": said.label, "label_source": said.source, "voices": len(report.labels.get(answer.get("answer_id") or 0, ()))}
        for answer, said in report.judged
    ]
