"""The Results tab as HTML: table, curves, thresholds. Everything a model or a person wrote is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from probes.report import build, curves, page, table, wording
from probes.report.model import Report
from probes.report.table import MARKS, VERDICTS, TableRow
from probes.verdicts import basis, thresholds
from probes.verdicts.rules import UNDETERMINED, Verdict
from ui.html import paragraph
from ui.tabs.results.files import GivenFile
from ui.words import say

# Until somebody asks for them: the table is wide enough without, and verdicts say themselves what they rest on.
HIDDEN_FIRST = ("data", "interval", "source", table.THEIRS)


def say_escaped(lang: str, key: str, **values) -> str:
    """`say`, escaped."""
    return escape(say(lang, key, **values))


def button_html(lang: str, key: str, about: str) -> str:
    """A small button of ours; about: the attribute that results.js or picture.js knows it by."""
    return f'<button type="button" {about}>{say_escaped(lang, key)}</button>'


def scroll_html(inside: str, kind: str = "") -> str:
    """A table that scrolls by itself where it is too wide."""
    return f'<div class="mt-results-box"><table class="mt-table {kind}">{inside}</table></div>'


def probe_language(lang: str) -> str:
    """The page's language as the probes' words call it."""
    return lang[:2]


def files_html(lang: str, files: Sequence[GivenFile]) -> str:
    """What was added, and what each file was taken for."""
    if not files:
        return ""
    listed = "".join(
        f"<li><span>{escape(file.name)}</span> {say_escaped(lang, f'results_file_{file.kind}', count=file.count or 0)}</li>"
        for file in files
    )
    return f'<ul class="mt-given-files">{listed}</ul>'


def table_html(made: Report, lang: str) -> str:
    """The results table with what sorts, filters and chooses its columns (results.js)."""
    if not made.rows:
        return paragraph(say(lang, "results_no_rows"), "mt-nothing")
    of = probe_language(lang)
    shown = table.columns(made.rows, of)
    heads = "".join(
        f'<th data-column="{key}" scope="col"><button type="button" data-sort-by>{escape(words)}</button></th>'
        for key, words in shown.items()
    )
    by_row = page.supporting_by_row(made)
    body = "".join(
        _row_html(number, row, pairs, shown, lang) for number, (row, pairs) in enumerate(zip(made.rows, by_row, strict=True))
    )
    parts = [_unjudged_html(made, lang), _tools_html(made, shown, lang)]
    parts.append(scroll_html(f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>", "mt-results-table"))
    if any(row.theirs for row in made.rows):
        parts.append(paragraph(wording.say(of, "against_reported", **table.compare_verdicts(made.rows))))
    return f'<section class="mt-results">{"".join(parts)}</section>'


def _unjudged_html(made: Report, lang: str) -> str:
    if not {"suggestions", "mixed"} & {row.result.source for row in made.rows}:
        return ""
    return paragraph(say(lang, "results_unjudged"), "mt-note mt-note-warn")


def _tools_html(made: Report, shown: dict[str, str], lang: str) -> str:
    langs = dict.fromkeys(row.result.lang for row in made.rows)
    spoken = "".join(
        f'<option value="{escape(code)}">{escape(wording.language(probe_language(lang), code))}</option>' for code in langs
    )
    checked = {key: "" if key in HIDDEN_FIRST else " checked" for key in shown}
    boxes = "".join(
        f'<label><input type="checkbox" data-show-column="{key}"{checked[key]}> {escape(words)}</label>'
        for key, words in shown.items()
    )
    return (
        f'<div class="mt-results-tools"><input type="search" data-find placeholder="{say_escaped(lang, "results_find")}" '
        f'aria-label="{say_escaped(lang, "results_find")}">'
        f'<select data-of-lang aria-label="{say_escaped(lang, "results_language")}">'
        f'<option value="">{say_escaped(lang, "results_all_languages")}</option>{spoken}</select>'
        f'<label><input type="checkbox" data-open-only> {say_escaped(lang, "results_open_only")}</label>'
        f"<details><summary>{escape(wording.say(probe_language(lang), 'columns'))}</summary><div>{boxes}</div></details>"
        f'<span class="mt-results-count" data-count="{say_escaped(lang, "results_count")}" role="status"></span></div>'
    )


def _row_html(number: int, row: TableRow, pairs: list, shown: dict[str, str], lang: str) -> str:
    keys = table.sort_keys(row)
    undetermined = any(getattr(row.result, key).word == UNDETERMINED for key in VERDICTS[:3])
    inside = ""
    for key in shown:
        by = keys.get(key)
        sort = f' data-sort="{"" if by is None else by}"' if key in keys else ""
        tag = "th scope=row" if key == "model" else "td"
        inside += f'<{tag} data-column="{key}" class="mt-c-{key}"{sort}>{_cell(number, row, pairs, key, lang)}</{tag.split()[0]}>'
    kind = " mt-suggested" if row.result.source in ("suggestions", "mixed") else ""
    return f'<tr class="mt-result{kind}" data-lang-of="{escape(row.result.lang)}" data-open="{int(undetermined)}">{inside}</tr>'


def _cell(number: int, row: TableRow, pairs: list, key: str, lang: str) -> str:
    of = probe_language(lang)
    if key not in VERDICTS:
        lines = [escape(line) for line in table.lines(row, key, of)]
        if key in ("samples", "source"):
            return "".join([*lines[:1], *map(_small, lines[1:])])
        return "<br>".join(lines)
    if table.has_answers(row):
        counts = basis.count_sources(basis.counting_pairs(pairs, key))
        text = verdict_html(lang, number, key, getattr(row.result, key), counts)
    else:
        text = f'<span class="mt-no-answers">{escape(wording.say(of, "no_answers"))}</span>'
    reported = (row.theirs or {}).get(key)
    return text + (_small(escape(wording.say(of, "reported", word=wording.term(of, reported)))) if reported else "")


def _small(safe_text: str) -> str:
    return f'<span class="mt-evidence">{safe_text}</span>'


def verdict_html(lang: str, number: int, column: str, of: Verdict, counts: dict[str, int]) -> str:
    """The word with its mark, to be clicked; below it what is missing and how many labels and suggestions it rests on."""
    detail = verdict_detail(lang, of)
    word = escape(wording.term(probe_language(lang), of.word))
    missing = f'<span class="mt-missing">{escape(detail)}</span>' if detail else ""
    return (
        f'<button type="button" class="mt-verdict mt-v-{of.word.replace(" ", "-")}" data-panel="{number}/{column}">'
        f'<span class="mt-vmark" aria-hidden="true">{MARKS[of.word]}</span>{word}</button>'
        f"{missing}{_small(escape(evidence_words(lang, counts)))}"
    )


def verdict_detail(lang: str, of: Verdict) -> str:
    """What else holds, what is missing, and why."""
    return "; ".join(table.verdict_details(of, probe_language(lang)))


def evidence_words(lang: str, counts: dict[str, int]) -> str:
    """ "12 labels + 8 suggestions": never one number for both."""
    people = sum(counts.get(kind, 0) for kind in basis.BY_PEOPLE)
    told = [say(lang, "results_labels", count=people)] if people else []
    told += [say(lang, f"results_{kind}", count=counts[kind]) for kind in ("suggestion", "disputed", "none") if counts.get(kind)]
    return " + ".join(told)


def curves_html(made: Report, lang: str) -> str:
    """The figures of the report, each to be saved as PNG or SVG; then what it takes."""
    of, parts = probe_language(lang), []
    for name, figure in build.draw_figures(made, of).items():
        buttons = "".join(
            f'<button type="button" data-save="{kind}" data-name="{escape(name)}">{kind.upper()}</button>'
            for kind in ("png", "svg")
        )
        heading = "heading_margins" if name.startswith("margins") else "heading_curves"
        note = wording.say(of, "margin_note") if name.startswith("margins") else ""
        title = wording.say(of, heading) + (f": {wording.say(of, 'axis_' + name.removeprefix('curves-'))}" if not note else "")
        parts.append(
            f'<figure class="mt-figure"><figcaption><span>{escape(title)}</span>{buttons}</figcaption>'
            f'<div role="img" aria-label="{escape(title)}">{curves.svg(figure)}</div>'
            f"{f'<p class=mt-quiet>{escape(note)}</p>' if note else ''}</figure>"
        )
    if not parts:
        return paragraph(say(lang, "results_no_curves"))
    return f'<div class="mt-figures-wide">{"".join(parts)}</div>{_thresholds_html(made, lang)}'


def _thresholds_html(made: Report, lang: str) -> str:
    of = probe_language(lang)
    few = page.describe_too_few(made, of)
    found = thresholds.group_by_series(one for one in made.thresholds if one.enough)
    if not found:
        return paragraph(few) if few else ""
    keys = ("threshold_what", "column_lang", "threshold_kind", "threshold_of", "threshold_doses", "threshold_runs")
    heads = "".join(f"<th>{escape(text)}</th>" for text in [*(wording.say(of, key) for key in keys), *thresholds.LEVELS])
    rows = ""
    for levels in found:
        one = levels[0]
        cells = [
            wording.say(of, one.what),
            wording.language(of, one.lang),
            wording.term(of, one.kind),
            wording.say(of, f"axis_{one.axis}"),
        ]
        cells += [str(one.doses), str(one.runs), *(page.describe_threshold(level, of) for level in levels)]
        rows += "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    notes = [wording.say(of, "threshold_note")] + (
        [wording.say(of, "threshold_seeds_one")] if all(one[0].single for one in found) else []
    )
    said = "".join(map(paragraph, [*notes, *([few] if few else [])]))
    return (
        f'<h3 class="mt-step">{escape(wording.say(of, "heading_thresholds"))}</h3>'
        f"{scroll_html(f'<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>')}{said}"
    )
