"""The Fine-tune tab: a list of runs, the form for a new one, and the page of one run. What happens is in events.py."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from identities import LANGS
from tuning.dataset.dataset_info import BY_HAND
from tuning.dataset.recipe import Dataset
from tuning.dataset.tables import PLAIN
from tuning.train.presets import PRESETS
from ui import training
from ui.tabs.finetune import settings_form
from ui.words import i18n

NEW = "new"
OWN_FILE, NO_GENERAL, PACKAGED = "own", "none", "packaged"
TICK_S = 2.0
# the form's fields but for columns and settings, in the order in which Gradio gives their values
FIELDS = (
    "identity", "langs", "old", "rows", "style", "own", "own_times", "own_drop_statements", "own_drop_personal",
    "general", "general_file", "share", "clean", "seed", "preset", "init_adapter", "name",
)  # fmt: skip


@dataclass(frozen=True)
class Form:
    """What a person fills in, in the order of thought. columns: of their own rows, by what each is."""

    identity: gr.Dropdown
    langs: gr.CheckboxGroup
    old: gr.Dropdown
    rows: gr.Number
    style: gr.Radio
    own: gr.Textbox
    own_times: gr.Number
    own_drop_statements: gr.Checkbox
    own_drop_personal: gr.Checkbox
    general: gr.Radio
    general_file: gr.Textbox
    share: gr.Slider
    clean: gr.Checkbox
    seed: gr.Number
    copy: gr.Dropdown
    preset: gr.Dropdown
    init_adapter: gr.Dropdown
    name: gr.Textbox
    columns: Mapping[str, gr.Dropdown]
    settings: Mapping[str, gr.components.Component]

    @property
    def inputs(self) -> list:
        return [*(getattr(self, name) for name in FIELDS), *self.columns.values(), *self.settings.values()]


@dataclass(frozen=True)
class OwnRows:
    """What is shown of the rows that somebody brings. box: all of it; fold: of the columns; preview: of ten rows. offered: the
    columns that can be chosen now."""

    upload: gr.UploadButton
    box: gr.Column
    about: gr.HTML
    fold: gr.Accordion
    offered: gr.State
    preview_fold: gr.Accordion
    preview: gr.HTML

    @property
    def outputs(self) -> list:
        return [self.box, self.about, self.fold, self.offered, self.preview_fold, self.preview]


@dataclass(frozen=True)
class MomentActs:
    """What can be done with the moments of a run. running: session -> the events that stop what is being asked for it."""

    open: gr.Button
    name: gr.Textbox
    keep: gr.Button
    kept: gr.HTML
    question: gr.Textbox
    ask: gr.Button
    asked: gr.HTML
    dial: gr.Button
    heat: gr.Button
    dialled: gr.HTML
    heated: gr.HTML
    running: dict[str, list[threading.Event]] = field(default_factory=dict)


@dataclass(frozen=True)
class FineTune:
    """The components of the tab that events write to. seen: what each part of a run's page shows already."""

    seen: gr.State
    runs: gr.Radio
    form_box: gr.Column
    run_box: gr.Column
    headings: tuple[gr.HTML, ...]
    form: Form
    own: OwnRows
    outlook: gr.HTML
    remedy: gr.Button
    first_rows: gr.HTML
    command: gr.HTML
    park: gr.Checkbox
    start: gr.Button
    head: gr.HTML
    figures: gr.HTML
    moments_box: gr.Column
    moment: gr.Slider
    said: gr.HTML
    acts: MomentActs
    log_fold: gr.Accordion
    log: gr.HTML
    run_command: gr.HTML
    compare: gr.Button
    resume: gr.Button
    stop: gr.Button
    copy_settings: gr.Button
    forget: gr.Button
    dialog: gr.Column
    dialog_words: gr.HTML
    keep: gr.Button
    discard: gr.Button
    really_forget: gr.Button
    cancel: gr.Button
    timer: gr.Timer
    pulse: gr.HTML  # changes when more than the figures of the run under way does
    log_timer: gr.Timer  # while the log is unfolded

    @property
    def form_inputs(self) -> list:
        """What `form_outputs` follow from."""
        return [self.own.offered, *self.form.inputs]

    @property
    def form_outputs(self) -> list:
        """What follows from the form."""
        shown = [self.outlook, self.remedy, self.first_rows, self.command, self.park, self.form.name]
        return [*shown, *self.own.outputs, *self.form.columns.values()]

    @property
    def run_outputs(self) -> list:
        """What a run's page is made of."""
        buttons = [self.compare, self.resume, self.stop, self.copy_settings, self.forget]
        asked = [self.dialog, self.dialog_words, self.keep, self.discard, self.really_forget]
        moments = [self.moments_box, self.moment, self.said]
        return [self.seen, self.runs, self.form_box, self.run_box, self.head, self.figures, *moments, self.log,
                self.run_command, *buttons, *asked]  # fmt: skip

    @property
    def outputs(self) -> list:
        form = self.form
        return [
            *self.run_outputs,
            *self.headings,
            form.copy,
            *form.inputs,
            self.outlook,
            self.first_rows,
            self.command,
            self.park,
        ]


def build_finetune() -> FineTune:
    """Inside a Tab: lays the tab out; the page's load event fills it."""
    seen = gr.State({})
    with gr.Row(elem_classes="mt-identity"):
        with gr.Column(scale=1, min_width=200, elem_classes="mt-side"):
            runs = gr.Radio([(i18n("new_run"), NEW)], value=NEW, label=i18n("runs"), elem_classes="mt-list", elem_id="ft-runs")
        form_parts, run_parts = _form_box(), _run_box()
    pulse, log_timer = gr.HTML(elem_classes="mt-pulse"), gr.Timer(TICK_S, active=False)
    return FineTune(seen=seen, runs=runs, **form_parts, **run_parts, timer=gr.Timer(TICK_S), pulse=pulse, log_timer=log_timer)


def _form_box() -> dict[str, Any]:
    """The form for a new run; its components by the names of FineTune."""
    with gr.Column(scale=4, min_width=340, elem_id="ft-form", **main_class(True)) as form_box, gr.Row(elem_classes="mt-form"):
        with gr.Column(scale=5, min_width=300, elem_classes="mt-fields"):
            headings, fields, settings, own = _fields()
        with gr.Column(scale=6, min_width=320, elem_classes="mt-meaning"):
            meaning = gr.HTML()
            outlook = gr.HTML(elem_id="ft-outlook")
            remedy = _button("remedies_button", "ft-remedy")
            with gr.Accordion(i18n("own_preview"), open=True, elem_id="ft-own-fold", **unfold(False)) as preview_fold:
                preview = gr.HTML(elem_id="ft-own-rows")
            with gr.Accordion(i18n("first_rows"), open=False, elem_classes="mt-unfold", elem_id="ft-rows-fold"):
                first_rows = gr.HTML(elem_id="ft-first-rows")
            with gr.Accordion(i18n("command"), open=False, elem_classes="mt-unfold", elem_id="ft-command-fold"):
                command = gr.HTML(elem_id="ft-command")
            starting = gr.HTML()
            name = gr.Textbox(label=i18n("adapter_name"), max_lines=1, elem_id="ft-name")
            park = gr.Checkbox(False, label=i18n("park"), visible=False, elem_id="ft-park")
            start = gr.Button(i18n("start_training"), variant="primary", elem_id="ft-start")
    return dict(
        form_box=form_box, headings=(*headings, meaning, starting), form=Form(**fields, name=name, settings=settings),
        own=OwnRows(**own, preview_fold=preview_fold, preview=preview),
        outlook=outlook, remedy=remedy, first_rows=first_rows, command=command, park=park, start=start,
    )  # fmt: skip


def _run_box() -> dict[str, Any]:
    """The page of one run; its components by the names of FineTune."""
    with gr.Column(scale=4, min_width=340, elem_id="ft-run", **main_class(False)) as run_box:
        head = gr.HTML(elem_id="ft-head")
        with gr.Row(elem_classes="mt-under mt-actions"):
            compare = _button("compare_now", "ft-compare", variant="primary")
            resume = _button("resume", "ft-resume", variant="primary")
            stop = _button("stop_run", "ft-stop")
            copy_settings = _button("copy_settings", "ft-again")
            forget = _button("forget_run", "ft-forget")
        with gr.Column(visible=False, elem_classes="mt-dialog", elem_id="ft-dialog") as dialog:
            words = gr.HTML()
            with gr.Row(elem_classes="mt-under"):
                keep = _button("stop_keep", "ft-keep", variant="primary")
                discard = _button("stop_discard", "ft-discard", variant="stop")
                really_forget = _button("forget_run", "ft-really-forget", variant="stop")
                cancel = _button("cancel", "ft-cancel", visible=True)
        figures = gr.HTML()
        moment_parts = _moments_box()
        with gr.Accordion(i18n("log"), open=False, elem_classes="mt-unfold", elem_id="ft-log-fold") as log_fold:
            log = gr.HTML(elem_id="ft-log")
        with gr.Accordion(i18n("command"), open=False, elem_classes="mt-unfold"):
            run_command = gr.HTML(elem_id="ft-run-command")
    return dict(
        run_box=run_box, head=head, figures=figures, log_fold=log_fold, log=log, run_command=run_command, compare=compare,
        resume=resume, stop=stop, copy_settings=copy_settings, forget=forget, dialog=dialog, dialog_words=words, keep=keep,
        discard=discard, really_forget=really_forget, cancel=cancel, **moment_parts,
    )  # fmt: skip


def _moments_box() -> dict[str, Any]:
    """What the adapter said while it learned; the components by the names of FineTune."""
    with gr.Column(elem_id="ft-moments", elem_classes=["mt-moments", "mt-hidden"]) as box:
        gr.Markdown(i18n("mo_title"), elem_classes="mt-group")
        moment = gr.Slider(0, 1, 0, step=1, label=i18n("mo_slider"), elem_id="ft-moment", buttons=[])
        said = gr.HTML()
        with gr.Row(elem_classes="mt-under mt-moment-acts"):
            open_ = _button("mo_open", "ft-moment-open", visible=True)
            name = gr.Textbox(label=i18n("mo_name"), max_lines=1, elem_id="ft-moment-name", min_width=160)
            keep = _button("mo_keep", "ft-moment-keep", visible=True)
        kept = gr.HTML(elem_id="ft-moment-kept")
        with gr.Row(elem_classes="mt-under mt-moment-acts"):
            question = gr.Textbox(label=i18n("mo_ask_all_label"), max_lines=1, elem_id="ft-moments-question", min_width=240)
            ask = _button("mo_ask_all", "ft-moments-ask", visible=True)
        asked = gr.HTML(elem_id="ft-asked")
        with gr.Row(elem_classes="mt-under mt-moment-acts"):
            dial = _button("mo_dial", "ft-dial", visible=True)
            heat = _button("mo_heat", "ft-heat-draw", visible=True)
        dialled, heated = gr.HTML(elem_id="ft-dialled"), gr.HTML(elem_id="ft-heat")
    acts = MomentActs(open_, name, keep, kept, question, ask, asked, dial, heat, dialled, heated)
    return dict(moments_box=box, moment=moment, said=said, acts=acts)


def main_class(there: bool) -> dict:
    """Of the form and of a run's page one is there. By a class: what is made invisible is made anew later, and forgets itself."""
    return {"elem_classes": ["mt-main"] if there else ["mt-main", "mt-hidden"]}


def _button(key: str, elem_id: str, variant: str = "secondary", visible: bool = False) -> gr.Button:
    return gr.Button(i18n(key), size="sm", variant=variant, elem_id=elem_id, visible=visible, scale=0, min_width=60)


def _fields() -> tuple[list[gr.HTML], dict[str, Any], dict[str, gr.components.Component], dict[str, Any]]:
    """The headings over them, the components by the names of Form, those of the settings, and by the names of OwnRows."""
    headings, keys = [gr.HTML()], {name: name.replace("-", "_") for name in PRESETS}
    identity = gr.Dropdown(
        [], label=i18n("new_identity"), info=i18n("new_identity_info"), filterable=False, elem_id="ft-identity"
    )
    with gr.Row(elem_classes="mt-pair"):
        langs = gr.CheckboxGroup(
            [("English", "en"), ("中文", "zh")], value=list(LANGS), label=i18n("languages"), elem_id="ft-langs"
        )
        old = gr.Dropdown([(i18n("nobody"), "")], value="", label=i18n("old_identity"), filterable=False, elem_id="ft-old")
    headings.append(gr.HTML())
    with gr.Row(elem_classes="mt-pair"):
        rows = gr.Number(Dataset.rows, precision=0, minimum=0, label=i18n("identity_rows"), elem_id="ft-n", min_width=110)
        style = gr.Radio(
            [(i18n("style_diverse"), "diverse"), (i18n("style_singular"), "singular")],
            value="diverse",
            label=i18n("wordings"),
            elem_id="ft-style",
        )
    own_fields, own = _own_fields()
    general = gr.Radio(
        [(i18n("general_packaged"), PACKAGED), (i18n("general_own"), OWN_FILE), (i18n("general_none"), NO_GENERAL)],
        value=PACKAGED, label=i18n("general_rows"), elem_id="ft-general",
    )  # fmt: skip
    file = gr.Textbox(
        label=i18n("general_file"), placeholder=i18n("general_file_hint"), visible=False, max_lines=1, elem_id="ft-file"
    )
    share = gr.Slider(0.05, 0.99, Dataset.general_share, step=0.01, label=i18n("general_share"), buttons=[], elem_id="ft-share")
    clean = gr.Checkbox(True, label=i18n("clean"), visible=False, elem_id="ft-clean")
    headings.append(gr.HTML())
    preset = gr.Dropdown(
        [(i18n(f"preset_{key}"), name) for name, key in keys.items()],
        value=training.PRESET, label=i18n("preset"), filterable=False, elem_id="ft-preset",
    )  # fmt: skip
    with gr.Row(elem_classes="mt-pair"):
        about = dict(label=i18n("init_adapter"), allow_custom_value=True, elem_id="ft-init")
        init_adapter = gr.Dropdown([(i18n("init_nothing"), "")], value="", **about)
        copy = gr.Dropdown([], label=i18n("copy_from"), filterable=False, elem_id="ft-copy")
    settings = settings_form.build_settings(settings_form.SEEN)
    with gr.Accordion(i18n("advanced"), open=False, elem_classes="mt-unfold", elem_id="ft-advanced"):
        settings |= settings_form.build_settings(settings_form.FOLDED)
        seed = gr.Number(Dataset.seed, precision=0, minimum=0, label=i18n("seed_all"), elem_id="ft-seed")
    fields = dict(
        identity=identity, langs=langs, old=old, rows=rows, style=style, general=general, general_file=file, share=share,
        clean=clean, seed=seed, copy=copy, preset=preset, init_adapter=init_adapter,
    )  # fmt: skip
    return headings, fields | own_fields, settings, own


def _own_fields() -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the rows that somebody brings: the components by the names of Form, and those by the names of OwnRows."""
    with gr.Row(elem_classes="mt-pair mt-own"):
        own = gr.Textbox(label=i18n("own_rows"), placeholder=i18n("own_hint"), max_lines=1, scale=5, elem_id="ft-own")
        upload = gr.UploadButton(
            i18n("own_upload"), file_types=[*PLAIN, ".gz"], file_count="multiple", size="sm", scale=0, min_width=90,
            elem_id="ft-own-upload",
        )  # fmt: skip
    with gr.Column(elem_id="ft-own-box", **own_shown(False)) as box:
        about = gr.HTML(elem_id="ft-own-about")
        with gr.Row(elem_classes="mt-pair"):
            drop_statements = gr.Checkbox(False, label=i18n("own_drop_statements"), elem_id="ft-own-statements")
            drop_personal = gr.Checkbox(False, label=i18n("own_drop_personal"), elem_id="ft-own-personal")
        times = gr.Number(1, precision=0, minimum=1, label=i18n("own_times"), elem_id="ft-own-times", min_width=110)
        with gr.Accordion(i18n("own_columns"), open=False, elem_classes="mt-unfold", elem_id="ft-own-columns") as fold:
            gr.Markdown(i18n("own_columns_note"), elem_classes="mt-quiet")
            with gr.Row(elem_classes="mt-settings"):
                columns = {name: _column(name) for name in BY_HAND}
    fields = dict(own=own, own_times=times, own_drop_statements=drop_statements, own_drop_personal=drop_personal, columns=columns)
    return fields, dict(upload=upload, box=box, about=about, fold=fold, offered=gr.State([]))


def _column(name: str) -> gr.Dropdown:
    about = dict(label=i18n(f"column_{name}"), allow_custom_value=True, min_width=120)
    return gr.Dropdown([(i18n("as_recognised"), "")], value="", elem_id=f"ft-column-{name}", **about)


def own_shown(there: bool) -> dict:
    """By a class, as `shown`: what these fields hold is part of the form, seen or not."""
    return {"elem_classes": ["mt-own-box"] if there else ["mt-own-box", "mt-hidden"]}


def unfold(there: bool) -> dict:
    return {"elem_classes": ["mt-unfold"] if there else ["mt-unfold", "mt-hidden"]}
