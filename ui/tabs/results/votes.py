"""What people voted, as the Results tab shows it: every pair of variants of the database, whatever table is shown above."""

from __future__ import annotations

from html import escape

from probes.report import preferences, wording
from ui.context import App, sentence
from ui.html import paragraph
from ui.tabs.results.view import probe_language, scroll_html
from ui.words import say

WORDS = ("first", "second")  # of a row, its head


def votes_html(app: App, lang: str) -> str:
    """The table of votes, blind and open apart; what to do while there are none."""
    of = probe_language(lang)
    title = f'<h3 class="mt-step">{escape(wording.say(of, "heading_votes"))}</h3>'
    try:
        found = preferences.read_preferences(app.db)
    except Exception as error:
        return title + paragraph(sentence(lang, error), "mt-failed", role="alert")
    if not found:
        return title + paragraph(say(lang, "results_no_votes"))
    heads = "".join(f'<th scope="col">{escape(words)}</th>' for words in preferences.headings(of).values())
    body = ""
    for one in found:
        cells = preferences.cells(one, of)
        body += "<tr>" + "".join(_cell(key, cells[key], one.preferred) for key in preferences.COLUMNS) + "</tr>"
    table = scroll_html(f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>", "mt-votes")
    return title + table + paragraph(wording.say(of, "votes_note"))


def _cell(key: str, text: str, preferred: str) -> str:
    if key in WORDS:
        return f'<th scope="row" class="mt-v-name">{escape(text)}</th>'
    kind = "mt-v-name" if key == "word" and preferred else f"mt-v-{key}"
    return f'<td class="{kind}">{escape(text)}</td>'
