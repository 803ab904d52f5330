"""The live curve: shares of the old and the new identity over the dose, drawn as the Results tab and reports draw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from experiments.progress import CellState, State
from probes.answers.dose import AXES
from probes.report import curves, wording
from probes.report.curves import Point
from probes.verdicts.statistics import Interval
from ui.html import paragraph
from ui.tabs.experiment.found import lines_of
from ui.words import say

AXIS = "samples"
TOGETHER = 3  # series in one figure; more lines cannot be told apart


def points_of(state: State) -> list[Point]:
    """Of all trained cells that are done; the base stands at dose 0 of every series without general rows: with some, dose 0 is
    what they alone make of it."""
    done = [cell for cell in state.cells if cell.status == "done"]
    trained = [cell for cell in done if cell.kind == "trained"]
    series = list(dict.fromkeys(str(cell.about.get("series") or "") for cell in trained if not cell.about.get("background")))
    base = [(cell, name) for cell in done if cell.kind == "base" for name in series]
    named = [*base, *((cell, str(cell.about.get("series") or "")) for cell in trained)]
    return [point for cell, name in named for point in _points(cell, name)]


def _points(cell: CellState, series: str) -> list[Point]:
    doses = dict.fromkeys(AXES) | {AXIS: float(cell.about.get("dose") or 0)}
    return [
        Point(cell.label, of, "", doses, _interval(told["old"]), _interval(told["new"]), series)
        for of, told in cell.figures.items()
        if told["new"]["share"] is not None
    ]


def _interval(of: Mapping[str, Any]) -> Interval:
    return Interval(of["share"], of["low"], of["high"], of["probes"], of["probes"], of["probes"])


def curves_html(lang: str, state: State | None) -> str:
    """A figure for every few series, to be saved as PNG or SVG; a sentence while there are not two doses to join."""
    if state is None or not any(cell.kind == "trained" for cell in state.cells):
        return ""
    found = points_of(state)
    if AXIS not in curves.axes_with_data(found):
        return paragraph(say(lang, "xp_no_curve"), "mt-nothing")
    series = list(dict.fromkeys(point.series for point in found))
    parts = [series[at : at + TOGETHER] for at in range(0, len(series), TOGETHER)]
    shown = ""
    for number, part in enumerate(parts):
        lines = lines_of(lang, state, part[0]) if len(part) == 1 else {}
        shown += _figure(lang, [point for point in found if point.series in part], lines, number)
    return shown


def _figure(lang: str, found: Sequence[Point], lines: Mapping[str, Mapping[str, float]], number: int) -> str:
    of = lang[:2]
    title = f"{wording.say(of, 'heading_curves')}: {wording.say(of, f'axis_{AXIS}')}"
    name = f"experiment{number + 1 if number else ''}"
    buttons = "".join(
        f'<button type="button" data-save="{kind}" data-name="{name}">{kind.upper()}</button>' for kind in ("png", "svg")
    )
    drawn = curves.svg(curves.draw_dose_response(found, AXIS, lines, of))
    return (
        f'<figure class="mt-figure xp-figure"><figcaption><span>{escape(title)}</span>{buttons}</figcaption>'
        f'<div role="img" aria-label="{escape(title)}">{drawn}</div></figure>'
    )
