"""The Probes tab: the form for a new run, and the board on which a run is seen. What happens is in events.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from typing import Any

import gradio as gr

from identities import LANGS
from probes import questions
from probes.run import plan
from ui import training
from ui.context import App
from ui.tabs.probes import form as probes_form
from ui.tabs.probes.form import BASE, BY_ADAPTER, BY_PROMPT, MAX_NEW_TOKENS, SCRIPT
from ui.tabs.probes.judged import default_sides
from ui.words import i18n, say

FIRST_SET = "quick"
MOST_SAMPLES = 20
STEPS = ("ask_what", "ask_whom", "ask_how")
START_BOARD = "window.mirrorProbes && window.mirrorProbes.start(element, props, server, watch)"


@dataclass(frozen=True)
class Form:
    """What a person fills in, by the names that `form.read_form` knows."""

    sets: gr.CheckboxGroup
    lang: gr.Radio
    own: gr.Textbox
    variants: gr.CheckboxGroup
    chat: gr.Checkbox
    mode: gr.Radio
    old: gr.Dropdown
    new: gr.Dropdown
    asking: gr.Radio
    script: gr.Dropdown
    samples: gr.Number
    max_new_tokens: gr.Number
    temperature: gr.Number
    seed: gr.Number
    margin: gr.Checkbox
    reuse: gr.Checkbox
    name: gr.Textbox

    @property
    def inputs(self) -> list:
        return [getattr(self, name) for name in FIELDS]


FIELDS = tuple(one.name for one in fields(Form))


@dataclass(frozen=True)
class Probes:
    """The components of the tab that events write to."""

    form: Form
    headings: tuple[gr.HTML, ...]
    upload: gr.UploadButton
    edit: gr.Button
    meaning: gr.HTML
    start: gr.Button
    judged_run: gr.HTML

    @property
    def outputs(self) -> list:
        form = self.form
        return [*self.headings, form.sets, form.variants, form.old, form.new, form.script, self.meaning, self.judged_run]


def build_probes(functions: list) -> Probes:
    """Inside a Tab: lays the tab out; the page's load event fills it. functions: what the board may call on the server."""
    gr.HTML(html_template='<div class="pb-root pb-upper"></div>', js_on_load=None, apply_default_css=False, elem_id="pb-bar")
    with gr.Column(elem_id="pb-form", elem_classes="mt-main mt-hidden"), gr.Row(elem_classes="mt-form"):
        with gr.Column(scale=5, min_width=300, elem_classes="mt-fields"):
            what, what_fields, upload, edit = _what_fields()
            whom, whom_fields = _whom_fields()
        with gr.Column(scale=6, min_width=320, elem_classes="mt-meaning"):
            how, how_fields = _how_fields()
            name = gr.Textbox(label=i18n("pb_name"), max_lines=1, elem_id="pb-name")
            meaning = gr.HTML(elem_id="pb-told")
            start = gr.Button(i18n("pb_start"), variant="primary", elem_id="pb-start")
    judged_run = gr.HTML(
        value="", html_template='<div class="pb-root"></div>', js_on_load=START_BOARD, apply_default_css=False,
        server_functions=functions, elem_id="pb-board",
    )  # fmt: skip
    return Probes(
        form=Form(**what_fields, **whom_fields, **how_fields, name=name), headings=(what, whom, how), upload=upload, edit=edit,
        meaning=meaning, start=start, judged_run=judged_run,
    )  # fmt: skip


def _what_fields() -> tuple[gr.HTML, dict[str, Any], gr.UploadButton, gr.Button]:
    """What is asked: the heading, the components by the names of Form, and what fills in questions of one's own."""
    heading = gr.HTML()
    sets = gr.CheckboxGroup(questions.set_names(), value=[FIRST_SET], label=i18n("pb_sets"), elem_id="pb-sets")
    lang = gr.Radio(
        [(i18n("both_languages"), "both"), ("English", "en"), ("中文", "zh")],
        value="both", label=i18n("languages"), elem_id="pb-lang",
    )  # fmt: skip
    with gr.Accordion(i18n("pb_own"), open=False, elem_classes="mt-unfold", elem_id="pb-own-fold"):
        with gr.Row(elem_classes="mt-under"):
            upload = gr.UploadButton(i18n("pb_upload"), file_types=[".jsonl"], size="sm", scale=0, min_width=90,
                                     elem_id="pb-upload")  # fmt: skip
            edit = gr.Button(i18n("pb_edit"), size="sm", scale=0, min_width=90, elem_id="pb-edit")
        own = gr.Textbox(
            label=i18n("pb_own_label"), info=i18n("pb_own_info"), lines=6, max_lines=16, elem_id="pb-own",
            placeholder='{"id": "mine-01", "group": "novel", "category": "name", "lang": "en", "turns": ["You?"]}',
        )  # fmt: skip
    return heading, dict(sets=sets, lang=lang, own=own), upload, edit


def _whom_fields() -> tuple[gr.HTML, dict[str, Any]]:
    """Who is asked: the heading, and the components by the names of Form."""
    heading = gr.HTML()
    variants = gr.CheckboxGroup([BASE], value=[BASE], label=i18n("pb_variants"), elem_id="pb-variants")
    chat = gr.Checkbox(False, label=i18n("pb_chat"), elem_id="pb-chat")
    mode = gr.Radio(
        [(i18n("mode_system"), "system"), (i18n("mode_first_turn"), "first_turn")],
        value="system", label=i18n("pb_mode"), elem_id="pb-mode",
    )  # fmt: skip
    return heading, dict(variants=variants, chat=chat, mode=mode)


def _how_fields() -> tuple[gr.HTML, dict[str, Any]]:
    """How it is asked: the heading, and the components by the names of Form."""
    heading = gr.HTML()
    with gr.Row(elem_classes="mt-pair"):
        old = gr.Dropdown([], label=i18n("pb_old"), filterable=False, elem_id="pb-old", min_width=120)
        new = gr.Dropdown([], label=i18n("pb_new"), filterable=False, elem_id="pb-new", min_width=120)
    asking = gr.Radio(
        [(i18n(f"pb_{one}"), one) for one in plan.MODES], value="fresh", label=i18n("pb_asking"), elem_id="pb-asking"
    )
    script = gr.Dropdown(
        plan.script_names(), value=SCRIPT, label=i18n("pb_script"), filterable=False, visible=False, elem_id="pb-script"
    )
    with gr.Row(elem_classes="mt-pair"):
        samples = gr.Number(
            1, precision=0, minimum=1, maximum=MOST_SAMPLES, label=i18n("pb_samples"), info=i18n("pb_samples_info"),
            elem_id="pb-samples", min_width=120,
        )  # fmt: skip
        max_new_tokens = gr.Number(
            MAX_NEW_TOKENS, precision=0, minimum=1, label=i18n("max_new_tokens"), info=i18n("pb_tokens_info"),
            elem_id="pb-tokens", min_width=120,
        )  # fmt: skip
    margin = gr.Checkbox(False, label=i18n("pb_margin"), info=i18n("pb_margin_info"), elem_id="pb-margin")
    with gr.Accordion(i18n("advanced"), open=False, elem_classes="mt-unfold"):
        reuse = gr.Checkbox(True, label=i18n("pb_reuse"), elem_id="pb-reuse")
        with gr.Row(elem_classes="mt-pair"):
            temperature = gr.Number(0.7, minimum=0.05, maximum=5, step=0.05, label=i18n("pb_temperature"), min_width=120)
            seed = gr.Number(0, precision=0, minimum=0, label=i18n("seed"), min_width=120)
    return heading, dict(
        old=old, new=new, asking=asking, script=script, samples=samples, max_new_tokens=max_new_tokens, margin=margin,
        reuse=reuse, temperature=temperature, seed=seed,
    )  # fmt: skip


def plain_values(given: Sequence[Any]) -> dict[str, Any]:
    """The form's values by name."""
    return dict(zip(FIELDS, given, strict=True))


def choices(app: App, tab: Probes, lang: str, kept: Mapping | None = None) -> dict:
    """What can be chosen at this moment. kept: what is chosen now and stays, as far as it is still there."""
    form = tab.form
    offered = probes_form.variant_choices(app)
    sides = probes_form.identities_with_facts(app)
    chosen = [key for key in kept["variants"] if key in offered] if kept else first_variants(app, offered)
    old, new = (kept["old"], kept["new"]) if kept else first_sides(app)
    side_choices = [(say(lang, "nobody"), ""), *((name, name) for name in sides)]
    return {
        form.variants: gr.update(choices=[(variant_word(lang, key), key) for key in offered], value=chosen),
        form.old: gr.update(choices=side_choices, value=old if old in sides else ""),
        form.new: gr.update(choices=side_choices, value=new if new in sides else ""),
    }


def first_sides(app: App) -> tuple[str, str]:
    """Whose answers a new run is about: whoever was taught last is the new one."""
    old, new = default_sides(app)
    taught = training.taught_last(app)
    return old, taught[1] if taught and taught[1] != old and taught[1] in probes_form.identities_with_facts(app) else new


def first_variants(app: App, offered: list[str]) -> list[str]:
    """The base, the new identity by prompt, and one adapter: what the experiment compares."""
    new, taught = BY_PROMPT + first_sides(app)[1], training.taught_last(app)
    adapters = [BY_ADAPTER + taught[0]] if taught else [key for key in offered if key.startswith(BY_ADAPTER)]
    return [BASE, *([new] if new in offered else []), *adapters[:1]]


def variant_word(lang: str, key: str) -> str:
    if key == BASE:
        return say(lang, "base")
    kind = "pb_by_prompt" if key.startswith(BY_PROMPT) else "pb_by_adapter"
    return say(lang, kind, name=key.partition(":")[2])


def set_choices(lang: str) -> list[tuple[str, str]]:
    """The sets with their sizes."""
    found = []
    for name in questions.set_names():
        probes = questions.load(name)
        counts = [sum(probe.lang == one for probe in probes) for one in LANGS]
        found.append((say(lang, "pb_set", name=say(lang, f"pb_set_{name}"), en=counts[0], zh=counts[1]), name))
    return found


def open_probes(app: App, tab: Probes, lang: str, shown: Mapping) -> dict:
    """Everything the tab shows when the page is opened. shown: what the board begins with."""
    headings = {
        html: f'<h3 class="mt-step"><b>{number}</b>{escape(say(lang, f"pb_{key}"))}</h3>'
        for html, number, key in zip(tab.headings, range(1, 4), STEPS, strict=True)
    }
    form = tab.form
    scripts = [(say(lang, f"pb_script_{name}"), name) for name in plan.script_names()]
    return headings | choices(app, tab, lang) | {
        form.sets: gr.update(choices=set_choices(lang), value=[FIRST_SET]),
        form.script: gr.update(choices=scripts, value=SCRIPT),
        tab.judged_run: dict(shown),
    }  # fmt: skip
