"""The rows that somebody brings: what they hold and what is to be decided, and how the model will see them. HTML only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tuning.dataset.own import OwnRows
from tuning.dataset.personal import Personal
from tuning.dataset.scan import Finding
from tuning.jobs.forecast import TokenRow
from ui.html import note, paragraph
from ui.tabs.finetune.forecast import learned_key, token_row_html
from ui.words import say

EXAMPLES = 3


def about_html(lang: str, found: OwnRows | None, plain: Mapping[str, Any], unread: bool) -> str:
    """Counts and finds. found: None where the rows could not be read; unread: because of their columns."""
    if found is None:
        return note(say(lang, "own_unread"), "warn") if unread else ""
    langs = say(lang, "own_comma").join(say(lang, f"own_{name}", count=f"{count:,}") for name, count in found.langs.items())
    numbers = {"rows": f"{len(found.rows):,}", "langs": langs or "-", "identity": f"{found.identity:,}"}
    parts = [paragraph(say(lang, "own_counts", **numbers))]
    if found.dropped:
        parts.append(paragraph(say(lang, "own_dropped", count=f"{found.dropped:,}", found=f"{found.found:,}")))
    if found.statements:
        gone = plain["own_drop_statements"]
        parts.append(_finds(lang, "own_statements", found.statements, [quoted(lang, one) for one in found.statements], gone))
    if found.personal:
        gone = plain["own_drop_personal"]
        parts.append(_finds(lang, "own_personal", found.personal, [hidden(lang, one) for one in found.personal], gone))
    if found.filled:
        words = say(lang, "placeholders_filled", count=f"{found.filled:,}", identity=plain["identity"])
        parts.append(note(f"{say(lang, 'placeholders')}: {words}"))
    parts += [note(say(lang, "own_open", placeholder=one.placeholder, count=one.count), "warn") for one in found.open]
    return "".join(parts)


def _finds(lang: str, key: str, finds: Sequence[Finding | Personal], examples: list[str], gone: bool) -> str:
    """One kind of finds: in how many rows, some examples, and what is done with them."""
    rows = len({one.index for one in finds})
    more = rows - EXAMPLES
    shown = [*examples[:EXAMPLES], *([say(lang, "own_more", count=f"{more:,}")] if more > 0 else [])]
    done = say(lang, "own_gone" if gone else "own_kept")
    return note(f"{say(lang, key, rows=f'{rows:,}')} {done} {'; '.join(shown)}", "" if gone else "warn")


def quoted(lang: str, one: Finding) -> str:
    return say(lang, "own_said", source=one.source, text=" ".join(one.text.split())[:80])


def hidden(lang: str, one: Personal) -> str:
    return say(lang, "own_held", source=one.source, kind=say(lang, f"personal_{one.kind}"), text=one.text)


def preview_html(lang: str, rows: Sequence[TokenRow], format: str) -> str:
    """Rows as the model reads them."""
    shown = "".join(token_row_html(lang, row, "kind_own") for row in rows)
    about = escape(say(lang, "own_preview_note", count=len(rows), format=format))
    return f'<p class="mt-quiet">{about} {learned_key(lang)}</p>{shown}'
