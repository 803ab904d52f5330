"""Curves of a run as SVG drawn here: no script, readable in both themes, described for who cannot see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tuning.jobs.progress import JobProgress, Series
from ui.html import paragraph
from ui.words import say

WIDTH, LEFT, RIGHT = 760, 46, 14
LOSS_HEIGHT, MARGIN_HEIGHT, RATE_HEIGHT, TOP, BOTTOM = 230, 150, 84, 10, 24


def curves_html(lang: str, told: JobProgress) -> str:
    """Loss, raw and smoothed, validation loss, learning rate; a sentence while there is nothing to draw."""
    values = [value for _, value in (*told.losses, *told.eval_losses) if value is not None]
    if not values:
        return paragraph(say(lang, "no_curve"), "mt-nothing")
    last = max(told.total, *(step for step, _ in told.losses), 1)
    parts = legend_html(lang, told) + loss_svg(lang, told, values, last)
    rates = [value for _, value in told.rates if value is not None]
    if told.margins:
        parts += margin_legend_html(lang, told) + margin_svg(lang, told, last)
    if rates:
        parts += rate_svg(lang, told, max(rates), last)
    return f'<figure class="mt-curves">{parts}</figure>'


def loss_svg(lang: str, told: JobProgress, values: Sequence[float], last: int) -> str:
    low, high, ticks = round_scale(min(0.0, *values), robust_top(values))
    x, y = scale_across(last), scale_down(low, high, LOSS_HEIGHT)
    grid = "".join(
        f'<line class="mt-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    )
    steps = "".join(
        f'<text x="{x(step):.1f}" y="{LOSS_HEIGHT - 6}" text-anchor="{"end" if step == last else "middle"}">{step}</text>'
        for step in step_ticks(last)
    )
    drawn = path_svg(told.losses, x, y, high, "mt-raw") + path_svg(told.smoothed, x, y, high, "mt-smooth")
    if told.eval_losses:
        drawn += path_svg(told.eval_losses, x, y, high, "mt-valid")
        drawn += "".join(
            f'<circle class="mt-valid" cx="{x(step):.1f}" cy="{y(min(value, high)):.1f}" r="3">'
            f"<title>{step}: {value:.3f}</title></circle>"
            for step, value in told.eval_losses
            if value is not None
        )
    first, latest = f"{values[0]:.2f}", f"{last_value(told.losses):.2f}"
    said = say(lang, "curve_words", first=first, last=latest, step=told.step, total=told.total)
    return svg(LOSS_HEIGHT, said, grid + steps + drawn)


def rate_svg(lang: str, told: JobProgress, top: float, last: int) -> str:
    x, y = scale_across(last), scale_down(0.0, top or 1.0, RATE_HEIGHT)
    base = f'<line class="mt-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
    marks = f'<text x="{LEFT - 7}" y="{y(top) + 8:.1f}" text-anchor="end">{top:.0e}</text>'.replace("e-0", "e-")
    marks += f'<text x="{LEFT}" y="{RATE_HEIGHT - 6}">{escape(say(lang, "curve_rate"))}</text>'
    said = say(lang, "rate_words", top=f"{top:.2g}")
    return svg(RATE_HEIGHT, said, base + marks + path_svg(told.rates, x, y, top, "mt-rate"))


def margin_svg(lang: str, told: JobProgress, last: int) -> str:
    """The identity margin of all questions, and of each language where both were asked; the line at 0 is what it has to cross."""
    by_lang = told.margins_by_lang if len(told.margins_by_lang) > 1 else {}
    values = [value for series in (told.margins, *by_lang.values()) for _, value in series if value is not None]
    low, high, ticks = round_scale(min(0.0, *values), max(0.0, *values))
    x, y = scale_across(last), scale_down(low, high, MARGIN_HEIGHT)
    grid = "".join(
        f'<line class="{"mt-grid" if tick else "mt-zero"}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" '
        f'y2="{y(tick):.1f}"/><text x="{LEFT - 7}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    )
    drawn = "".join(path_svg(series, x, y, high, f"mt-margin-{code}") for code, series in by_lang.items())
    drawn += path_svg(told.margins, x, y, high, "mt-margin")
    drawn += "".join(
        f'<circle class="mt-margin" cx="{x(step):.1f}" cy="{y(value):.1f}" r="2.5"><title>{step}: {value:+.2f}</title></circle>'
        for step, value in told.margins
        if value is not None
    )
    crossed = crossing_step(told.margins)
    said = {"first": f"{values[0]:+.2f}", "last": f"{last_value(told.margins):+.2f}"}
    words = say(lang, "margin_words", **said) if crossed is None else say(lang, "margin_crossed", step=crossed, **said)
    about = f'data-steps="{last}" data-left="{LEFT}" data-right="{WIDTH - RIGHT}" data-bottom="{MARGIN_HEIGHT - BOTTOM}"'
    return svg(MARGIN_HEIGHT, words, grid + drawn, about) + paragraph(words)


def margin_legend_html(lang: str, told: JobProgress) -> str:
    shown = [("mt-margin", "curve_margin")]
    if len(told.margins_by_lang) > 1:
        shown += [(f"mt-margin-{code}", f"curve_margin_{code}") for code in told.margins_by_lang]
    return legend(lang, shown)


def crossing_step(points: Series) -> int | None:
    """The first step after which the margin is above 0 to the end; None if it begins or ends on one side."""
    known = [(step, value) for step, value in points if value is not None]
    below = [at for at, (_, value) in enumerate(known) if value <= 0]
    if not below or below[-1] + 1 == len(known):
        return None
    return known[below[-1] + 1][0]


def svg(height: int, words: str, inside: str, about: str = "") -> str:
    """inside: SVG. about: further attributes, for the page's script."""
    return (
        f'<svg {about} viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(words)}" '
        f'preserveAspectRatio="xMidYMid meet">'
        f"<title>{escape(words)}</title>{inside}</svg>"
    )


def legend_html(lang: str, told: JobProgress) -> str:
    shown = [("mt-raw", "curve_raw"), ("mt-smooth", "curve_smooth")]
    shown += [("mt-valid", "curve_valid")] if told.eval_losses else []
    return legend(lang, shown)


def legend(lang: str, shown: Sequence[tuple[str, str]]) -> str:
    """shown: (the line's class, the key of its words)"""
    return '<figcaption class="mt-legend">{}</figcaption>'.format(
        "".join(
            f'<span><svg viewBox="0 0 26 8" aria-hidden="true"><path class="{kind}" d="M1 4H25"/></svg>'
            f"{escape(say(lang, key))}</span>"
            for kind, key in shown
        )
    )


def path_svg(points: Series, x, y, high: float, kind: str) -> str:
    """A line with a gap where a value is missing; what is above the scale runs along its top."""
    words, pen = [], "M"
    for step, value in points:
        if value is None:
            pen = "M"
            continue
        words.append(f"{pen}{x(step):.1f} {y(min(value, high)):.1f}")
        pen = "L"
    if len(words) == 1:
        words.append("h2")
    return f'<path class="{kind}" d="{"".join(words)}"/>' if words else ""


def scale_across(last: int):
    return lambda step: LEFT + (WIDTH - LEFT - RIGHT) * step / last


def scale_down(low: float, high: float, height: int):
    return lambda value: TOP + (height - TOP - BOTTOM) * (high - value) / ((high - low) or 1)


def robust_top(values: Sequence[float]) -> float:
    """The highest value, unless a few wild ones would flatten all the others."""
    ordered = sorted(values)
    usual = ordered[int(0.97 * (len(ordered) - 1))]
    return min(ordered[-1], 2 * usual) if usual > 0 else ordered[-1]


def round_scale(low: float, high: float, wanted: int = 4) -> tuple[float, float, list[float]]:
    """A round scale that holds both, and its ticks."""
    raw = max(high - low, 1e-6) / wanted
    unit = 10.0 ** math.floor(math.log10(raw))
    each = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
    first, count = math.floor(low / each), math.ceil(high / each)
    ticks = [round(number * each, 10) for number in range(first, count + 1)]
    return ticks[0], ticks[-1], ticks


def step_ticks(last: int) -> list[int]:
    _, _, ticks = round_scale(0, last, 6)
    kept = [int(tick) for tick in ticks if tick == int(tick) and tick < last * 0.94]
    return [*kept, last]


def last_value(points: Series) -> float:
    return next((value for _, value in reversed(points) if value is not None), 0.0)
