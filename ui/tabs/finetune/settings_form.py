"""The recipe's fields on the page, made from the settings' dataclass: a new setting appears by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from engine import formats
from tuning.train.settings import Settings, field_type
from ui.training import OWN
from ui.words import i18n

CHOSEN = ""  # of a switch that may be left to the program
SEEN, FOLDED = ("moments",), ("recipe", "lora", "speed", "files")
GROUPS = (*SEEN, *FOLDED)
ELSEWHERE = (*OWN, "seed", "init_adapter")  # the data's seed is the run's too; what it starts from is chosen beside the preset
SCIENTIFIC = ("learning_rate", "weight_decay")


def shown_fields() -> list[dataclasses.Field]:
    """The settings that the form shows, group by group."""
    known = [one for one in dataclasses.fields(Settings) if one.name not in ELSEWHERE]
    return sorted(known, key=lambda one: GROUPS.index(one.metadata["group"]))


def build_settings(groups: Sequence[str] = GROUPS) -> dict[str, gr.components.Component]:
    """One component per setting of these groups, two abreast."""
    made = {}
    for group in groups:
        gr.Markdown(i18n(f"group_{group}"), elem_classes="mt-group")
        with gr.Row(elem_classes="mt-settings"):
            for one in shown_fields():
                if one.metadata["group"] == group:
                    made[one.name] = build_component(one)
    return made


def build_component(one: dataclasses.Field) -> gr.components.Component:
    about = {"label": i18n(f"set_{one.name}"), "elem_id": f"set-{one.name.replace('_', '-')}", "min_width": 120}
    value = shown_value(one.name, one.default)
    if one.name == "prompt_template_name":
        choices = [(i18n("own_format"), ""), *((name, name) for name in formats.names())]
        return gr.Dropdown(choices, value="", filterable=False, **about)
    if "choices" in one.metadata:
        empty = i18n(one.metadata.get("empty", "chosen_for_you"))
        choices = [(choice or empty, choice) for choice in one.metadata["choices"]]
        return gr.Dropdown(choices, value=value, filterable=False, **about)
    if field_type(one.name) is bool and one.default is None:
        choices = [(i18n("chosen_for_you"), CHOSEN), (i18n("yes"), "True"), (i18n("no"), "False")]
        return gr.Dropdown(choices, value=value, filterable=False, **about)
    if field_type(one.name) is bool:
        return gr.Checkbox(value, **about)
    if field_type(one.name) is int:
        return gr.Number(value, precision=0, minimum=one.metadata.get("at_least"), **about)
    if field_type(one.name) is float and one.name not in SCIENTIFIC:
        return gr.Number(value, step=0.05, **about)
    return gr.Textbox(value, max_lines=1, **about)


def shown_value(name: str, value: Any) -> Any:
    """A setting's value as its component shows it."""
    if field_type(name) is bool:
        optional = next(one.default for one in dataclasses.fields(Settings) if one.name == name) is None
        return (CHOSEN if value is None else str(value)) if optional else bool(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(value)
    return f"{float(value):g}" if name in SCIENTIFIC else value


def values_of(given: Sequence[Any]) -> dict[str, Any]:
    """The components' values by name, as `Settings.from_dict` takes them; what was emptied takes its default."""
    found = {}
    for one, value in zip(shown_fields(), given, strict=True):
        empty = value is None or (value == "" and field_type(one.name) is not str)
        found[one.name] = one.default if empty else value
    return found


def fill_settings(components: Mapping[str, gr.components.Component], values: Mapping[str, Any]) -> dict:
    """Updates that show `values`, and the defaults for what they do not name."""
    return {
        components[one.name]: gr.update(value=shown_value(one.name, values.get(one.name, one.default))) for one in shown_fields()
    }
