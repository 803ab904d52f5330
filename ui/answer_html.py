"""An answer as people read it: what was said in full, what was only thought in a fold before it. Everything is escaped."""

from __future__ import annotations

from html import escape

from engine.thoughts import Apart, split_thoughts
from ui.html import fold
from ui.words import say


def split_shown(shown: str, prompt: str | None = None) -> Apart:
    """The answer apart from its thoughts; without thoughts it is the whole text, whatever tags it is wrapped in."""
    said = split_thoughts(shown, prompt or "")
    return said if said.thoughts else Apart(shown)


def answer_html(lang: str, shown: str, prompt: str | None = None, *, kind: str = "mt-a", thoughts: bool = True) -> str:
    """kind: classes of the answer's own element. thoughts: not where a comparison is blind, for they can quote who the model
    was told to be."""
    said = split_shown(shown, prompt)
    text = escape(said.answer)
    if not said.finished:
        text += f'<span class="mt-empty">{escape(say(lang, "thought_unfinished"))}</span>'
    text = text or f'<span class="mt-empty">{escape(say(lang, "empty_answer"))}</span>'
    fold = thoughts_html(lang, said) if thoughts else ""
    return f'{fold}<div class="{kind}" dir="auto">{text}</div>'


def thoughts_html(lang: str, said: Apart) -> str:
    if not said.thoughts:
        return ""
    inner = escape("\n".join(one.strip() for one in said.thoughts))
    return fold(say(lang, "thought"), f'<pre dir="auto">{inner}</pre>', "mt-fold mt-fold-thought")
