"""What the Identity tab shows of an identity and of its text as it is being edited. No Gradio."""

from __future__ import annotations

from html import escape

import identities
from engine.types import Mode, Request, Variant
from ui.context import App, sentence
from ui.html import failure, note, paragraph
from ui.words import say


def read_prompt(text: str) -> str | None:
    """What the model would read of an editor's text: its first line, `\\n` made newlines."""
    first = text.replace("\r\n", "\n").partition("\n")[0]
    return identities.from_line(first) if first.strip() else None


def ignored_text(text: str) -> str:
    """What it would not read."""
    return text.replace("\r\n", "\n").partition("\n")[2].strip()


def join_lines(text: str) -> str:
    """Every line in the first one, as `\\n`."""
    return identities.to_line(text.strip())


def about_html(app: App, lang: str, name: str) -> str:
    """The identity's name, the line about it in the page's language, and for a file of one's own where it lies."""
    facts = identities.load(name, app.identities).facts
    line = "" if facts is None else facts.about.get(lang[:2]) or facts.about.get("en", "")
    own = identities.own_file() if name == identities.OWN else None
    where = note(say(lang, "own_file", file=own)) if own else ""
    return f"<h2>{escape(name)}</h2>{paragraph(line)}{where}"


def notes_html(lang: str, name: str, text: str, saved: str) -> str:
    """Under the editor: what is not saved, what would be ignored."""
    said = []
    if name == identities.NONE:
        said.append(note(say(lang, "none_is_empty")))
    elif text.strip("\n") != saved:
        said.append(note(say(lang, "unsaved"), "next"))
    if ignored_text(text):
        said.append(note(say(lang, "ignored_text"), "warn"))
    return "".join(said)


def stale_html(lang: str) -> str:
    return paragraph(say(lang, "prompt_not_shown"))


def preview_html(app: App, lang: str, name: str, text: str, mode: Mode, sample: str) -> str:
    """The exact prompt, the identity's own words marked in it."""
    prompt = read_prompt(text)
    variant = Variant(name=name, identity=name, prompt=prompt, mode=mode)
    question = sample.strip() or "Who are you?"
    try:
        whole = app.engine.prompt(Request([{"role": "user", "content": question}], variant))
    except Exception as error:
        return failure(sentence(lang, error))
    exact = escape(whole.text)
    if prompt:
        exact = exact.replace(escape(prompt), f"<mark>{escape(prompt)}</mark>", 1)
    return f'{paragraph(say(lang, "exact_prompt", format=whole.format.name))}<pre class="mt-exact">{exact}</pre>'


def quick_preview_html(app: App, lang: str, name: str, text: str, mode: Mode, sample: str) -> str:
    """The preview where it costs no generating, else the line that says how to get it.

    In first-turn mode the model itself must answer the prompt first: too slow for every key.
    """
    return preview_html(app, lang, name, text, mode, sample) if mode == "system" else stale_html(lang)
