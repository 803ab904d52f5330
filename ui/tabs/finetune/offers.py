"""What can be chosen in the form of the Fine-tune tab: who is taught, what a run starts from, whose settings are copied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gradio as gr

import identities
from identities import natural_key
from store import identity_versions
from ui import adapter_library, training
from ui.context import App
from ui.words import say


def taught_first(app: App, known: Sequence[str], old: str) -> str | None:
    """Whoever was saved last in the page; else the first that the base is not."""
    others = [name for name in known if name not in (old, identities.DEFAULT_OLD)]
    saved = identity_versions.saved_last(app.db)
    return saved if saved in others else next(iter(others or known), None)


def start_choices(app: App, lang: str) -> list[tuple[str, str]]:
    """What a run may start from: nothing, or the folder of an adapter that is loaded."""
    loaded = sorted(adapter_library.kept_adapters(app).items(), key=lambda one: natural_key(one[0]))
    return [(say(lang, "init_nothing"), ""), *((name, str(Path(info.path).absolute())) for name, info in loaded)]


def copy_choices(app: App, lang: str) -> dict:
    earlier = [(job["name"], str(job["id"])) for job in training.latest_trainings(app) if job["settings"]]
    return gr.update(choices=[(say(lang, "copy_nothing"), ""), *earlier], value="")
