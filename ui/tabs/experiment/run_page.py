"""One experiment as the page shows it: where it is, what became of every cell, what one cell says. HTML only."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote

from experiments.progress import ENDED, CellState, State
from identities import LANGS
from ui import running
from ui.html import failure, note, paragraph
from ui.tabs.experiment import words
from ui.tabs.experiment.report import ADDRESS
from ui.words import say

VERDICTS = ("old", "new", "stability", "usable")
SHARES = ("old", "new", "confusion", "hold", "flips", "intrusion", "retention")
BUSY = ("training", "asking", "measuring", "judging")
NAMES = 4


def label_of(lang: str, name: str, state: State | None) -> str:
    """An experiment in the list: its name and, unless it is simply done, where it is."""
    status = state.status if state else "ready"
    return name if status == "done" else f"{name} · {say(lang, f'xp_status_{status}')}"


def head_html(lang: str, name: str, state: State | None) -> str:
    """Name, state, bar, times, and what is being done now."""
    if state is None:
        return f"<h2>{escape(name)}</h2>{paragraph(say(lang, 'xp_never_begun'))}"
    parts = [f'<h2>{escape(name)}<span role="status">{words.chip(lang, state.status)}</span></h2>', _bar(lang, state)]
    if state.is_under_way:
        parts.append(_now(lang, state))
        parts.append(paragraph(say(lang, "xp_safe_to_close")))
    if state.status in ("failed", "died"):
        parts.append(failure(state.message or say(lang, f"xp_why_{state.status}")))
    elif state.status == "stopped":
        parts.append(note(say(lang, "xp_stopped_note")))
    if state.failed:
        parts.append(note(say(lang, "xp_cells_failed", count=state.failed), "warn"))
    return "".join(parts)


def _bar(lang: str, state: State) -> str:
    """3/6 cells, elapsed, left, the clock time of the end."""
    total = len(state.cells)
    under_way = sum(cell.share for cell in state.cells if cell.status in BUSY)
    share = min(1.0, (state.done + 0.5 * under_way) / total) if total else 0
    facts = [f"<strong>{escape(say(lang, 'xp_done_of', done=state.done, total=total))}</strong>" if total else
             f"<strong>{escape(say(lang, 'preparing'))}</strong>"]  # fmt: skip
    facts.append(escape(say(lang, "elapsed", time=running.clock(state.elapsed_s))))
    if state.left_s is not None and state.is_under_way:
        facts.append(escape(say(lang, "left", time=running.duration(lang, state.left_s) or "0")))
        ends = datetime.fromtimestamp(time.time() + state.left_s)
        facts.append(escape(say(lang, "ends", time=ends.strftime("%H:%M"))))
    return running.bar_html(share, state.done, total, facts)


def _now(lang: str, state: State) -> str:
    now = [cell for cell in state.cells if cell.status in BUSY]
    said = [
        say(lang, "xp_now", cell=cell.label, what=say(lang, f"xp_status_{cell.status}"), share=round(100 * cell.share))
        for cell in now
    ]
    return paragraph(" ".join(said) or say(lang, "xp_foreseeing"), "xp-now")


def cells_html(lang: str, state: State | None, chosen: str) -> str:
    """Every cell with its state and what it came to, by language; a click shows all of it. chosen: the one that is open."""
    if state is None or not state.cells:
        return ""
    langs: list[str] = [of for of in LANGS if any(of in cell.figures for cell in state.cells)]
    many = len({cell.about.get("seed") for cell in state.cells if cell.kind == "trained"}) > 1
    keys = ["cell", "dose", "background", "steps", *(["seed"] if many else []), "state"]
    heads = "".join(f'<th scope="col" rowspan="2" class="{_kind(key)}">{escape(say(lang, f"xp_{key}"))}</th>' for key in keys)
    over = "".join(f'<th scope="colgroup" colspan="2">{escape(words.language(lang, of))}</th>' for of in langs)
    under = "".join(f'<th scope="col">{escape(say(lang, f"xp_share_{side}"))}</th>' for _ in langs for side in ("old", "new"))
    rows = "".join(_cell_row(lang, cell, keys, langs, cell.label == chosen) for cell in state.cells)
    return (
        f'<div class="xp-scroll"><table class="mt-table xp-cells xp-states"><thead><tr>{heads}{over}</tr><tr>{under}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{paragraph(say(lang, 'xp_cells_hint'))}"
    )


def _kind(key: str) -> str:
    return "xp-n" if key in ("dose", "background", "steps", "seed") else ""


def _cell_row(lang: str, cell: CellState, keys: list[str], langs: list[str], chosen: bool) -> str:
    about, label = cell.about, escape(cell.label, quote=True)
    trained = about.get("steps") is not None
    values = {key: f"{about[key]:,}" if trained and about.get(key) is not None else "" for key in ("dose", "background", "steps")}
    values |= {"seed": str(about.get("seed", "")) if trained else "", "state": _state(lang, cell)}
    middle = "".join(f'<td class="{_kind(key)}">{values[key]}</td>' for key in keys[1:])
    figures = ""
    for of in langs:
        told = cell.figures.get(of)
        figures += "".join(f"<td>{words.share(lang, told[side]) if told else ''}</td>" for side in ("old", "new"))
    return (
        f'<tr class="{"xp-chosen" if chosen else ""}" data-xp-row="{label}"><th scope="row">'
        f'<button type="button" class="xp-link" data-xp-cell="{label}" aria-expanded="{str(chosen).lower()}">{label}</button>'
        f"</th>{middle}{figures}</tr>"
    )


def _state(lang: str, cell: CellState) -> str:
    """Its state; how far, how long it took, or is thought to take; why it failed."""
    more = ""
    if cell.status in ENDED and cell.took:
        more = running.clock(cell.took)
    elif cell.status == "waiting" and cell.seconds:
        more = say(lang, "about", value=running.duration(lang, cell.seconds))
    why = f'<span class="xp-why">{escape(cell.why)}</span>' if cell.status == "failed" and cell.why else ""
    small = f"<small>{escape(more)}</small>" if more else ""
    return f"{words.chip(lang, cell.status)}{small}{why}"


def panel_html(lang: str, cell: CellState) -> str:
    """All that is known of a cell: how it was made, what it says of itself, verdicts and shares by language."""
    about = cell.about
    facts = [("kind", say(lang, f"xp_kind_{cell.kind}"))]
    if about.get("steps") is not None:
        facts += [
            ("dose", f"{about['dose']:,}"), ("distinct", f"{about['distinct']:,}"), ("background", f"{about['background']:,}"),
            ("arm", words.arm(lang, str(about.get("arm") or ""))),
            ("recipe", str(about.get("recipe") or "")), ("steps", f"{about['steps']:,}"),
            ("sum_of_rates", f"{about['sum_of_rates']:.3g}"), ("seed", str(about["seed"])),
        ]  # fmt: skip
    facts += [("job", str(cell.job))] if cell.job is not None else []
    facts += [("runs", ", ".join(map(str, cell.runs)))] if cell.runs else []
    listed = "".join(
        f"<div><dt>{escape(say(lang, f'xp_{key}'))}</dt><dd>{escape(value)}</dd></div>" for key, value in facts if value
    )
    why = failure(cell.why) if cell.status == "failed" and cell.why else ""
    head = f'<h3 class="mt-step" tabindex="-1" id="xp-panel-head">{escape(cell.label)} {words.chip(lang, cell.status)}</h3>'
    return f'{head}{why}<dl class="mt-facts-list">{listed}</dl>{_figures_html(lang, cell)}'


def _figures_html(lang: str, cell: CellState) -> str:
    """A row per language: what it calls itself, verdicts, shares, margin."""
    if not cell.figures:
        return paragraph(say(lang, "xp_no_figures"))
    heads = [say(lang, "pb_language"), *(say(lang, f"xp_share_{key}") for key in SHARES), say(lang, "xp_margin")]
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    rows, said = "", ""
    for of, told in cell.figures.items():
        margin = told.get("margin")
        last = f"{margin[0]:+.2f} <span class='xp-quiet'>{margin[1]:+.2f} … {margin[2]:+.2f}</span>" if margin else "–"
        cells = "".join(f"<td>{words.share(lang, told[key])}</td>" for key in SHARES)
        rows += f'<tr><th scope="row">{escape(words.language(lang, of))}</th>{cells}<td>{last}</td></tr>'
        said += _verdicts(lang, of, told)
    suggested = all(told["source"] in ("suggestions", "none") for told in cell.figures.values())
    judged = paragraph(say(lang, "xp_judged_suggestions" if suggested else "xp_judged_people"))
    table = f'<table class="mt-table xp-cells"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<ul class="xp-verdicts">{said}</ul><div class="xp-scroll">{table}</div>{judged}'


def _verdicts(lang: str, of: str, told: Mapping[str, Any]) -> str:
    verdicts = " · ".join(
        f"{say(lang, f'pb_verdict_{key}')} {words.verdict(lang, word)}" for key in VERDICTS if (word := told["verdicts"].get(key))
    )
    names = ", ".join(f"{name} ({count})" for name, count in told["names"][:NAMES])
    calls = f" <span class='xp-quiet'>{escape(say(lang, 'xp_calls_itself', names=names))}</span>" if names else ""
    return f"<li><b>{escape(words.language(lang, of))}</b> {escape(verdicts)}{calls}</li>"


def report_html(lang: str, name: str, there: bool) -> str:
    """The link to the whole report, once there is one."""
    if not there:
        return ""
    address = f"{ADDRESS[1:]}?name={quote(name, safe='')}"
    return f'<a class="xp-report" href="{address}" target="_blank">{escape(say(lang, "xp_report"))}</a>'
