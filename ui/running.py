"""What a page shows of something that runs by itself, a training or an experiment: bar, clock, log, command line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ui.html import paragraph
from ui.words import say


def duration(lang: str, seconds: float | None) -> str:
    """About how long, in the unit a person would say; "" for no time at all."""
    if not seconds:
        return ""
    if seconds < 90:
        return say(lang, "seconds", number=max(1, round(seconds)))
    if seconds < 7200:
        return say(lang, "minutes", number=round(seconds / 60))
    return say(lang, "hours", number=f"{seconds / 3600:.1f}")


def clock(seconds: float) -> str:
    """2:05 or 1:02:05."""
    hours, rest = divmod(max(0, round(seconds)), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def bar_html(share: float, done: int, total: int, facts: Sequence[str]) -> str:
    """share: 0 to 1. facts: HTML, what stands under the bar."""
    said = "".join(f"<span>{fact}</span>" for fact in facts)
    return (
        f'<div class="mt-progress" role="progressbar" aria-valuemin="0" aria-valuemax="{total}" aria-valuenow="{done}">'
        f'<i style="width:{100 * share:.1f}%"></i></div><div class="mt-facts mt-run-facts">{said}</div>'
    )


def log_html(lang: str, text: str) -> str:
    return f'<div class="mt-log"><pre class="mt-exact">{escape(text or say(lang, "no_log"))}</pre></div>'


def command_html(lang: str, command: str, note: str = "command_note") -> str:
    """A command line with a button that copies it. note: the key of what is said over it."""
    button = f'<button type="button" class="mt-copy" data-copy>{escape(say(lang, "copy"))}</button>'
    shown = f'<div class="mt-command">{button}<pre class="mt-exact">{escape(command)}</pre></div>'
    return paragraph(say(lang, note)) + shown
