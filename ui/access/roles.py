"""Who may do what, in one table: every event of the page, every endpoint for scripts, every address of our own.

Checked where a request is carried out, so that a script is held to it as the page is. Without a login whoever sits at the machine
may do everything. What has no rule here is done by nobody who logs in, and a test fails.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import gradio as gr

from store import events
from ui.accounts import ROLES
from ui.context import App
from ui.words import say

VIEWER, LABELER, RESEARCHER = ROLES

# By module (a tab is one) and function. Viewers see and chat; labelers label too; researchers train, delete, upload, change
# identities and what everybody works with, and bring in what others said.
RULES: dict[str, dict[str, str]] = {
    "api.chat": {"ask": VIEWER, "identities": VIEWER, "adapters": VIEWER, "try_identity": VIEWER, "votes": VIEWER},
    "api.training": {"plan_training": RESEARCHER, "start_training": RESEARCHER, "jobs": VIEWER, "stop_job": RESEARCHER},
    "api.probes": {"probe_runs": VIEWER, "probe_answers": VIEWER},
    "app": {
        **dict.fromkeys(("open_chat", "open_probes", "open_identity", "open_finetune", "open_adapters"), VIEWER),
        "leave_page": VIEWER,
    },
    "tab_loading": {"require_unfilled": VIEWER, "require_filled": VIEWER},
    "tabs.chat": {
        "ask_columns": VIEWER, "ask_again": VIEWER, "stop_answers": VIEWER, "edit_last": VIEWER, "clear_all": VIEWER,
        "add_column": VIEWER, "remove_column": VIEWER, "set_blind": VIEWER, "change_picks": VIEWER, "refresh": VIEWER,
        "cast_vote": LABELER,
    },
    "tabs.identity": {
        "choose": VIEWER, "draw_quick_preview": VIEWER, "note_typing": VIEWER, "join_lines": VIEWER, "show_prompt": VIEWER,
        "revert": VIEWER, "try_prompt": VIEWER, "stop_trial": VIEWER, "close_dialog": VIEWER,
        "note_facts": VIEWER, "read_again": VIEWER, "show_diff": VIEWER, "take_back": VIEWER, "ask_both": VIEWER,
        "save": RESEARCHER, "open_dialog": RESEARCHER, "confirm": RESEARCHER,
    },
    "tabs.adapters": {
        "refresh_exports": VIEWER, "choose": VIEWER, "check_still_there": VIEWER, "close_dialog": VIEWER,
        "add_path": RESEARCHER, "rescan": RESEARCHER, "upload": RESEARCHER, "load_or_take_out": RESEARCHER,
        "open_dialog": RESEARCHER, "confirm": RESEARCHER, "stop_export": RESEARCHER,
    },
    "tabs.finetune": {
        "refresh_outlook": VIEWER, "apply_preset": VIEWER, "show_source": VIEWER, "copy_run": VIEWER, "refresh_runs": VIEWER,
        "choose_run": VIEWER, "copy_settings": VIEWER, "close_dialog": VIEWER, "open_dialog": RESEARCHER,
        "stop_and_keep": RESEARCHER, "stop_and_discard": RESEARCHER, "resume_run": RESEARCHER, "forget_run": RESEARCHER,
        "start_run": RESEARCHER, "compare_run": RESEARCHER, "show_progress": VIEWER, "show_log": VIEWER,
        "begin_log": VIEWER, "end_log": VIEWER, "start_from": VIEWER, "uploaded": RESEARCHER,
        "offer_identities": VIEWER, "apply_remedies": VIEWER,
        **dict.fromkeys(("open_moment", "keep_moment", "ask_moments", "turn_dial", "draw_heat"), RESEARCHER),
    },
    "tabs.experiment": {
        "open_experiment": VIEWER, "offer_plans": VIEWER, "describe_plan": VIEWER, "foresee_plan": VIEWER, "read_plan": VIEWER,
        "add_dose": VIEWER, "edit_cells": VIEWER, "change_plan": VIEWER, "show_progress": VIEWER, "refresh_page": VIEWER,
        "choose_experiment": VIEWER, "choose_cell": VIEWER, "show_results": VIEWER, "upload_plan": RESEARCHER,
        "start_experiment": RESEARCHER, "stop_experiment": RESEARCHER, "go_on": RESEARCHER, "ask_in_chat": RESEARCHER,
        "label_answers": RESEARCHER,
    },
    "tabs.label": {
        "open_label": VIEWER, "offer_new": VIEWER, "choose": VIEWER, "show_source": VIEWER, "show_run": VIEWER,
        "show_agreement": VIEWER, "close_dialog": VIEWER, "ask_to_reveal": LABELER, "reveal": LABELER,
        "import_labels": LABELER, "export_labels": LABELER, "make_queue": RESEARCHER, "settle_labels": RESEARCHER,
        "show_gold": RESEARCHER,
    },
    "tabs.results": {
        "first_visit": VIEWER, "visit_results": VIEWER, "show_report": VIEWER, "draw_curves": VIEWER, "choose_sources": VIEWER,
        "visit_again": VIEWER, "show_panel": VIEWER, "write_report": VIEWER, "forget_files": VIEWER, "add_files": LABELER,
        "compare_two": VIEWER, "make_training_files": RESEARCHER,
    },
    "tabs.probes": {
        "refresh_volume": VIEWER, "show_script": VIEWER, "edit_sets": VIEWER, "refresh_choices": VIEWER, "start_run": RESEARCHER,
        "upload_set": RESEARCHER, "pb_open": VIEWER, "pb_news": VIEWER, "pb_cell": VIEWER, "pb_compare": VIEWER,
        "pb_export": VIEWER, "pb_act": RESEARCHER, "pb_opinion": RESEARCHER, "pb_send": RESEARCHER,
    },
}  # fmt: skip

# By address: ours, and the one of Gradio's that takes files in.
ADDRESSES = {
    "/label/open": LABELER,
    "/label/more": LABELER,
    "/label/state": LABELER,
    "/label/decide": LABELER,
    "/adapters/download": VIEWER,
    "/experiment/report": VIEWER,
    "/gradio_api/upload": LABELER,
}


_who: ContextVar[str] = ContextVar("who", default="")  # asked for what is being carried out; "" for the local user


def is_enough(role: str | None, needed: str) -> bool:
    return role in ROLES and ROLES.index(role) >= ROLES.index(needed)


def role_of_address(path: str) -> str | None:
    return ADDRESSES.get(path.rstrip("/"))


def role_of_function(fn: Callable) -> str | None:
    """The role that an event, an endpoint or a function of the board takes; None if nobody has said."""
    room = ".".join(fn.__module__.removeprefix("ui.").split(".")[:2])  # wherever in its tab it stands
    return RULES.get(room, {}).get(fn.__name__)


def name_after(guard: Callable, act: Callable) -> Callable:
    """`guard` under the name of what it guards, so that the table's rule is that function's own."""
    guard.__module__, guard.__name__, guard.__qualname__ = act.__module__, act.__name__, act.__qualname__
    return guard


def needed_sentence(lang: str, name: str, role: str | None, needed: str) -> str:
    own = say(lang, f"role_{role}") if role else "?"
    return say(lang, "role_needed", needed=say(lang, f"role_{needed}"), name=name, role=own)


def refusal(app: App, lang: str, name: str | None, fn: Callable) -> str:
    """Why this person may not do it, in a sentence; "" if they may. name: as they logged in; what follows is done by them."""
    _who.set(name or "")
    if app.accounts is None:
        return ""
    needed = role_of_function(fn)
    if needed is None:
        return say(lang, "role_no_rule", what=f"{fn.__module__}.{fn.__name__}")
    role = app.accounts.role(name or "")
    return "" if is_enough(role, needed) else needed_sentence(lang, name or "?", role, needed)


def is_allowed(app: App, needed: str) -> bool:
    """Whether the person whose event is being carried out has that role; the local user has every one."""
    return app.accounts is None or is_enough(app.accounts.role(_who.get()), needed)


def doer() -> str:
    """Who has the event carried out, as they logged in; "" for the local user."""
    return _who.get()


def record_deed(app: App, deed: str, thing: object, detail: object = "") -> None:
    """Notes that the person whose event is being carried out has done something. StoreError."""
    events.add(app.db, _who.get(), deed, str(thing), str(detail))


def check_events(app: App, demo: gr.Blocks) -> None:
    """Every event and endpoint of the page is checked before it is carried out, whichever way it was asked for."""
    carry_out = demo.process_api

    async def checked(block_fn, inputs, state=None, request=None, iterator=None, **more):
        fn = demo.fns[block_fn] if isinstance(block_fn, int) else block_fn
        if fn.fn is not None and iterator is None:
            asked = request if isinstance(request, gr.Request) else None
            if why := refusal(app, app.language(asked), getattr(asked, "username", None), fn.fn):
                raise gr.Error(why, print_exception=False)
        return await carry_out(block_fn, inputs, state, request, iterator, **more)

    demo.process_api = checked
