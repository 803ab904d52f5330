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
from ui.words import Languages


def test_a_tab_that_says_it_was_chosen_while_the_page_opens_changes_nothing(tmp_path):
    """The browser says so of its first tab before the page is filled; where the answer came last, it undid the picks."""
    store.open(tmp_path / "mirror.db").close()
    app = App(PageEngine(), tmp_path / "mirror.db", identities.FOLDER, (tmp_path / "adapters",), Languages("en"))
    refresh = next(fn.fn for fn in build(app).fns.values() if getattr(fn.fn, "__name__", "") == "refresh")
    request = SimpleNamespace(session_hash="s", headers={}, cookies={}, username=None)
    assert refresh(request, Page()) == gr.skip()
    assert len(refresh(request, Page(key="opened"))) > 20
