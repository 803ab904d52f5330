"""Curves of forgetting and forming against the dose, and of the margin, for screen and print.

Colours are Okabe and Ito's, told apart by colour-blind people; markers and line styles carry the same difference in black and
white. Figures are made without pyplot: no window, no global state, any thread.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from identities import LANGS
from probes.answers.dose import AXES, KINDS, MIXED
from probes.report.table import TableRow
from probes.report.wording import language, say, term
from probes.verdicts.rules import FORMED, GONE, HOLDS, NOT_FORGOTTEN
from probes.verdicts.statistics import Interval

if TYPE_CHECKING:  # a program that draws nothing does without it: it takes a second
    from matplotlib.figure import Figure

OLD, NEW, GREY = "#0072B2", "#D55E00", "#555555"  # Okabe & Ito 2008: blue, vermilion
MORE = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = {"singular": "s", "diverse": "o", "mixed": "^", "": "D"}
LINES = {"singular": "--", "diverse": "-", "mixed": ":", "": "-."}
CJK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC", "Microsoft YaHei", "SimHei",
    "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Noto Serif CJK SC", "Arial Unicode MS",
)  # fmt: skip
DPI = 200
MARKED = 12  # a line with more points shows no marker at each
HEIGHT, LEGEND_ROW = 3.9, 0.22  # inches of a figure with two rows in its legend, and of each row more
LEGEND_LINE, LEGEND_LETTER = 0.85, 0.08  # inches of a legend's entry: its line with what is around it, and a letter at most
TOO_NEAR = 1.5  # two doses closer than this factor share a tick, or their numbers would overlap


@dataclass(frozen=True)
class Point:
    """One variant in one language at its doses; `old` and `new`: the shares that speak as either identity.

    series: what a line is drawn through, under its name; "" for all of its kind."""

    variant: str
    lang: str
    kind: str
    doses: Mapping[str, float | None]
    old: Interval
    new: Interval
    series: str = ""


def dose_points(table: Sequence[TableRow]) -> list[Point]:
    """Those rows of the table whose dose is known on some axis and that have answers."""
    found = []
    for row in table:
        doses = {axis: row.dose.at(axis) for axis in AXES}
        # Identity rows alone are no share of anything: all of them would stand at 100 %.
        doses["share"] = None if doses["share"] is None or row.dose.kind != MIXED else 100 * doses["share"]
        shares = row.result.shares
        if any(value is not None for value in doses.values()) and shares[FORMED].share is not None:
            found.append(Point(row.result.variant, row.result.lang, row.dose.kind, doses, shares[NOT_FORGOTTEN], shares[FORMED]))
    return found


def axes_with_data(found: Sequence[Point]) -> list[str]:
    """The axes on which at least two doses differ."""
    return [axis for axis in AXES if len({p.doses[axis] for p in found if p.doses[axis] is not None}) > 1]


def draw_dose_response(
    found: Sequence[Point], axis: str, thresholds: Mapping[str, Mapping[str, float]] | None = None, lang: str = "en"
) -> Figure:
    """A panel per language. thresholds: language -> name -> dose, drawn as vertical lines (percent on the axis `share`).
    lang: of the words around it."""
    langs = sorted({point.lang for point in found}, key=lambda of: (of not in LANGS, of)) or ["en"]
    groups = _groups(found)
    with _style():
        figure = _figure(figsize=(5.2 * len(langs), HEIGHT), layout="constrained")
        panels = figure.subplots(1, len(langs), sharey=True, squeeze=False)[0]
        for panel, of in zip(panels, langs, strict=True):
            here = [(at, point) for point in found if point.lang == of and (at := point.doses[axis]) is not None]
            _panel(panel, here, groups, axis, (thresholds or {}).get(of, {}), lang)
            panel.set_title(language(lang, of))
        panels[0].set_ylabel(say(lang, "axis_answers"))
        handles = {label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
        if handles:
            columns = legend_columns(handles, figure.get_figwidth())
            figure.set_figheight(HEIGHT + LEGEND_ROW * max(0, math.ceil(len(handles) / columns) - 2))
            figure.legend(
                handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, handlelength=3.5
            )
    return figure


def draw_margins(series: Mapping[str, Sequence[tuple[float, float, float, float]]], lang: str = "en") -> Figure:
    """The identity margin: name -> (step, mean, low, high). Above zero the new identity is the likelier one."""
    with _style():
        figure = _figure(figsize=(6.4, 3.9), layout="constrained")
        panel = figure.subplots()
        for number, (name, values) in enumerate(series.items()):
            xs, means, lows, highs = zip(*values, strict=True)
            colour, mark, line = _look(number)
            few = mark if len(xs) <= MARKED else None
            panel.plot(xs, means, color=colour, marker=few, linestyle=line, label=name)
            panel.fill_between(xs, lows, highs, color=colour, alpha=0.15, linewidth=0)
        panel.axhline(0, color=GREY, linewidth=1)
        panel.locator_params(axis="x", integer=True)  # there is no half step
        panel.set_xlabel(say(lang, "axis_steps"))
        panel.set_ylabel(say(lang, "axis_margin"))
        if series:
            panel.legend(frameon=False)
    return figure


def draw_margins_by_variant(found: Mapping[str, Mapping[str, tuple[float, float, float]]], lang: str = "en") -> Figure:
    """variant -> language -> (mean, low, high): a row per variant, a mark per language."""
    langs = sorted({of for by_lang in found.values() for of in by_lang}, key=lambda of: (of not in LANGS, of))
    with _style():
        figure = _figure(figsize=(6.8, 1.5 + 0.42 * len(found)), layout="constrained")
        panel = figure.subplots()
        for number, of in enumerate(langs):
            colour, mark, _ = _look(number)
            aside = 0.12 * (number - (len(langs) - 1) / 2)
            rows = [(at + aside, *by_lang[of]) for at, by_lang in enumerate(found.values()) if of in by_lang]
            ys, means, lows, highs = zip(*rows, strict=True)
            reach = [[m - low for m, low in zip(means, lows, strict=True)], [h - m for m, h in zip(means, highs, strict=True)]]
            panel.errorbar(
                means, ys, xerr=reach, color=colour, marker=mark, linestyle="none", capsize=3, elinewidth=0.9,
                markerfacecolor="white" if number % 2 else colour, label=language(lang, of),
            )  # fmt: skip
        panel.axvline(0, color=GREY, linewidth=1)
        panel.set_yticks(range(len(found)), list(found))
        panel.invert_yaxis()
        panel.set_xlabel(say(lang, "axis_margin"))
        panel.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def svg(figure: Figure) -> str:
    """The figure as an <svg> element to stand inside a page, its letters as shapes: it looks the same without our fonts."""
    out = io.StringIO()
    with _style():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def save(figure: Figure, stem: str | Path) -> list[Path]:
    """`stem`.png and `stem`.svg."""
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, vector = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.svg")
    with _style():
        figure.savefig(png, dpi=DPI, metadata={"Software": None})
        figure.savefig(vector, metadata={"Date": None, "Creator": None})
    return [png, vector]


def fonts() -> list[str]:
    """What letters are drawn with: a font with Chinese if the machine has one, behind matplotlib's own."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in CJK_FONTS if name in installed)]


def format_dose(dose: float) -> str:
    """ "4.5", "316", "7,349"."""
    return f"{dose:,.0f}" if dose >= 99.5 else f"{dose:.3g}"


def legend_columns(labels: Iterable[str], inches: float) -> int:
    """As many, up to three, as the figure is wide enough for (a wider legend is cut off at its ends), and such that the two lines
    of a group stand in one column."""
    labels = list(labels)
    widest = max(sum(2 if ord(char) > 0x2E7F else 1 for char in label) for label in labels)
    fit = min(3, int(inches / (LEGEND_LINE + LEGEND_LETTER * widest)))
    if len(labels) <= 2:
        return max(1, min(fit, len(labels)))
    return max((columns for columns in range(2, fit + 1) if len(labels) % (2 * columns) == 0), default=1)


def _look(number: int) -> tuple[str, str, str]:
    """Colour, marker and line of the n-th series."""
    colours, marks, lines = (NEW, OLD, *MORE), list(MARKERS.values()), list(LINES.values())
    return colours[number % len(colours)], marks[number % len(marks)], lines[number % len(lines)]


def _groups(found: Sequence[Point]) -> dict[str, tuple[str, str]]:
    """What lines are drawn through, kinds or series, with marker and line style."""
    kinds = {point.kind for point in found if not point.series}
    series = dict.fromkeys(point.series for point in found if point.series)
    known = {kind: (MARKERS[kind], LINES[kind]) for kind in ("", *KINDS) if kind in kinds}
    return known | {name: _look(number)[1:] for number, name in enumerate(series)}


def _panel(
    panel, here: Sequence[tuple[float, Point]], groups: Mapping[str, tuple[str, str]], axis: str,
    thresholds: Mapping[str, float], lang: str,
) -> None:  # fmt: skip
    doses = sorted({dose for dose, _ in here})
    least = min((dose for dose in doses if dose > 0), default=1.0)
    speakers = ((say(lang, "line_old"), OLD, "old"), (say(lang, "line_new"), NEW, "new"))
    shown = [group for group in groups if any(group == (point.series or point.kind) for _, point in here)]
    lines = [(group, *speaker) for group in shown for speaker in speakers]
    for number, (group, name, colour, take) in enumerate(lines):
        line = [(dose, getattr(point, take)) for dose, point in here if group == (point.series or point.kind)]
        # Side by side rather than on top of each other: a few percent on a logarithmic axis.
        aside = 1.02 ** (number - (len(lines) - 1) / 2)
        line = sorted(((dose * aside if dose else least * (aside - 1), of) for dose, of in line), key=lambda at: at[0])
        label = say(lang, "line_kind", line=name, kind=term(lang, group)) if group else name
        _line(panel, line, colour, groups[group], label)
    for level in (GONE, HOLDS):
        panel.axhline(level, color=GREY, linewidth=0.7, linestyle=(0, (1, 3)))
    for name, dose in thresholds.items():
        panel.axvline(dose, color=GREY, linewidth=0.8, linestyle=(0, (6, 2)))
        panel.annotate(
            f"{name}: {format_dose(dose)}", (dose, 1.03), rotation=90, fontsize=7.5, color=GREY, va="top", ha="right",
            bbox=dict(facecolor="white", edgecolor="none", pad=0.8, alpha=0.85),
        )  # fmt: skip
    panel.set_ylim(-0.04, 1.04)
    panel.set_xlabel(say(lang, f"axis_{axis}"))
    if doses and doses[-1] > 0:
        # Logarithmic, but with a place for no training at all.
        panel.set_xscale("symlog", linthresh=least, linscale=0.3) if doses[0] == 0 else panel.set_xscale("log")
        panel.set_xlim(-0.3 * least if doses[0] == 0 else least / 1.3, doses[-1] * 1.3)
        ticks = [
            dose for dose, after in zip(doses, [*doses[1:], float("inf")], strict=True) if after > TOO_NEAR * dose or dose == 0
        ]
        panel.set_xticks(ticks, [format_dose(dose) for dose in ticks], fontsize=8)
        panel.minorticks_off()


def _line(panel, line: Sequence[tuple[float, Interval]], colour: str, look: tuple[str, str], label: str) -> None:
    drawn = [(dose, of.share, of.low, of.high) for dose, of in line if of.share is not None]
    xs, shares = [dose for dose, *_ in drawn], [share for _, share, *_ in drawn]
    reach = [[share - low for _, share, low, _ in drawn], [high - share for _, share, _, high in drawn]]
    mark, style = look
    marker = dict(marker=mark, markersize=6, markerfacecolor=colour if colour == NEW else "white")
    panel.errorbar(xs, shares, yerr=reach, color=colour, linestyle="none", elinewidth=0.9, capsize=3, **marker)
    # Of several runs at one dose, seeds say, every one is drawn, and the line goes through their mean.
    means = {x: sum(share for at, share in zip(xs, shares, strict=True) if at == x) / xs.count(x) for x in xs}
    panel.plot(means.keys(), means.values(), color=colour, linestyle=style, linewidth=1.6, zorder=1)
    panel.plot([], [], color=colour, linestyle=style, linewidth=1.6, label=label, **marker)


def _figure(**size) -> Figure:
    from matplotlib.figure import Figure

    return Figure(**size)


def _style():
    import matplotlib

    return matplotlib.rc_context(
        {
            "font.family": fonts(),
            "svg.fonttype": "path",
            "svg.hashsalt": "mirror-test",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.unicode_minus": False,
            "figure.facecolor": "white",
        }
    )
