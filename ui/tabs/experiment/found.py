"""What an experiment has found: the least doses of its search, and whether count or share decides. HTML only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from experiments.progress import State
from probes.report.curves import format_dose
from ui.html import note, paragraph, table
from ui.tabs.experiment import words
from ui.words import say

KEYS = ("criterion", "language", "threshold", "between", "best")
DECIDING_KEYS = ("criterion", "language", "decides", "power", "mixes")


def found_html(lang: str, state: State | None) -> str:
    """Of every series that is searched: what is asked next, or why it ended, and every threshold; and what decides in mixes."""
    if state is None:
        return ""
    searched = "".join(_series(lang, one) for one in state.found)
    decided = "".join(_deciding(lang, name, state) for name in dict.fromkeys(one["series"] for one in state.deciding))
    single = " " + say(lang, "xp_deciding_single") if any(one["single"] for one in state.deciding) else ""
    hint = paragraph(say(lang, "xp_deciding_hint") + single)
    return (f'<h3 class="mt-step">{escape(say(lang, "xp_found"))}</h3>{searched}' if searched else "") + (
        f'<h3 class="mt-step">{escape(say(lang, "xp_deciding"))}</h3>{decided}{hint}' if decided else ""
    )


def _deciding(lang: str, series: str, state: State) -> str:
    rows = ""
    for one in state.deciding:
        if one["series"] != series:
            continue
        figures = {key: _power(one[key]) for key in ("power", "low", "high")}
        runs = "xp_runs_single" if one["single"] else "xp_runs_many"
        cells = [
            words.language(lang, one["lang"]), say(lang, f"xp_decides_{one['word'].replace(' ', '_')}"),
            say(lang, "xp_power_of", **figures), say(lang, runs, mixes=one["mixes"], runs=one["runs"]),
        ]  # fmt: skip
        measure = one["criterion"]
        head = say(lang, f"xp_answers_{measure}")
        rows += f'<tr><th scope="row">{escape(head)}</th>' + "".join(f"<td>{escape(text)}</td>" for text in cells) + "</tr>"
    shown = table([say(lang, f"xp_{key}") for key in DECIDING_KEYS], [rows], "xp-cells")
    return f'<div class="xp-series"><strong>{escape(series)}</strong><div class="xp-scroll">{shown}</div></div>'


def _power(value: Any) -> str:
    return "…" if (number := _finite(value)) is None else f"{number:.2f}"


def _series(lang: str, one: Mapping[str, Any]) -> str:
    ended = bool(one.get("ended"))
    title = f"<strong>{escape(str(one.get('series') or ''))}</strong> {words.chip(lang, 'done' if ended else 'running')}"
    said = "".join(note(line, "next" if ended else "") for line in _said(lang, one))
    rows = [_row(lang, window) for window in one.get("thresholds") or ()]
    shown = table([say(lang, f"xp_{key}") for key in KEYS], rows, "xp-cells") if rows else ""
    return f'<div class="xp-series">{title}<div class="xp-scroll">{shown}</div>{said}</div>'


def _said(lang: str, one: Mapping[str, Any]) -> list[str]:
    """Why its next cells are asked for, or why it is over; in the search's own English where it was told without codes."""
    return [_reason(lang, reason) for reason in one.get("reasons") or ()] or [
        line for line in str(one.get("why") or "").split("\n") if line
    ]


def _reason(lang: str, reason: Mapping[str, Any]) -> str:
    """reason: of `finder.Reason` or `finder.End`."""
    name, _, of = str(reason.get("what") or "").partition("/")
    what = say(lang, "xp_of_language", what=say(lang, f"xp_criterion_{name}"), of=words.language(lang, of)) if of else ""
    doses = {key: f"{int(reason[key]):,}" for key in ("dose", "low", "high") if key in reason}
    plain = {key: reason.get(key) for key in ("runs", "cells", "minutes")}
    doses |= {"doses": ", ".join(f"{dose:,}" for dose in reason.get("doses") or ())}
    code = reason["code"]
    return say(lang, f"xp_why_{code}", what=what, **doses, **plain)


def _row(lang: str, window: Mapping[str, Any]) -> str:
    first, best = window["first"], window["best"]
    key = window["word"].replace(" ", "_")
    dose, word = _finite(first.get("dose")), say(lang, f"xp_word_{key}")
    low, high = _finite(first.get("low")), _finite(first.get("high"))
    between = f"{format_dose(low) if low is not None else '…'} – {format_dose(high) if high is not None else '…'}"
    cells = [
        f"{say(lang, 'xp_samples', number=format_dose(dose))} ({word})" if dose is not None else word,
        between if dose is not None or high is not None else "",
        say(lang, "xp_best_at", share=round(100 * best[1]), dose=f"{best[0]:,}") if window.get("doses") else "",
    ]
    head = escape(criterion(lang, window))
    of = escape(words.language(lang, window["lang"]))
    return f'<tr><th scope="row">{head}</th><td>{of}</td>{"".join(f"<td>{escape(text)}</td>" for text in cells)}</tr>'


def criterion(lang: str, window: Mapping[str, Any]) -> str:
    name = window["criterion"]
    return say(lang, f"xp_criterion_{name}")


def _finite(value: Any) -> float | None:
    """None for what no dose bounds; JSON has no infinity."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def lines_of(lang: str, state: State, series: str) -> dict[str, dict[str, float]]:
    """language -> criterion -> the least dose, of a series; for the curve."""
    lines: dict[str, dict[str, float]] = {}
    for one in state.found:
        for window in one.get("thresholds") or () if one.get("series") == series else ():
            if (dose := _finite(window["first"].get("dose"))) is not None and dose > 0:
                lines.setdefault(window["lang"], {})[criterion(lang, window)] = dose
    return lines
