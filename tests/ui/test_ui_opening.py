"""What happens while the page opens, in whichever order it happens."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
from label_page import PageEngine

import identities
import store
from ui.app import build
from ui.context import App
from ui.conversation import Page
from ui.words import Languages, dictionaries


def page_over(folder) -> gr.Blocks:
    store.open(folder / "mirror.db").close()
    return build(App(PageEngine(), folder / "mirror.db", identities.FOLDER, (folder / "adapters",), Languages("en")))


def test_a_tab_that_says_it_was_chosen_while_the_page_opens_changes_nothing(tmp_path):
    """The browser says so of its first tab before the page is filled; where the answer came last, it undid the picks."""
    refresh = next(fn.fn for fn in page_over(tmp_path).fns.values() if getattr(fn.fn, "__name__", "") == "refresh")
    request = SimpleNamespace(session_hash="s", headers={}, cookies={}, username=None)
    assert refresh(request, Page()) == gr.skip()
    assert len(refresh(request, Page(key="opened"))) > 20


def test_no_choice_is_called_like_a_key_of_the_words(tmp_path):
    """Gradio translates every text that is a key, a value too: the page then sends back a choice that there is not."""
    keys = set(dictionaries.translations["en"])
    found = [
        (component["props"].get("elem_id"), value)
        for component in page_over(tmp_path).get_config_file()["components"]
        for _, value in component["props"].get("choices") or []
        if value in keys
    ]
    assert found == []
