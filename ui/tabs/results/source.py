"""From what is chosen in the Results tab to a judged report. No Gradio."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import identities
import store
from probes import identity_pair
from probes.answers import dose, matching as found, sources as collect
from probes.answers.dose import Dose
from probes.answers.sources import RowsError
from probes.identity_pair import FactPair
from probes.report import board as vote_board, build, margins, preferences
from probes.report.model import Report
from ui import training
from ui.context import App
from ui.tabs.results.files import ABOUT, ANSWERS, FACTS, REPORTED, TRANSCRIPTS, GivenFile, files_of_kind
from ui.words import say

RUN, QUEUE = "run", "queue"
RUNS = 100
FLAGS = {TRANSCRIPTS: "--transcripts", ANSWERS: "--answers", FACTS: "--facts", REPORTED: "--verdicts", ABOUT: "--about"}


@dataclass(frozen=True)
class ReportForm:
    """What a table is wanted of. sources: "run 3", "queue 1"; old, new: identities; evidence: one of `verdicts.SOURCES`."""

    sources: tuple[str, ...]
    files: tuple[GivenFile, ...]
    old: str
    new: str
    evidence: str


def read_form(plain: Mapping[str, Any]) -> ReportForm:
    """From the tab's values by name; `given` are the files that were added."""
    return ReportForm(
        sources=tuple(plain["sources"] or ()),
        files=tuple(plain["given"]),
        old=plain["old"] or "",
        new=plain["new"] or "",
        evidence=plain["evidence"],
    )


def choices(app: App, lang: str) -> list[tuple[str, str]]:
    """(words, source) of every run and queue of the store, newest first."""
    found = []
    for run in store.runs.recent(app.db, RUNS):
        words = say(lang, "results_run", id=run["id"], name=run["name"] or run["set_name"], answers=run["done"])
        found.append((words, f"{RUN} {run['id']}"))
    for queue in store.queues.all_with_counts(app.db):
        if queue["kind"] != "pairs":
            words = say(lang, "results_queue", id=queue["id"], name=queue["name"], answers=queue["items"])
            found.append((words, f"{QUEUE} {queue['id']}"))
    return found


def build_report(app: App, form_values: ReportForm) -> Report:
    """Raises RowsError, StoreError, FactsError, DoseError, IdentityError or ValueError, one sentence each."""
    parts = [_of_store(app.db, source) for source in form_values.sources]
    stored = len(parts)
    given = [collect.read_transcripts(file.path) for file in files_of_kind(form_values.files, TRANSCRIPTS)]
    given += [collect.read_file(file.path) for file in files_of_kind(form_values.files, ANSWERS)]
    if stored and given:
        with store.open(app.db) as db:  # labels are looked up by number, and a file's numbers may mean other answers here
            given = [replace(part, rows=found.drop_foreign_ids(db, part.rows)) for part in given]
    parts += given
    theirs: dict[tuple[str, str], dict] = {}
    told: dict[str, Dose] = {}
    for file in files_of_kind(form_values.files, REPORTED):
        read, doses = build.read_verdicts(file.path)
        theirs, told = theirs | read, told | doses
    if not parts and not theirs:
        raise RowsError("Nothing is chosen: choose a run or a queue, or add a file of answers.")
    answers = collect.join_answers(parts)
    about = {**told, **answers.doses}
    for file in files_of_kind(form_values.files, ABOUT):
        about |= dose.read_doses(file.path)
    labels, votes, board = {}, [], []
    if stored:
        board = vote_board.read_board(app.db)
        votes = preferences.read_preferences(app.db)
        labels = store.labels.standing(app.db, answers=[r["answer_id"] for r in answers.rows if r.get("answer_id") is not None])
    return build.build_report(
        answers,
        fact_pair=fact_pair(app, form_values),
        labels=labels,
        theirs=theirs,
        about=about,
        source=form_values.evidence,
        made_by=shell_command(app, form_values),
        trainings=margins.margins_of_trainings(app.db, answers.folders.values()),
        votes=votes,
        board=board,
    )


def default_sides(app: App) -> tuple[str, str]:
    """The base's own identity and the first other one that facts are known of; "" where there is none."""
    known = training.known_identities(app)
    card = getattr(app.engine.base, "card", None)
    old = next((name for name in (getattr(card, "name", ""), identities.DEFAULT_OLD, *known) if name in known), "")
    return old, next((name for name in (identities.DEFAULT_NEW, *known) if name in known and name != old), "")


def identities_asked_about(app: App, sources: Sequence[str]) -> tuple[str, str] | None:
    """(old, new) of the first run that says whom it was about."""
    about = _about(app, sources)
    return (str(about.get("old") or ""), str(about.get("new") or "")) if about else None


def fact_pair(app: App, form_values: ReportForm) -> FactPair | None:
    """Of the facts file that was added last, else of the two identities: as the run was asked about them, if it was about
    the same two; None if no identity is chosen."""
    given = files_of_kind(form_values.files, FACTS)
    if given:
        return identity_pair.load(given[-1].path)
    about = _about(app, form_values.sources)
    if about and (about.get("old") or "", about.get("new") or "") == (form_values.old, form_values.new):
        return identity_pair.from_mapping(about["facts"], "the run's facts")
    sides = [identities.load(name, app.identities).facts if name else None for name in (form_values.old, form_values.new)]
    return identity_pair.from_identities(*sides) if any(sides) else None


def shell_command(app: App, form_values: ReportForm) -> str:
    """What makes the same report from a shell in the repository's folder, as far as the files lie there."""
    words = ["python", "-m", "probes.report", "--db", str(app.db)]
    for source in form_values.sources:
        words += [f"--{source.split()[0]}", source.split()[1]]
    for file in form_values.files:
        words += [FLAGS[file.kind], file.name]
    if not files_of_kind(form_values.files, FACTS):
        words += [
            *(("--old", form_values.old) if form_values.old else ()),
            *(("--new", form_values.new) if form_values.new else ()),
        ]
    words += ["--source", form_values.evidence] if form_values.evidence != "best" else []
    return shlex.join([*words, "--lang", "both", "--out", "DIR"])


def _about(app: App, sources: Sequence[str]) -> dict | None:
    """What a run says of its two identities, the first of the sources that does."""
    for source in sources:
        kind, number = source.split()
        about = store.runs.get(app.db, int(number))["settings"].get("about") if kind == RUN else None
        if about and about.get("facts"):
            return about
    return None


def _of_store(db: Path, source: str) -> collect.Answers:
    kind, number = source.split()
    return (collect.read_run if kind == RUN else collect.read_queue)(db, int(number))


def files_of(paths: Sequence[str] | str | None) -> list[str]:
    """What an upload gives, always as a list."""
    return [paths] if isinstance(paths, str) else list(paths or [])
