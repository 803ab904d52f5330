"""The form of a new run: its plain values, and values as updates of its components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from identities import LANGS
from tuning.dataset.dataset_info import BY_HAND
from tuning.dataset.recipe import GENERAL, Dataset
from ui import training
from ui.context import App
from ui.tabs.finetune import offers, settings_form
from ui.tabs.finetune.layout import FIELDS, NO_GENERAL, OWN_FILE, PACKAGED, FineTune, Form
from ui.words import say

STEPS = ("who", "how_much", "recipe", "what_it_means", "start_it")


def plain_values(given: Sequence[Any]) -> dict[str, Any]:
    """The form's values as `training.read_form` takes them."""
    known, rest = dict(zip(FIELDS, given[: len(FIELDS)], strict=True)), given[len(FIELDS) :]
    columns: dict[str, str] = {}
    for ours, theirs in zip(BY_HAND, rest[: len(BY_HAND)], strict=True):
        if theirs:  # a column that was chosen twice is refused by what it is mapped to
            columns[theirs] = f"{columns[theirs]} and {ours}" if theirs in columns else ours
    own = (known["own"] or "").strip()
    general = {PACKAGED: str(GENERAL), OWN_FILE: (known["general_file"] or "").strip(), NO_GENERAL: ""}[known["general"]]
    return settings_form.values_of(rest[len(BY_HAND) :]) | {
        "identity": known["identity"] or "",
        "langs": known["langs"] or [],
        "old": known["old"] or "",
        "rows": known["rows"] or 0,
        "style": known["style"],
        "own": own,
        "own_columns": columns if own else {},
        "own_times": known["own_times"] or 1,
        "own_drop_statements": bool(known["own_drop_statements"]),
        "own_drop_personal": bool(known["own_drop_personal"]),
        "general": general,
        "general_share": known["share"] if general else 0.0,
        "clean": bool(known["clean"]),
        "seed": int(known["seed"] or 0),
        "preset": known["preset"],
        "init_adapter": known["init_adapter"] or "",
        "name": known["name"] or "",
    }


def fill_form(form: Form, values: Mapping[str, Any]) -> dict:
    """Updates that show a form's plain values."""
    general = values.get("general", str(GENERAL)) if values.get("general_share", 1) else ""
    packaged = bool(general) and Path(general) == GENERAL
    source = PACKAGED if packaged else OWN_FILE if general else NO_GENERAL
    chosen = {ours: theirs for theirs, ours in (values.get("own_columns") or {}).items()}
    return {
        form.identity: gr.update(value=values.get("identity")),
        form.own: gr.update(value=values.get("own", "")),
        form.own_times: gr.update(value=values.get("own_times", 1)),
        form.own_drop_statements: gr.update(value=values.get("own_drop_statements", False)),
        form.own_drop_personal: gr.update(value=values.get("own_drop_personal", False)),
        form.init_adapter: gr.update(value=values.get("init_adapter", "")),
        **{box: gr.update(value=chosen.get(name, "")) for name, box in form.columns.items()},
        form.langs: gr.update(value=list(values.get("langs", LANGS))),
        form.old: gr.update(value=values.get("old", "")),
        form.rows: gr.update(value=values.get("rows", Dataset.rows)),
        form.style: gr.update(value=values.get("style", Dataset.style)),
        form.general: gr.update(value=source),
        form.general_file: gr.update(value="" if packaged else general, visible=source == OWN_FILE),
        form.share: gr.update(value=values.get("general_share") or Dataset.general_share, visible=source != NO_GENERAL),
        form.clean: gr.update(value=values.get("clean", True), visible=source == OWN_FILE),
        form.seed: gr.update(value=values.get("seed", Dataset.seed)),
        form.name: gr.update(value=""),
    } | settings_form.fill_settings(form.settings, values)


def open_form(app: App, tab: FineTune, lang: str) -> dict:
    """A fresh form: what can be chosen, and who is taught first."""
    known = training.known_identities(app)
    base = app.engine.base
    old = base.card.name if base.card.placeholders and base.card.name in known else ""
    first = offers.taught_first(app, known, old)
    values = {"identity": first, "old": old} | training.recipe_values(app, training.PRESET)
    form = tab.form
    updates = fill_form(form, values) | {form.preset: gr.update(value=training.PRESET)} | show_who(form, lang, known, first, old)
    updates[form.init_adapter] = gr.update(choices=offers.start_choices(app, lang), value="")
    headings = {
        html: f'<h3 class="mt-step"><b>{number}</b>{escape(say(lang, f"step_{key}", base=base.name))}</h3>'
        for html, number, key in zip(tab.headings, range(1, 6), STEPS, strict=True)
    }
    return updates | headings | {form.copy: offers.copy_choices(app, lang)}


def offer_identities(app: App, tab: FineTune, request: gr.Request, identity: str | None, old: str) -> dict:
    """After a visit to another tab: who can be taught may have changed. Who was chosen stays, if that is still possible."""
    known = training.known_identities(app)
    chosen = identity if identity in ("", *known) else None
    return show_who(tab.form, app.language(request), known, chosen, old if old in known else "")


def show_who(form: Form, lang: str, known: Sequence[str], new: str | None, old: str) -> dict:
    names = [(name, name) for name in known]
    return {
        form.identity: gr.update(choices=[*names, (say(lang, "only_own"), "")], value=new),
        form.old: gr.update(choices=[(say(lang, "nobody"), ""), *names], value=old),
    }
