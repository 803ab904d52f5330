"""Functions bound to a tab, as Gradio looks at them, and what a person is told when one of them fails."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio import utils

from common.errors import UserError
from ui import listeners

APP = SimpleNamespace(language=lambda _request: "en")


def count(tab: list, request: gr.Request, to: int) -> Iterator[int]:
    for number in range(to):
        tab.append(request)
        yield number


def refuse(app: SimpleNamespace, tab: list, request: gr.Request, problem: Exception) -> dict:
    raise problem


def test_gradio_sees_what_is_not_given_yet_under_the_functions_own_name():
    tab: list = []
    bound = listeners.bind(count, tab)
    assert (bound.__module__, bound.__name__) == (count.__module__, "count")
    assert list(inspect.signature(bound).parameters) == ["request", "to"]
    assert utils.get_type_hints(bound) == {"request": gr.Request, "to": int}
    assert inspect.isgeneratorfunction(bound)
    assert list(bound("asked", 2)) == [0, 1] and tab == ["asked", "asked"]


def test_a_failure_is_a_warning_and_changes_nothing(monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Warning", said.append)
    warned = listeners.bind_or_warn(refuse, APP, [])
    assert list(inspect.signature(warned).parameters) == ["request", "problem"]
    assert warned(None, UserError("There is no <b> here.")) == gr.skip()
    assert said == ["There is no &lt;b&gt; here."]
    with pytest.raises(gr.Error):
        warned(None, gr.Error("said already"))
