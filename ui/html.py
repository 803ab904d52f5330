"""What several tabs write the same way as HTML. Words are escaped here; what is HTML already is called so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def paragraph(words: str, kind: str = "mt-quiet", role: str = "") -> str:
    """kind: its classes. role: `alert` or `status`, for screen readers."""
    return f'<p class="{kind}"{_role(role)}>{escape(words)}</p>'


def note(words: str, kind: str = "") -> str:
    """A line with a mark beside it. kind: `warn`, `next`, or "" for a quiet one."""
    return f'<div class="mt-note{f" mt-note-{kind}" if kind else ""}">{escape(words)}</div>'


def failure(words: str, inner: str = "") -> str:
    """What could not be done, said aloud. inner: HTML behind the words; with it they are the headline."""
    said = f"<strong>{escape(words)}</strong>{inner}" if inner else escape(words)
    return f'<div class="mt-failed"{_role("alert")}>{said}</div>'


def table(heads: Iterable[str], rows: Iterable[str], kind: str = "") -> str:
    """heads: words over the columns. rows: HTML, a `<tr>` each (see `row`). kind: further classes."""
    head = "".join(f"<th>{escape(words)}</th>" for words in heads)
    name = f"mt-table {kind}".strip()
    return f'<table class="{name}"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def row(cells: Sequence[str]) -> str:
    """cells: HTML; the first is the row's head."""
    return f"<tr><th>{cells[0]}</th>{''.join(f'<td>{cell}</td>' for cell in cells[1:])}</tr>"


def fold(title: str, inner: str, kind: str = "mt-fold") -> str:
    """Something to be opened. inner: HTML."""
    return f'<details class="{kind}"><summary>{escape(title)}</summary>{inner}</details>'


def _role(role: str) -> str:
    return f' role="{role}"' if role else ""
