"""The Identity tab: the prompts one can be given, edited, previewed exactly, and tried in place."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import gradio as gr

import identities
from engine.types import Request, Variant
from identities.files import CHINESE
from ui.access import roles
from ui.answering import owner_of
from ui.context import App, sentence
from ui.tabs.identity import try_it
from ui.words import i18n, say


@dataclass(frozen=True)
class IdentityTab:
    """The components of the tab that events write to. drafts: name -> text that was typed and not saved."""

    drafts: gr.State
    doing: gr.State
    listed: gr.Radio
    about: gr.HTML
    text: gr.Textbox
    notes: gr.HTML
    one_line: gr.Button
    dialog: gr.Column
    dialog_words: gr.HTML
    dialog_name: gr.Textbox
    mode: gr.Radio
    sample: gr.Textbox
    preview: gr.HTML
    table: gr.HTML
    try_button: gr.Button
    try_stop: gr.Button
    running: dict[str, threading.Event]

    @property
    def editor(self) -> list:
        """What a change of the text or of the chosen identity touches."""
        chosen = [self.drafts, self.doing, self.listed, self.about, self.text, self.notes, self.one_line]
        return [*chosen, self.dialog, self.dialog_words, self.dialog_name, self.preview]


def prompt_of(text: str) -> str | None:
    """What the model would read of an editor's text: its first line, `\\n` made newlines."""
    first = text.replace("\r\n", "\n").partition("\n")[0]
    return identities.from_line(first) if first.strip() else None


def ignored_of(text: str) -> str:
    """What it would not read."""
    return text.replace("\r\n", "\n").partition("\n")[2].strip()


def in_one_line(text: str) -> str:
    """Every line in the first one, as `\\n`."""
    return identities.to_line(text.strip())


def build_identity(app: App) -> IdentityTab:
    """Inside a Tab: lays the tab out and wires it; the page's load event fills it (`open_identity`)."""
    drafts, doing = gr.State({}), gr.State("")
    with gr.Row(elem_classes="mt-identity"):
        with gr.Column(scale=1, min_width=200, elem_classes="mt-side"):
            listed = gr.Radio([], label=i18n("identities"), elem_classes="mt-list", elem_id="identity-list")
            with gr.Row(elem_classes="mt-under"):
                new = gr.Button(i18n("new"), size="sm", elem_id="identity-new", min_width=50)
                rename = gr.Button(i18n("rename"), size="sm", elem_id="identity-rename", min_width=50)
                delete = gr.Button(i18n("delete"), size="sm", elem_id="identity-delete", min_width=50)
            with gr.Column(visible=False, elem_classes="mt-dialog", elem_id="identity-dialog") as dialog:
                dialog_words = gr.HTML()
                dialog_name = gr.Textbox(label=i18n("name"), elem_id="identity-name")
                with gr.Row():
                    confirm = gr.Button(i18n("confirm"), size="sm", variant="primary", elem_id="identity-confirm", min_width=50)
                    cancel = gr.Button(i18n("cancel"), size="sm", elem_id="identity-cancel", min_width=50)
        with gr.Column(scale=4, min_width=340, elem_classes="mt-main"):
            about = gr.HTML(elem_id="identity-about")
            text = gr.Textbox(
                label=i18n("prompt_text"), info=i18n("prompt_text_info"), lines=6, max_lines=16, elem_id="identity-text"
            )
            notes = gr.HTML(elem_id="identity-notes")
            with gr.Row(elem_classes="mt-under"):
                save = gr.Button(i18n("save"), size="sm", variant="primary", elem_id="identity-save", scale=0, min_width=90)
                revert = gr.Button(i18n("revert"), size="sm", elem_id="identity-revert", scale=0, min_width=90)
                one_line = gr.Button(
                    i18n("one_line"), size="sm", elem_id="identity-one-line", visible=False, scale=0, min_width=150
                )
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
            gr.HTML('<hr class="mt-rule">')
            with gr.Row(elem_classes="mt-tools"):
                which = gr.Radio(
                    [(i18n("both_languages"), "both"), ("English", "en"), ("中文", "zh")],
                    value="both",
                    label=i18n("eight_questions"),
                    elem_id="try-language",
                    scale=2,
                )
                tokens = gr.Slider(
                    8, 256, try_it.TOKENS, step=8, label=i18n("max_new_tokens"), elem_id="try-tokens", buttons=[], scale=2
                )
                start = gr.Button(i18n("try_it"), variant="primary", elem_id="try", scale=0, min_width=140)
                stop = gr.Button(i18n("stop"), variant="stop", elem_id="try-stop", visible=False, scale=0, min_width=140)
            table = gr.HTML(elem_id="try-table")
    tab = IdentityTab(
        drafts,
        doing,
        listed,
        about,
        text,
        notes,
        one_line,
        dialog,
        dialog_words,
        dialog_name,
        mode,
        sample,
        preview,
        table,
        start,
        stop,
        {},
    )
    buttons = {
        "new": new,
        "rename": rename,
        "delete": delete,
        "confirm": confirm,
        "cancel": cancel,
        "save": save,
        "revert": revert,
    }
    _wire_editor(app, tab, buttons, see)
    _wire_try(app, tab, which, tokens)
    return tab


def open_identity(app: App, tab: IdentityTab, lang: str, name: str | None = None, drafts: dict | None = None) -> dict:
    """Everything the editor shows for one identity; the first real one if none is named."""
    drafts = drafts or {}
    known = identities.names(app.identities)
    if name not in known:
        chinese = lang.startswith("zh")
        own = [other for other in known if other != identities.NONE]
        name = min(own, key=lambda other: other.endswith(CHINESE) != chinese, default=identities.NONE)
    try:
        saved, about = identities.load(name, app.identities).text, about_html(app, lang, name)
    except Exception as error:
        saved, about = "", try_it.problem_html(lang, error)
    text = drafts.get(name, saved)
    labels = [(f"{other} •" if other in drafts else other, other) for other in known]
    return {
        tab.drafts: drafts,
        tab.doing: "",
        tab.listed: gr.update(choices=labels, value=name),
        tab.about: about,
        tab.text: gr.update(value=text, interactive=name != identities.NONE),
        tab.notes: notes_html(lang, name, text, saved),
        tab.one_line: gr.update(visible=bool(ignored_of(text))),
        tab.dialog: gr.update(visible=False),
        tab.preview: stale_html(lang),
    }


def about_html(app: App, lang: str, name: str) -> str:
    """The identity's name and, where its YAML file says them, its facts in the page's language."""
    facts = identities.load(name, app.identities).facts
    short = lang[:2]
    line = "" if facts is None else facts.about.get(short) or facts.about.get("en", "")
    who = None if facts is None else getattr(facts, short) or facts.en or facts.zh
    known = [] if who is None else [(say(lang, f"fact_{key}"), getattr(who, key)) for key in ("name", "maker", "role", "date")]
    said = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in known if value)
    return f'<h2>{escape(name)}</h2><p class="mt-quiet">{escape(line)}</p><dl class="mt-facts-list">{said}</dl>'


def notes_html(lang: str, name: str, text: str, saved: str) -> str:
    """Under the editor: what is not saved, what would be ignored."""
    said = []
    if name == identities.NONE:
        said.append(f'<div class="mt-note">{escape(say(lang, "none_is_empty"))}</div>')
    elif text.strip("\n") != saved:
        said.append(f'<div class="mt-note mt-note-next">{escape(say(lang, "unsaved"))}</div>')
    if ignored_of(text):
        said.append(f'<div class="mt-note mt-note-warn">{escape(say(lang, "ignored_text"))}</div>')
    return "".join(said)


def stale_html(lang: str) -> str:
    return f'<p class="mt-quiet">{escape(say(lang, "prompt_not_shown"))}</p>'


def preview_html(app: App, lang: str, name: str, text: str, mode: str, sample: str) -> str:
    """The exact prompt, the identity's own words marked in it."""
    prompt = prompt_of(text)
    variant = Variant(name=name, identity=name, prompt=prompt, mode=mode)
    question = sample.strip() or "Who are you?"
    try:
        exact = escape(app.engine.render(Request([{"role": "user", "content": question}], variant)))
        form = app.engine.format_of(variant).name
    except Exception as error:
        return try_it.problem_html(lang, error)
    if prompt:
        exact = exact.replace(escape(prompt), f"<mark>{escape(prompt)}</mark>", 1)
    return f'<p class="mt-quiet">{escape(say(lang, "exact_prompt", format=form))}</p><pre class="mt-exact">{exact}</pre>'


def _wire_editor(app: App, tab: IdentityTab, buttons: dict[str, gr.Button], see: gr.Button) -> None:
    def saved_text(name: str) -> str:
        return identities.load(name, app.identities).text

    def choose(request: gr.Request, name: str, drafts: dict) -> dict:
        return open_identity(app, tab, app.language(request), name, drafts)

    def typed(request: gr.Request, name: str, text: str, drafts: dict, mode: str, sample: str) -> dict:
        lang = app.language(request)
        try:
            saved = saved_text(name)
        except Exception:
            saved = ""
        was = name in drafts
        if text.strip("\n") == saved:
            drafts.pop(name, None)
        else:
            drafts[name] = text
        updates = {tab.notes: notes_html(lang, name, text, saved), tab.one_line: gr.update(visible=bool(ignored_of(text)))}
        # In first-turn mode the model itself must answer the prompt first: too slow for every key.
        updates[tab.preview] = preview_html(app, lang, name, text, mode, sample) if mode == "system" else stale_html(lang)
        if was != (name in drafts):
            known = identities.names(app.identities)
            updates[tab.listed] = gr.update(choices=[(f"{other} •" if other in drafts else other, other) for other in known])
        return updates | {tab.drafts: drafts}

    def show_prompt(request: gr.Request, name: str, text: str, mode: str, sample: str) -> str:
        return preview_html(app, app.language(request), name, text, mode, sample)

    def save(request: gr.Request, name: str, text: str, drafts: dict) -> dict:
        lang = app.language(request)
        try:
            identities.save(name, text, app.identities)
        except Exception as error:
            gr.Warning(sentence(lang, error))
            return gr.skip()
        drafts.pop(name, None)
        roles.record(app, "changed identity", name)
        gr.Info(say(lang, "saved", name=name))
        return open_identity(app, tab, lang, name, drafts)

    def revert(request: gr.Request, name: str, drafts: dict) -> dict:
        drafts.pop(name, None)
        return open_identity(app, tab, app.language(request), name, drafts)

    def ask_for(doing: str):
        def ask(request: gr.Request, name: str) -> dict:
            lang = app.language(request)
            words = escape(say(lang, f"really_{doing}", name=name))
            given = {"new": "", "rename": name, "delete": ""}[doing]
            return {
                tab.doing: doing,
                tab.dialog: gr.update(visible=True),
                tab.dialog_words: f'<p class="mt-dialog-words">{words}</p>',
                tab.dialog_name: gr.update(value=given, visible=doing != "delete"),
            }

        return ask

    def confirm(request: gr.Request, doing: str, name: str, given: str, drafts: dict) -> dict:
        lang, given = app.language(request), given.strip()
        try:
            if doing == "new":
                identities.create(given, say(lang, "new_text", name=given), app.identities)
                name = given
                roles.record(app, "made identity", name)
            elif doing == "rename":
                identities.rename(name, given, app.identities)
                roles.record(app, "renamed identity", name, given)
                if name in drafts:
                    drafts[given] = drafts.pop(name)
                name = given
            elif doing == "delete":
                identities.delete(name, app.identities)
                roles.record(app, "deleted identity", name)
                drafts.pop(name, None)
        except Exception as error:
            gr.Warning(sentence(lang, error))
            return gr.skip()
        return open_identity(app, tab, lang, name, drafts)

    def close() -> dict:
        return {tab.dialog: gr.update(visible=False)}

    private = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
    change = private | {"outputs": tab.editor}
    seen = [tab.listed, tab.text, tab.mode, tab.sample]
    draw = private | {"inputs": seen, "outputs": tab.preview}
    tab.listed.input(choose, [tab.listed, tab.drafts], **change).then(show_if_quick(app), **draw)
    # change, not input: Gradio's textbox reports input for key presses only, not for pasted text or an input method's.
    tab.text.change(typed, [tab.listed, tab.text, tab.drafts, tab.mode, tab.sample], trigger_mode="always_last", **change)
    tab.one_line.click(in_one_line, tab.text, tab.text, **private).then(
        typed, [tab.listed, tab.text, tab.drafts, tab.mode, tab.sample], **change
    )
    gr.on([see.click, tab.sample.submit, tab.mode.input], show_prompt, **draw | {"show_progress": "minimal"})
    buttons["save"].click(save, [tab.listed, tab.text, tab.drafts], **change).then(show_if_quick(app), **draw)
    buttons["revert"].click(revert, [tab.listed, tab.drafts], **change).then(show_if_quick(app), **draw)
    for doing in ("new", "rename", "delete"):
        buttons[doing].click(ask_for(doing), tab.listed, **change)
    given = [tab.doing, tab.listed, tab.dialog_name, tab.drafts]
    gr.on([buttons["confirm"].click, tab.dialog_name.submit], confirm, given, **change).then(show_if_quick(app), **draw)
    buttons["cancel"].click(close, **change)


def show_if_quick(app: App):
    """The preview where it costs no generating; else the line that says how to get it."""

    def draw(request: gr.Request, name: str, text: str, mode: str, sample: str) -> str:
        lang = app.language(request)
        return preview_html(app, lang, name, text, mode, sample) if mode == "system" else stale_html(lang)

    return draw


def _wire_try(app: App, tab: IdentityTab, which: gr.Radio, tokens: gr.Slider) -> None:
    running = tab.running

    def attempt(request: gr.Request, name: str, text: str, drafts: dict, mode: str, which: str, tokens: int) -> Iterator[dict]:
        lang, session = app.language(request), request.session_hash
        prompt = prompt_of(text)
        if prompt is None:
            gr.Warning(say(lang, "nothing_to_try"))
            return
        if session in running:
            gr.Warning(say(lang, "still_answering"))
            return
        stop = running[session] = threading.Event()
        note = say(lang, "tries_unsaved" if name in drafts else "tries_saved", name=name)
        title = f"{name} ({say(lang, 'mode_first_turn' if mode == 'first_turn' else 'mode_system')})"
        rows = [try_it.Tried(question, "", "") for question in try_it.questions(which)]
        busy = {tab.try_button: gr.update(visible=False), tab.try_stop: gr.update(visible=True)}
        try:
            yield busy | {tab.table: try_it.table_html(lang, rows, title, note)}
            for news in try_it.attempt(app, prompt, mode, name, which, int(tokens), stop, session, owner_of(request)):
                if isinstance(news, int):
                    yield {tab.table: try_it.table_html(lang, rows, title, say(lang, "before_you", number=news))}
                    continue
                rows = news
                yield {tab.table: try_it.table_html(lang, rows, title, note)}
        except Exception as error:
            table = try_it.table_html(lang, rows, title, note)
            yield {tab.table: try_it.problem_html(lang, error) + table}
        finally:
            stop.set()
            running.pop(session, None)
        yield {tab.try_button: gr.update(visible=True), tab.try_stop: gr.update(visible=False)}

    def stop_it(request: gr.Request) -> None:
        if request.session_hash in running:
            running[request.session_hash].set()

    private = {"api_visibility": "private", "show_progress": "hidden"}
    inputs = [tab.listed, tab.text, tab.drafts, tab.mode, which, tokens]
    outputs = [tab.table, tab.try_button, tab.try_stop]
    tab.try_button.click(attempt, inputs, outputs, concurrency_limit=None, trigger_mode="once", **private)
    tab.try_stop.click(stop_it, queue=False, **private)
