"""What people voted, as the Results tab shows it: the board, and every pair of variants of the database, whatever table is shown
above."""

from __future__ import annotations

from html import escape

from probes.report import board, preferences, wording
from probes.report.board import BoardRow
from probes.report.preferences import Preference
from ui.context import App, sentence
from ui.html import paragraph
from ui.tabs.results.view import probe_language, scroll_html
from ui.words import say

NAMED = ("first", "second", "variant")  # of a row, its head


def votes_html(app: App, lang: str) -> str:
    """The board and the table of votes, blind and open apart; what to do while there are none."""
    of = probe_language(lang)
    try:
        found, ranked = preferences.read_preferences(app.db), board.read_board(app.db)
    except Exception as error:
        return _title("heading_votes", of) + paragraph(sentence(lang, error), "mt-failed", role="alert")
    if not found:
        return _title("heading_votes", of) + paragraph(say(lang, "results_no_votes"))
    ranks = _board_html(ranked, of) if ranked else ""
    return ranks + _votes_html(found, of)


def _title(key: str, of: str) -> str:
    return f'<h3 class="mt-step">{escape(wording.say(of, key))}</h3>'


def _board_html(ranked: list[BoardRow], of: str) -> str:
    body = ""
    for row in ranked:
        cells = board.cells(row, of)
        kinds = {"strength": "mt-v-strength" if row.fitted.enough else "mt-v-few"}
        body += "<tr>" + "".join(_cell(key, cells[key], kinds.get(key, "")) for key in board.COLUMNS) + "</tr>"
    return _title("heading_board", of) + _table(board.headings(of), body) + paragraph(board.note(of))


def _votes_html(found: list[Preference], of: str) -> str:
    body = ""
    for one in found:
        cells = preferences.cells(one, of)
        kinds = {"word": "mt-v-name"} if one.preferred else {}
        body += "<tr>" + "".join(_cell(key, cells[key], kinds.get(key, "")) for key in preferences.COLUMNS) + "</tr>"
    return _title("heading_votes", of) + _table(preferences.headings(of), body) + paragraph(wording.say(of, "votes_note"))


def _table(headings: dict[str, str], body: str) -> str:
    heads = "".join(f'<th scope="col">{escape(words)}</th>' for words in headings.values())
    return scroll_html(f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>", "mt-votes")


def _cell(key: str, text: str, kind: str) -> str:
    if key in NAMED:
        return f'<th scope="row" class="mt-v-name">{escape(text)}</th>'
    return f'<td class="{kind or f"mt-v-{key}"}">{escape(text)}</td>'
