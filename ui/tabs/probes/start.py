"""From the form to a run in the background. No Gradio."""

from __future__ import annotations

import functools

import identities
from probes import identity_pair, questions
from probes.identity_pair import FactPair
from probes.run import background, launch, margins
from probes.run.background import BackgroundRun
from probes.run.launch import ReadyRun
from ui.context import App, sentence
from ui.tabs.probes.form import RunForm, variants_of


def background_of(app: App) -> BackgroundRun:
    """Where this page's run goes on. What ends it is said in English: whoever reads it later may read another language than
    whoever began it."""
    return BackgroundRun(
        app.engine,
        app.db,
        opened=app.opened,
        accept_other_base=app.accept_other_base,
        closed=app.closed,
        describe=functools.partial(sentence, "en"),
    )


def start_run(app: App, ongoing: BackgroundRun, form_values: RunForm) -> int:
    """Begins a new run and returns its id. Raises what is wrong with the form, or that another run is under way."""
    return background.start_run(ongoing, functools.partial(prepare_run, app, form_values))


def prepare_run(app: App, form_values: RunForm) -> ReadyRun:
    """The run that the form means. Raises what is wrong with it."""
    variants = variants_of(app, form_values)
    pair = facts_of_sides(app, form_values.old, form_values.new)
    probes = questions.fill(form_values.probes, pair)
    if form_values.margin:
        margins.probes_to_measure(probes, pair, app.engine.base.card.placeholders)
    return launch.start_run(
        app.engine,
        variants,
        probes,
        form_values.settings,
        db=app.db,
        name=form_values.name,
        set_name=form_values.set_name,
        reuse=form_values.reuse,
        about=launch.describe_sides(form_values.old, form_values.new, pair, form_values.margin),
    )


def facts_of_sides(app: App, old: str, new: str) -> FactPair:
    """Both identities' facts, empty where there are none. Raises IdentityError."""
    known = (identities.load(name, app.identities).facts if name else None for name in (old, new))
    return identity_pair.from_identities(*known, needed=False)
