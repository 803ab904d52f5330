"""Any two variants of the table that is shown, compared probe by probe."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from probes.report import pairwise, wording
from probes.report.model import Report
from probes.verdicts.paired import SUGGESTIONS, Comparison
from ui.html import paragraph
from ui.tabs.results.view import probe_language, scroll_html
from ui.words import say

SHARES = {"share_first": 0, "share_second": 1, "first_only": 0, "second_only": 1}  # column -> whose it is
COLUMNS = tuple(key for key in pairwise.COLUMNS if key not in ("first", "second"))


def variants(made: Report | None) -> list[str]:
    """Those that can be compared, in the order of the table."""
    return list(dict.fromkeys(row.result.variant for row in made.rows)) if made else []


def first_two(made: Report | None) -> tuple[str | None, str | None]:
    """What is compared before anybody chooses: the table's second with its first, which is the base if there is one."""
    known = variants(made)
    return (known[1], known[0]) if len(known) > 1 else (None, None)


def compare_html(made: Report | None, first: str | None, second: str | None, lang: str) -> str:
    if made is None or not first or not second:
        return ""
    if first == second:
        return paragraph(say(lang, "results_compare_two"), "mt-quiet", role="status")
    if not {first, second} <= set(variants(made)):
        return ""  # of a table that was shown before
    found = pairwise.compare(made.answers, made.labels, [(first, second)], made.source)
    if not found:
        return paragraph(say(lang, "results_compare_none"), "mt-quiet", role="status")
    return _table(found, (first, second), lang) + paragraph(wording.say(probe_language(lang), "pairs_note"))


def _table(found: Sequence[Comparison], names: tuple[str, str], lang: str) -> str:
    of = probe_language(lang)
    heads = "".join(f'<th scope="col">{escape(_head(key, names, of))}</th>' for key in COLUMNS)
    body = ""
    for one in found:
        cells = pairwise.cells(one, of)
        kind = " mt-suggested" if one.source == SUGGESTIONS else ""
        body += (
            f'<tr class="mt-comparison{kind}">'
            + "".join(f'<td class="mt-p-{key}">{escape(cells[key])}</td>' for key in COLUMNS)
            + "</tr>"
        )
    return scroll_html(f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>", "mt-votes mt-compared")


def _head(key: str, names: tuple[str, str], of: str) -> str:
    if key not in SHARES:
        return wording.say(of, f"pairs_{key}")
    name = names[SHARES[key]]
    return name if key.startswith("share") else wording.say(of, "pairs_only", name=name)
