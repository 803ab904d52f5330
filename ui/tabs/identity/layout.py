"""The Identity tab: the prompts one can be given, edited, previewed exactly, and tried in place. See events for what happens."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import gradio as gr

from ui.tabs.identity import try_it
from ui.tabs.identity.facts_layout import FactsForm, VersionsFold, build_facts, build_taught, build_versions
from ui.words import i18n


@dataclass(frozen=True)
class Listing:
    """All identities, and the dialog that makes, renames or deletes one."""

    chosen: gr.Radio
    new: gr.Button
    rename: gr.Button
    delete: gr.Button
    dialog: gr.Column
    words: gr.HTML
    name: gr.Textbox
    confirm: gr.Button
    cancel: gr.Button


@dataclass(frozen=True)
class Editor:
    """One identity's text, and what the model makes of it."""

    about: gr.HTML
    text: gr.Textbox
    notes: gr.HTML
    save: gr.Button
    revert: gr.Button
    one_line: gr.Button
    mode: gr.Radio
    sample: gr.Textbox
    see: gr.Button
    preview: gr.HTML


@dataclass(frozen=True)
class Trial:
    """Eight questions put to the text as it stands. running: session -> the event that stops its answers."""

    which: gr.Radio
    tokens: gr.Slider
    start: gr.Button
    stop: gr.Button
    table: gr.HTML
    running: dict[str, threading.Event] = field(default_factory=dict)


@dataclass(frozen=True)
class IdentityTab:
    """The components of the tab. drafts: name -> text that was typed and not saved; fact_drafts: the same of the facts' fields;
    doing: what the dialog is about. shown: whose text and facts stand in the fields, which come with it from the server in one
    piece; what is chosen in the list may be a click ahead.
    """

    drafts: gr.State
    fact_drafts: gr.State
    doing: gr.State
    shown: gr.Textbox
    listing: Listing
    editor: Editor
    facts: FactsForm
    versions: VersionsFold
    trial: Trial

    @property
    def outputs(self) -> list:
        """What a change of the text or of the chosen identity touches."""
        listing, editor = self.listing, self.editor
        chosen = [self.drafts, self.doing, listing.chosen, editor.about, editor.text, editor.notes, editor.one_line]
        dialog = [listing.dialog, listing.words, listing.name]
        return [
            self.shown,
            *chosen,
            *dialog,
            editor.preview,
            editor.mode,
            self.fact_drafts,
            *self.facts.outputs,
            *self.versions.outputs,
        ]

    @property
    def previewed(self) -> list:
        """What the preview is made from."""
        return [self.listing.chosen, self.editor.text, self.editor.mode, self.editor.sample]


def build_identity() -> IdentityTab:
    """Inside a Tab: lays the tab out; the page's load event fills it."""
    drafts, fact_drafts, doing = gr.State({}), gr.State({}), gr.State("")
    shown = gr.Textbox(visible="hidden", elem_id="identity-shown")
    with gr.Row(elem_classes="mt-identity"):
        with gr.Column(scale=1, min_width=200, elem_classes="mt-side"):
            listing = _listing()
        with gr.Column(scale=4, min_width=340, elem_classes="mt-main"):
            editor, facts = _editor()
            gr.HTML('<hr class="mt-rule">')
            trial = _trial()
            versions = build_versions()
    return IdentityTab(
        drafts=drafts, fact_drafts=fact_drafts, doing=doing, shown=shown, listing=listing, editor=editor, facts=facts,
        versions=versions, trial=trial,
    )  # fmt: skip


def _listing() -> Listing:
    chosen = gr.Radio([], label=i18n("identities"), elem_classes="mt-list", elem_id="identity-list")
    with gr.Row(elem_classes="mt-under"):
        new = gr.Button(i18n("new"), size="sm", elem_id="identity-new", min_width=50)
        rename = gr.Button(i18n("rename"), size="sm", elem_id="identity-rename", min_width=50)
        delete = gr.Button(i18n("delete"), size="sm", elem_id="identity-delete", min_width=50)
    with gr.Column(visible=False, elem_classes="mt-dialog", elem_id="identity-dialog") as dialog:
        words = gr.HTML()
        name = gr.Textbox(label=i18n("name"), elem_id="identity-name")
        with gr.Row():
            confirm = gr.Button(i18n("confirm"), size="sm", variant="primary", elem_id="identity-confirm", min_width=50)
            cancel = gr.Button(i18n("cancel"), size="sm", elem_id="identity-cancel", min_width=50)
    return Listing(
        chosen=chosen, new=new, rename=rename, delete=delete, dialog=dialog, words=words, name=name, confirm=confirm,
        cancel=cancel,
    )  # fmt: skip


def _editor() -> tuple[Editor, FactsForm]:
    about = gr.HTML(elem_id="identity-about")
    text = gr.Textbox(label=i18n("prompt_text"), info=i18n("prompt_text_info"), lines=6, max_lines=16, elem_id="identity-text")
    notes = gr.HTML(elem_id="identity-notes")
    box, can, state, fields = build_facts()
    with gr.Row(elem_classes="mt-under"):
        save = gr.Button(i18n("save"), size="sm", variant="primary", elem_id="identity-save", scale=0, min_width=90)
        revert = gr.Button(i18n("revert"), size="sm", elem_id="identity-revert", scale=0, min_width=90)
        read = gr.Button(i18n("facts_read_again"), size="sm", elem_id="identity-read", scale=0, min_width=120)
        one_line = gr.Button(i18n("one_line"), size="sm", elem_id="identity-one-line", visible=False, scale=0, min_width=150)
    with gr.Row(elem_classes="mt-tools"):
        mode = gr.Radio(
            [(i18n("mode_system"), "system"), (i18n("mode_first_turn"), "first_turn")],
            value="system",
            label=i18n("mode"),
            elem_id="identity-mode",
            scale=1,
        )
        sample = gr.Textbox("Who are you?", label=i18n("sample_question"), elem_id="identity-sample", scale=2)
        see = gr.Button(i18n("show_prompt"), elem_id="identity-see", scale=0, min_width=170)
    preview = gr.HTML(elem_id="identity-preview")
    facts = FactsForm(box=box, can=can, state=state, fields=fields, read=read, taught=build_taught())
    editor = Editor(
        about=about, text=text, notes=notes, save=save, revert=revert, one_line=one_line, mode=mode, sample=sample, see=see,
        preview=preview,
    )  # fmt: skip
    return editor, facts


def _trial() -> Trial:
    with gr.Row(elem_classes="mt-tools"):
        which = gr.Radio(
            [(i18n("both_languages"), "both"), ("English", "en"), ("中文", "zh")],
            value="both",
            label=i18n("eight_questions"),
            elem_id="try-language",
            scale=2,
        )
        tokens = gr.Slider(8, 256, try_it.TOKENS, step=8, label=i18n("max_new_tokens"), elem_id="try-tokens", buttons=[], scale=2)
        start = gr.Button(i18n("try_it"), variant="primary", elem_id="try", scale=0, min_width=140)
        stop = gr.Button(i18n("stop"), variant="stop", elem_id="try-stop", visible=False, scale=0, min_width=140)
    table = gr.HTML(elem_id="try-table")
    return Trial(which=which, tokens=tokens, start=start, stop=stop, table=table)
