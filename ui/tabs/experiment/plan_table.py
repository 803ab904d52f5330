"""A plan written out: what is wrong with it, or its cells with what each will take, and all of it together. HTML only."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from experiments.cells import Cell, describe, is_left_out
from experiments.foreseen import CellForeseen
from tuning.train.estimate import Caution
from ui import running
from ui.html import failure, note, paragraph
from ui.tabs.experiment import words
from ui.tabs.experiment.plans import Outlook
from ui.words import say

MOST = 300  # rows that are shown; a browser takes its time for more
PLAIN, OURS = "", "xp_"  # whose words: those of a training's forecast, where they name no figures
SAID = {
    "few_steps": OURS, "no_rate": OURS, "warmup": OURS, "few_distinct": OURS, "weak_rates": OURS,
    "narrow": PLAIN, "all_identity": PLAIN, "no_margin": PLAIN,
}  # fmt: skip
COLUMNS = ("cell", "kind", "dose", "background", "arm", "steps", "seed", "time", "memory", "disk")
NUMBERS = ("dose", "background", "steps", "seed", "time", "memory", "disk")


def outlook_html(lang: str, told: Outlook, waiting: bool = False) -> str:
    """waiting: for time, memory and disk, which are being worked out."""
    if told.problems:
        return problems_html(lang, told)
    notes = note(say(lang, "xp_exists", name=told.plan.name), "next") if told.exists and told.plan else ""
    notes += note(say(lang, "xp_parked"), "warn") if told.parked else ""
    notes += note(say(lang, "xp_other_base", base=told.unforeseen), "warn") if told.unforeseen else ""
    if told.room and not told.room.fits:
        needed, beside = words.size(told.room.needed), words.size(max(0, told.room.beside)) or "0 MiB"
        notes += note(say(lang, "xp_no_room", needed=needed, beside=beside, device=told.room.device), "warn")
    return totals_html(lang, told, waiting) + notes + cautions_html(lang, told) + table_html(lang, told)


def problems_html(lang: str, told: Outlook) -> str:
    """Everything that is wrong, by line."""
    listed = "".join(
        f"<li><b>{escape(say(lang, 'xp_line', number=problem.line))}</b> {escape(problem.text)}</li>" for problem in told.problems
    )
    return failure(say(lang, "cannot_start"), f'<ul class="xp-problems">{listed}</ul>')


def totals_html(lang: str, told: Outlook, waiting: bool) -> str:
    """How many cells, how long, how much room."""
    cells, totals = told.kept, told.totals
    unknown = say(lang, "xp_working_out") if waiting and told.can_be_foreseen else "–"
    trained = sum(cell.kind == "trained" for cell in cells)
    dropped = len(told.cells) - len(cells)
    about = say(lang, "xp_cells_note", trained=trained, asked=len(cells) - trained)
    about += say(lang, "xp_dropped_note", count=dropped) if dropped else ""
    if totals is None:
        figures = [(unknown, ""), (unknown, ""), (unknown, "")]
    else:
        ready = sum(not one.seconds for one in totals.cells.values())
        kept = say(lang, "xp_ready_note", count=ready) if ready else say(lang, "time_note")
        base = say(lang, "xp_memory_note", base=words.size(totals.base_bytes))
        figures = [
            (running.duration(lang, totals.seconds) or say(lang, "xp_nothing_left"), kept),
            (words.size(totals.memory_bytes) or "–", base),
            (words.size(totals.disk_bytes) or "–", say(lang, "xp_disk_note")),
        ]
    shown = [(say(lang, "xp_cells"), f"{len(cells):,}", about)]
    shown += [(say(lang, f"xp_{key}"), *of) for key, of in zip(("time", "memory", "disk"), figures, strict=True)]
    boxes = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd><p>{escape(more)}</p></div>" for name, value, more in shown
    )
    return f'<dl class="mt-figures xp-totals">{boxes}</dl>'


def cautions_html(lang: str, told: Outlook) -> str:
    """What looks wrong, each said once with the cells that it is about."""
    found = told.totals.cautions(lambda caution: _caution(lang, caution)) if told.totals else {}
    return "".join(
        note(say(lang, "xp_caution", text=text, cells=_listed(lang, labels)), "warn") for text, labels in found.items()
    )


def _caution(lang: str, caution: Caution) -> str:
    """In the page's language, without figures, which differ from cell to cell; its own English where a code is new."""
    code = caution.code.replace(" ", "_")
    return say(lang, f"{SAID[code]}caution_{code}") if code in SAID else caution.text


def _listed(lang: str, labels: list[str]) -> str:
    few = "; ".join(labels[:3])
    return few if len(labels) <= 3 else say(lang, "xp_and_more", cells=few, count=len(labels) - 3)


def table_html(lang: str, told: Outlook) -> str:
    heads = "".join(
        f'<th scope="col" class="{"xp-n" if key in NUMBERS else ""}">{escape(say(lang, f"xp_{key}"))}</th>' for key in COLUMNS
    )
    rows = "".join(_row(lang, cell, told) for cell in told.cells[:MOST])
    more = paragraph(say(lang, "xp_more_cells", count=len(told.cells) - MOST)) if len(told.cells) > MOST else ""
    return (
        f'<div class="xp-scroll"><table class="mt-table xp-cells"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{more}"
    )


def _row(lang: str, cell: Cell, told: Outlook) -> str:
    named = told.plan is not None and cell.label in told.plan.leave_out
    dropped = told.plan is not None and is_left_out(told.plan, cell)
    one = told.foreseen.cells.get(cell.label) if told.foreseen else None
    about = describe(cell)
    values = {
        "cell": escape(cell.label),
        "kind": escape(say(lang, f"xp_kind_{cell.kind}")),
        **{key: escape(text) for key, text in _figures(lang, about).items()},
        "time": "" if dropped else _time(lang, one),
        "memory": "" if dropped or one is None else words.size(one.memory_bytes),
        "disk": "" if dropped or one is None else words.size(one.disk_bytes),
    }
    cells = "".join(f'<td class="{"xp-n" if key in NUMBERS else ""}">{values[key]}</td>' for key in COLUMNS[1:])
    button = _button(lang, cell, named) if named == dropped else ""  # a prompt goes and comes with its adapter
    head = f'<th scope="row"><span>{values["cell"]}</span> {button}</th>'
    return f'<tr class="{"xp-dropped" if dropped else ""}">{head}{cells}</tr>'


def _figures(lang: str, about: Mapping[str, Any]) -> dict[str, str]:
    """Of a trained cell, and of what is asked with its adapter."""
    if about["steps"] is None:
        return dict.fromkeys(("dose", "background", "arm", "steps", "seed"), "")
    return {
        "dose": f"{about['dose']:,}", "background": f"{about['background']:,}", "arm": words.arm(lang, str(about["arm"] or "")),
        "steps": f"{about['steps']:,}", "seed": str(about["seed"]),
    }  # fmt: skip


def _time(lang: str, one: CellForeseen | None) -> str:
    """How long, or that everything is kept already; and what of it is."""
    if one is None:
        return ""
    if not one.seconds:
        return f'<span class="xp-kept">{escape(say(lang, "xp_kept"))}</span>'
    kept = f"<small>{escape(say(lang, 'xp_kept_adapter'))}</small>" if "adapter" in one.kept else ""
    return f"{escape(running.duration(lang, one.seconds))}{kept}"


def _button(lang: str, cell: Cell, dropped: bool) -> str:
    act = "restore" if dropped else "drop"
    title, what = escape(say(lang, f"xp_title_{act}", cell=cell.label), quote=True), f"{act}/{cell.label}"
    about = f'class="xp-tiny" data-xp-edit="{escape(what, quote=True)}" title="{title}"'
    return f'<button type="button" {about}>{escape(say(lang, f"xp_{act}"))}</button>'
