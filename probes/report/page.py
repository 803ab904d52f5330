"""How a report reads, in English, Chinese or both: the self-contained HTML page and the Markdown. What is in it: `report`."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import jinja2
from markupsafe import Markup, escape

from probes.report import board, curves, pairwise, preferences, table, wording
from probes.report.model import Report
from probes.report.table import TableRow
from probes.verdicts import agreement, rules, thresholds
from probes.verdicts.basis import Pair
from probes.verdicts.paired import SUGGESTIONS
from probes.verdicts.thresholds import Threshold
from store.labels import CONTROL_GROUPS

SHOWN_ANSWERS = 300  # behind one variant and language; more would make the file slow to open
INTERVAL = re.compile(r"\d+ % \[\d+–\d+\]")  # as `table.format_interval` writes it
PACKAGES = ("numpy", "scipy", "statsmodels", "krippendorff", "matplotlib")
SETTINGS = ("base", "dtype", "set", "set_hash", "format", "mode", "temperature", "max_new_tokens")


def render_page(report: Report, drawn: Mapping[str, Mapping[str, str]]) -> str:
    """The self-contained HTML. drawn: language -> name of `figures` -> <svg> element; two languages make a page with a switch."""
    langs = tuple(drawn)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip

    def either(of: Callable[[str], str]) -> Markup:
        texts = {lang: of(lang) for lang in langs}
        if len(set(texts.values())) == 1:
            return escape(texts[langs[0]])
        return Markup("").join(Markup('<span lang="{}">{}</span>').format(lang, text) for lang, text in texts.items())

    def title(lang: str) -> str:
        return report.title or wording.say(lang, "title")

    cells = [{lang: table.cells(row, lang) for lang in langs} for row in report.rows]
    shown = table.columns(report.rows)
    return environment.get_template("report.html.jinja").render(
        report=report,
        langs=langs,
        title=" · ".join(dict.fromkeys(map(title, langs))),
        heading=either(title),
        say=lambda key, **values: either(lambda lang: wording.say(lang, key, **values)),
        word=lambda text: either(lambda lang: wording.term(lang, text)),
        cell=lambda number, key: either(lambda lang: cells[number][lang][key]),
        head=lambda row, key: keep_intervals_whole(either(lambda lang: next(iter(table.lines(row, key, lang)), ""))),
        more=lambda row, key: keep_intervals_whole(either(lambda lang: "\n".join(table.lines(row, key, lang)[1:]))),
        reported=lambda word: either(lambda lang: wording.say(lang, "reported", word=wording.term(lang, word))),
        language=lambda code: either(lambda lang: wording.language(lang, code)),
        threshold=lambda one: either(lambda lang: describe_threshold(one, lang)),
        thresholds=thresholds.group_by_series(one for one in report.thresholds if one.enough),
        too_few=either(lambda lang: describe_too_few(report, lang)),
        columns=[key for key in shown if key != table.THEIRS],  # said below each verdict
        marks=table.MARKS,
        rows=[(number, row, table.has_answers(row), table.sort_keys(row)) for number, row in enumerate(report.rows, 1)],
        supporting=supporting_by_row(report),
        shown_answers=SHOWN_ANSWERS,
        figures=[(name, {lang: drawn[lang][name] for lang in langs}) for name in next(iter(drawn.values()), {})],
        compared=table.compare_verdicts(report.rows) if table.THEIRS in shown else None,
        found=[_found(name, kind, report_rows, either) for name, kind, report_rows in _tables(report)],
        agreement=_agreement(report),
        settings=_settings(report.answers),
        versions=package_versions(),
        rules=rules,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _tables(report: Report) -> list[tuple[str, ModuleType, Sequence]]:
    """What is written beside the verdicts, each a table of its own: its name, the module of its words, its rows."""
    return [("pairs", pairwise, report.pairs), ("board", board, report.board), ("votes", preferences, report.votes)]


def _found(name: str, kind: ModuleType, rows: Sequence, either: Callable) -> dict:
    def cell(one: object, key: str, lang: str) -> str:
        return kind.cells(one, lang)[key]

    return {
        "name": name,
        "note": either(partial(_note, name)),
        "columns": [f"{name}_{key}" for key in kind.COLUMNS],
        "rows": [
            (name == "pairs" and one.source == SUGGESTIONS, [either(partial(cell, one, key)) for key in kind.COLUMNS])
            for one in rows
        ],
    }


def _note(name: str, lang: str) -> str:
    return board.note(lang) if name == "board" else wording.say(lang, f"{name}_note")


def keep_intervals_whole(html: Markup) -> Markup:
    """Every interval in an element of its own, which is not broken over two lines."""
    return Markup(INTERVAL.sub(r'<span class="interval">\g<0></span>', str(html)))


def render_markdown(report: Report, lang: str = "en") -> str:
    """The table with what has to be known to read it."""

    def say(key: str, **values) -> str:
        return wording.say(lang, key, **values)

    lines = [f"# {report.title or say('title')}", "", table.render_markdown(report.rows, lang)]
    if any(row.theirs for row in report.rows):
        lines += [say("against_reported", **table.compare_verdicts(report.rows)), ""]
    if report.thresholds:
        heads = [say(f"threshold_{key}") for key in ("what", "of", "kind")] + [say("column_lang"), *thresholds.LEVELS]
        lines += ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for of_levels in thresholds.group_by_series(one for one in report.thresholds if one.enough):
            one = of_levels[0]
            cells = [say(one.what), say(f"axis_{one.axis}"), wording.term(lang, one.kind), wording.language(lang, one.lang)]
            lines.append("| " + " | ".join([*cells, *(describe_threshold(level, lang) for level in of_levels)]) + " |")
        lines += ["", say("threshold_note"), *([few] if (few := describe_too_few(report, lang)) else []), ""]
    lines += [line for name, kind, rows in _tables(report) for line in _markdown(name, kind, rows, lang)]
    used = ", ".join(f"{name} {number}" for name, number in package_versions().items())
    lines += [say("rules_note"), "", say("made_from", sources=", ".join(report.sources) or say("no_source"), versions=used)]
    if report.made_by:
        lines += ["", say("made_with", command=report.made_by)]
    return "\n".join(lines) + "\n"


def _markdown(name: str, kind: ModuleType, found: Sequence, lang: str) -> list[str]:
    if not found:
        return []
    rows = [kind.headings(lang), dict.fromkeys(kind.COLUMNS, "---")]
    rows += [{key: table.escape_cell(text) for key, text in kind.cells(one, lang).items()} for one in found]
    lines = ["| " + " | ".join(row.values()) + " |" for row in rows]
    return [f"## {wording.say(lang, f'heading_{name}')}", "", *lines, "", _note(name, lang), ""]


def describe_threshold(one: Threshold, lang: str = "en") -> str:
    """ "316 [250 – 410]", or that it is not reached."""

    plain = curves.format_dose
    if one.dose is None:
        return wording.say(lang, "threshold_not_reached", dose=plain(one.most))
    if one.at_once and one.high <= one.least:
        return wording.say(lang, "threshold_at_once", dose=plain(one.least))
    high = plain(one.high) if one.high <= one.most else wording.say(lang, "threshold_open", dose=plain(one.most))
    return wording.say(lang, "threshold_at", dose=plain(one.dose), low=plain(one.low), high=high)


def describe_too_few(report: Report, lang: str = "en") -> str:
    """The sentence about those kinds of data that have not enough doses for a fit; empty if there are none."""
    few: dict[str, None] = {}
    for one in report.thresholds:
        if not one.enough:
            axis = wording.say(lang, f"axis_{one.axis}")
            few[f"{wording.term(lang, one.kind)}, {wording.language(lang, one.lang)}, {axis}: {one.doses}"] = None
    return wording.say(lang, "threshold_few", needed=thresholds.LEAST_DOSES, listed="; ".join(few)) if few else ""


def threshold_name(lang: str, what: str, kind: str) -> str:
    return " ".join(filter(None, ["N50", wording.say(lang, what), wording.term(lang, kind)]))


def package_versions() -> dict[str, str]:
    return {"Python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def supporting_answers(row: TableRow, report: Report) -> list[Pair]:
    """The answers that a row's verdicts rest on, identity first, each with its label and where that comes from."""
    key = (row.result.variant, row.result.lang)
    return _identity_first(pair for pair in report.judged if (pair[1].variant, pair[1].lang) == key)


def supporting_by_row(report: Report) -> list[list[Pair]]:
    """The same for every row of the report, in one walk through its answers."""
    found: dict[tuple[str, str], list[Pair]] = {}
    for pair in report.judged:
        found.setdefault((pair[1].variant, pair[1].lang), []).append(pair)
    return [_identity_first(found.get((row.result.variant, row.result.lang), ())) for row in report.rows]


def _identity_first(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted(pairs, key=lambda pair: pair[1].group in CONTROL_GROUPS)


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
        "pairs": [*agreement.pair_annotators(labels), *agreement.pair_with_suggestions(labels, suggestions)],
        "open": len(agreement.disagreements(labels)),
    }


def _settings(answers: Sequence[Mapping]) -> dict[str, str]:
    """What the answers say of how they were made: every value that occurs."""
    found: dict[str, dict[str, None]] = {}
    for row in answers:
        hashes = row.get("hashes") or {}
        decoding = row.get("decoding")
        most = decoding.get("max_new_tokens") if isinstance(decoding, Mapping) else None
        told = {"max_new_tokens": most, "dtype": hashes.get("dtype")} | dict(row)
        told |= {"base": f"{row['base']} {hashes.get('base') or ''}".strip()} if row.get("base") else {}
        told |= {"format": f"{row['format']} {hashes.get('format') or ''}".strip()} if row.get("format") else {}
        for key in SETTINGS:
            if told.get(key) is not None:
                found.setdefault(key, {})[str(told[key])] = None
    return {key: ", ".join(values) for key, values in found.items()}
