"""Adapters as the page lists them: the table, and one adapter's card. HTML only."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from common.outside import display_name
from ui import adapter_library
from ui.context import App
from ui.html import note, table
from ui.words import say

COLUMNS = ("adapter", "identity", "card_rows", "card_steps", "card_loss", "format", "size", "state")


def table_html(app: App, lang: str) -> str:
    """Loaded adapters, those that rest on the shelves, and below them what was refused, each with its sentence."""
    listed = adapter_library.list_adapters(app)
    loaded = [adapter for adapter in listed if not adapter["problem"]]
    rows = [
        row_html(lang, one["name"], one["card"] or {}, one["format"], one["size"], True, one["card_problem"]) for one in loaded
    ]
    for folder in adapter_library.unloaded_folders(app):
        card, wrong = adapter_library.card_of(folder)
        size = adapter_library.weights_size(folder)
        rows.append(row_html(lang, display_name(folder.name), card, card.get("format"), size, False, wrong))
    if rows:
        body = table((say(lang, name) for name in COLUMNS), rows, "mt-shelf")
    else:
        places = ", ".join(f"<code>{escape(str(place))}</code>" for place in app.adapters)
        body = f'<p class="mt-nothing">{escape(say(lang, "no_adapters"))} {places}</p>'
    refused = "".join(
        f"<li><code>{escape(adapter['folder'])}</code><br>{escape(adapter['problem'])}</li>"
        for adapter in listed
        if adapter["problem"]
    )
    if refused:
        body += f'<h3>{escape(say(lang, "refused"))}</h3><ul class="mt-refused">{refused}</ul>'
    return body


def row_html(lang: str, name: str, card: Mapping, form: str | None, size: int, loaded: bool, wrong: str = "") -> str:
    """wrong: what is wrong with the card."""
    cells = [
        card.get("identity") or "",
        rows_words(lang, card),
        f"{card['steps']:,}" if isinstance(card.get("steps"), int) else "",
        losses_words(lang, card),
        form or say(lang, "not_recorded"),
        megabytes(size),
        say(lang, "is_loaded" if loaded else "is_unloaded"),
    ]
    said = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    mark = f' <span class="mt-cut" title="{escape(wrong)}">{escape(say(lang, "card_odd"))}</span>' if wrong else ""
    return f"<tr{'' if loaded else ' class=mt-unloaded'}><th>{escape(name)}{mark}</th>{said}</tr>"


def rows_words(lang: str, card: Mapping) -> str:
    """N of the identity, and beside it the whole."""
    data = card.get("data") or {}
    if not isinstance(data.get("rows"), int):
        return ""
    if not data.get("identity_rows"):
        return f"{data['rows']:,}"
    return say(lang, "card_rows_of", identity=f"{data['identity_rows']:,}", all=f"{data['rows']:,}")


def losses_words(lang: str, card: Mapping) -> str:
    losses = card.get("losses") or {}
    known = [losses[name] for name in ("first", "last") if losses.get(name) is not None]
    said = " → ".join(f"{loss:.2f}" for loss in known)
    checks = [loss for _, loss in losses.get("validation") or () if loss is not None]
    return f"{said} ({say(lang, 'curve_valid')} {checks[-1]:.2f})" if said and checks else said


def card_html(app: App, lang: str, name: str) -> str:
    """All that is known of one adapter. Raises EngineError if it is gone."""
    folder = adapter_library.folder_of(app, name)
    info = app.engine.adapters.get(name)
    card, wrong = adapter_library.card_of(folder)
    data, losses = card.get("data") or {}, card.get("losses") or {}
    asked = card.get("arguments") or {}
    known = [
        ("identity", card.get("identity")),
        ("base", card.get("base") or (info.base if info else None)),
        ("format", card.get("format")),
        ("card_rows", rows_words(lang, card)),
        ("distinct_rows", data.get("distinct")),
        ("card_steps", card.get("steps")),
        ("exposures", card.get("exposures")),
        ("latest_rate", asked.get("learning_rate")),
        ("card_loss", losses_words(lang, card)),
        ("lowest_loss", None if losses.get("lowest") is None else f"{losses['lowest']:.3f}"),
        ("rank", info.rank if info else asked.get("lora_r")),
        ("targets", ", ".join(info.targets) if info else None),
        ("parameters", f"{info.parameters:,}" if info else None),
        ("size", megabytes(adapter_library.weights_size(folder))),
        ("seed", None if card.get("seed") is None else str(card["seed"])),
        ("created", (card.get("created") or "").replace("T", " ")[:16]),
        ("data_source", data.get("source")),
        ("folder", display_name(folder)),
        ("fingerprint", info.hash if info else None),
    ]
    there = [
        (say(lang, key), f"{value:,}" if isinstance(value, int) else str(value))
        for key, value in known
        if value not in (None, "")
    ]
    said = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in there)
    missing = "" if card or wrong else note(say(lang, "no_card"))
    missing += note(wrong, "warn") if wrong else ""
    return f'<h2>{escape(name)}</h2>{missing}<dl class="mt-small mt-card">{said}</dl>'


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.0f} kB"
