"""How the page listens: the settings of its events, functions bound to a tab, and what is said when one of them fails."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import gradio as gr

from ui.context import App, sentence

SHOWN: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}  # with Gradio's sign that something is going on
# What is soon over, or says itself how far it is. On nothing: else the browser tells every output of every event that has ever
# happened how each new one stands, and looks each of them up in the whole page.
QUIET = SHOWN | {"show_progress": "hidden", "show_progress_on": []}


def bind(act: Callable, *first: Any) -> Callable:
    """`act` with its first arguments given, under its own name. `act(*first, request, *values)`; a generator stays one.

    A function, for Gradio sees no annotations on a functools.partial and would hand `request: gr.Request` to none of them. It
    evaluates those that are left, so their names have to be there when the page is built, not for type checkers only.
    """

    @functools.wraps(act)
    def call(*values: Any, **named: Any) -> Any:
        return act(*first, *values, **named)

    @functools.wraps(act)
    def stream(*values: Any, **named: Any) -> Iterator:
        yield from act(*first, *values, **named)

    return _shaped(stream if inspect.isgeneratorfunction(act) else call, act, len(first))


def bind_or_warn(act: Callable, app: App, *more: Any) -> Callable:
    """`bind`, of an `act(app, *more, request, *values)` whose failure is a warning and changes nothing on the page."""

    @functools.wraps(act)
    def call(*values: Any) -> Any:
        try:
            return act(app, *more, *values)
        except gr.Error:
            raise
        except Exception as error:
            return warn(app.language(values[0]), error)

    return _shaped(call, act, 1 + len(more))


def warn(lang: str, error: Exception) -> dict:
    """Says in the page's language what went wrong; the update that leaves everything as it is."""
    gr.Warning(escape(sentence(lang, error)))
    return gr.skip()


def _shaped(call: Callable, act: Callable, given: int) -> Callable:
    """What Gradio looks at: the parameters of `act` that are not given, and their annotations."""
    signature = inspect.signature(act)
    left = list(signature.parameters.values())[given:]
    vars(call)["__signature__"] = signature.replace(parameters=left)
    call.__annotations__ = {one.name: one.annotation for one in left if one.annotation is not one.empty}
    return call
