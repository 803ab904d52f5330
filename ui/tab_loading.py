"""One guard for what fills the page: a tab that cannot be filled says why in its own place, and the other tabs work."""

from __future__ import annotations

import json
from collections.abc import Callable
from html import escape

import gradio as gr

from ui.access import roles
from ui.context import App, sentence
from ui.html import failure
from ui.words import say

FILLED = '<i class="mt-filled"></i>'  # for tests and scripts that wait for a tab


def notice(tab: str) -> gr.HTML:
    """Inside a tab, at its top: where its guard says what went wrong. Nothing is seen of it otherwise."""
    return gr.HTML(elem_id=f"notice-{tab}", elem_classes="mt-notice")


def guard_filling(app: App, place: gr.HTML, fill: Callable[..., dict], again: bool = False) -> Callable:
    """`fill(request, *values) -> updates` as a listener of a load or select event. place: a `notice`, one of the outputs.
    again: of a tab that has been filled before, and stays so."""

    def filled(request: gr.Request, *given) -> dict:
        try:
            updates = fill(request, *given)
            if "__type__" in updates:  # gr.skip()
                return updates
            _refuse_unsayable(updates)
            return updates | {place: FILLED}
        except Exception as error:
            return {place: problem_html(app, request, error) + (FILLED if again else "")}

    return roles.name_after(filled, fill)


def require_unfilled(said: str | None) -> None:
    """Of a tab that has been filled this fails without a word: `page.select(require_unfilled, notice).success(fill)`."""
    if FILLED in (said or ""):
        raise gr.Error("filled already", visible=False, print_exception=False)


def require_filled(said: str | None) -> None:
    """The other way round: what brings a filled tab up to date is not for one that is just being filled."""
    if FILLED not in (said or ""):
        raise gr.Error("not filled yet", visible=False, print_exception=False)


def problem_html(app: App, request: gr.Request | None, error: Exception) -> str:
    lang = app.language(request)
    why = f"<p>{escape(sentence(lang, error))}</p><p>{escape(say(lang, 'tab_not_filled'))}</p>"
    return failure(say(lang, "tab_failed"), why)


def _refuse_unsayable(updates: dict) -> None:
    """Text that is no UTF-8 fails where the answer is written, behind every guard; better here."""
    for value in updates.values():
        if isinstance(value, str):
            value.encode()
        elif isinstance(value, dict):
            json.dumps(value, ensure_ascii=False, default=lambda _: None, skipkeys=True).encode()
