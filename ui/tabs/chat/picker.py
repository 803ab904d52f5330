"""One column's pickers: who answers there, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import gradio as gr

import identities
from common.errors import UserError
from engine import formats
from engine.types import MAX_STRENGTH
from identities.files import CHINESE
from ui import adapter_library
from ui.context import App
from ui.listeners import QUIET
from ui.variants import AS_RECORDED, NO_ADAPTER, NO_IDENTITY, VERSION, Picked, prompt_of
from ui.words import i18n, say


@dataclass(frozen=True)
class Picker:
    """The components of one column, in the order of `Picked`."""

    box: gr.Column
    components: dict[str, gr.components.Component]

    @property
    def inputs(self) -> list[gr.components.Component]:
        return [self.components[known.name] for known in fields(Picked)]


def build_picker(column: int) -> Picker:
    """Inside a Blocks: one picker; its choices come with the page's load event."""
    start, made = Picked(), {}
    with gr.Column(elem_classes="mt-pick", elem_id=f"pick-{column}") as box:
        made["adapter"] = gr.Dropdown(
            [(i18n("no_adapter"), NO_ADAPTER)], value=NO_ADAPTER, label=i18n("adapter"), filterable=False
        )
        made["strength"] = _dial(start.strength, i18n("strength"), visible=False)
        made["identity"] = gr.Dropdown(
            [(i18n("no_identity"), NO_IDENTITY)], value=NO_IDENTITY, label=i18n("identity"), filterable=False
        )
        made["mode"] = gr.Radio(
            [(i18n("mode_system"), "system"), (i18n("mode_first_turn"), "first_turn")],
            value="system",
            label=i18n("mode"),
            visible=False,
        )
        with gr.Accordion(i18n("more"), open=False, elem_classes="mt-more"):
            made["second"] = gr.Dropdown(
                [(i18n("no_second"), NO_ADAPTER)], value=NO_ADAPTER, label=i18n("second_adapter"), filterable=False
            )
            made["second_strength"] = _dial(start.second_strength, i18n("strength"), visible=False)
            made["format"] = gr.Dropdown(
                [(i18n("as_recorded"), AS_RECORDED)], value=AS_RECORDED, label=i18n("format"), filterable=False
            )
            made["max_new_tokens"] = gr.Slider(8, 1024, start.max_new_tokens, step=8, label=i18n("max_new_tokens"), buttons=[])
            made["temperature"] = gr.Slider(0, 2, start.temperature, step=0.05, label=i18n("temperature"), buttons=[])
            made["top_p"] = gr.Slider(0.05, 1, start.top_p, step=0.05, label=i18n("top_p"), buttons=[])
            made["top_k"] = gr.Slider(0, 200, start.top_k, step=1, label=i18n("top_k"), buttons=[])
            made["repetition_penalty"] = gr.Slider(
                0.5, 2, start.repetition_penalty, step=0.05, label=i18n("repetition_penalty"), buttons=[]
            )
            made["seed"] = gr.Number(start.seed, precision=0, label=i18n("seed"))
    return Picker(box, made)


def _dial(value: float, label, visible: bool) -> gr.Slider:
    return gr.Slider(0, MAX_STRENGTH, value, step=0.05, label=label, visible=visible, elem_classes="mt-dial", buttons=[])


def on_change(picker: Picker, fn: Callable, inputs: list, outputs: list) -> None:
    """Calls `fn` whenever a person changes one of the pickers."""
    gr.on(
        # a number typed into a slider's box is a change, but no input
        [component.input if isinstance(component, gr.Dropdown | gr.Radio) else component.change for component in picker.inputs],
        fn,
        inputs=[*inputs, *picker.inputs],
        outputs=outputs,
        queue=False,
        trigger_mode="always_last",
        **QUIET,
    )


def choices(app: App, lang: str, picks: Sequence[Picked] = ()) -> dict[str, list[tuple[str, str]]]:
    """What can be picked at this moment, by field of `Picked`. picks: of earlier texts of an identity those that are picked."""
    adapters = [(name, name) for name in sorted(adapter_library.kept_adapters(app), key=identities.natural_key)]
    earlier = dict.fromkeys(picked.identity for picked in picks if VERSION in picked.identity)
    known = [*identities.with_prompt(app.identities), *(name for name in earlier if _kept(app, name))]
    return {
        "adapter": [(say(lang, "no_adapter"), NO_ADAPTER), *adapters],
        "second": [(say(lang, "no_second"), NO_ADAPTER), *adapters],
        "identity": [(say(lang, "no_identity"), NO_IDENTITY), *((name, name) for name in known)],
        "format": [(say(lang, "as_recorded"), AS_RECORDED), *((name, name) for name in formats.names())],
    }


def _kept(app: App, version: str) -> bool:
    try:
        return prompt_of(version, app.identities, app.db) is not None
    except UserError:
        return False


def picker_updates(picker: Picker, picked: Picked, offered: dict[str, list[tuple[str, str]]]) -> dict:
    """Updates that bring the pickers to `picked`; what cannot be picked any more falls back to the first choice."""
    updates = {}
    for known in fields(Picked):
        component, value = picker.components[known.name], getattr(picked, known.name)
        if known.name in offered:
            updates[component] = gr.update(choices=offered[known.name], value=value)
        else:
            updates[component] = gr.update(value=value)
    updates[picker.components["strength"]] = gr.update(value=picked.strength, visible=bool(picked.adapter))
    updates[picker.components["second_strength"]] = gr.update(value=picked.second_strength, visible=bool(picked.second))
    updates[picker.components["mode"]] = gr.update(value=picked.mode, visible=picked.identity != NO_IDENTITY)
    return updates


def drop_missing(picked: Picked, offered: dict[str, list[tuple[str, str]]]) -> Picked:
    """`picked`, with what is offered no more replaced by nothing."""
    gone: dict[str, Any] = {
        name: listed[0][1] for name, listed in offered.items() if getattr(picked, name) not in [value for _, value in listed]
    }
    return replace(picked, **gone)


def with_usual_mode(picked: Picked, before: Picked) -> Picked:
    """An identity that was just picked is given as it usually is, where that is not how the one before it was."""
    usual = identities.usual_mode(picked.identity)
    return replace(picked, mode=usual) if usual != identities.usual_mode(before.identity) else picked


def dial_updates(picker: Picker, picked: Picked) -> dict:
    """Which of the dials and switches have something to turn."""
    return {
        picker.components["strength"]: gr.update(visible=bool(picked.adapter)),
        picker.components["second_strength"]: gr.update(visible=bool(picked.second)),
        picker.components["mode"]: gr.update(value=picked.mode, visible=picked.identity != NO_IDENTITY),
    }


def first_picks(app: App, columns: int, lang: str) -> list[Picked]:
    """A page's first columns: the base, an identity by prompt, an adapter (or another identity while there is none).

    Identities in the page's language come first: NAME-zh is the Chinese wording of NAME.
    """
    known = identities.with_prompt(app.identities)
    chinese = lang.startswith("zh")
    order = [lambda name: name != identities.OWN, lambda name: name.endswith(CHINESE) != chinese]
    order += [lambda name: "finance" not in name, lambda name: "guide" not in name]
    ordered = sorted(known, key=lambda name: [last(name) for last in order])
    by_prompt = [Picked(identity=name, mode=identities.usual_mode(name)) for name in ordered]
    by_adapter = [Picked(adapter=name) for name in sorted(app.engine.adapters, key=identities.natural_key)]
    picks = [Picked(), *by_prompt[:1], *by_adapter, *by_prompt[1:]]
    return (picks + [Picked()] * columns)[:columns]
