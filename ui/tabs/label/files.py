"""Queues from runs and files, and labels in and out as files: what the Label tab's forms do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import store
from common.files import write_text
from probes import queue as planned_queue
from probes.answers import exchange, sources
from probes.queue import QueuePlan
from store import StoreError, labels, queues, runs
from ui import temp_files
from ui.context import App
from ui.words import say

RUN, FILE = "run", "file"  # where a queue's answers come from
RUNS_SHOWN = 40
FOR_OTHERS = (None, "researcher")  # the roles that bring in what others said


@dataclass(frozen=True)
class QueueForm(QueuePlan):
    """The form of a new queue: what it is to be, and where its answers come from."""

    source: str
    run: int | None
    file: str | None

    @classmethod
    def read(cls, values: Sequence) -> QueueForm:
        """From the form's values, in the order of the fields here; what was emptied takes its default."""
        given: dict[str, Any] = dict(zip((one.name for one in fields(cls)), values, strict=True))
        numbers = {"overlap": int(given["overlap"] or 1), "size": int(given["size"] or 0)}
        return cls(**given | numbers | {name: given[name] or "" for name in ("old", "new", "name")})


def make_queue(app: App, lang: str, form_values: QueueForm) -> int:
    """The new queue's id. StoreError, RowsError, FactsError or IdentityError say what is wrong, nothing then made."""
    rows, origin = chosen_rows(app, lang, form_values)
    made = planned_queue.make_queue(app.db, rows, replace(form_values, name=form_values.name.strip() or origin), app.identities)
    if made is None:
        heard = sum(row.get("answer") is not None for row in rows)
        raise StoreError(say(lang, "lb_nothing_left", rows=heard))
    return made


def chosen_rows(app: App, lang: str, form_values: QueueForm) -> tuple[list[dict], str]:
    """The rows of the chosen run or file, and what it is called. A file's answers are stored. StoreError or RowsError."""
    if form_values.source == RUN and form_values.run is not None:
        return sources.read_run(app.db, form_values.run).rows, run_name(app, lang, form_values.run)
    if form_values.source == FILE and form_values.file:
        origin = Path(form_values.file).name
        return exchange.add_answers(app.db, sources.complete_rows(exchange.read_rows(form_values.file)), origin), origin
    raise StoreError(say(lang, "lb_no_source"))


def known_runs(app: App) -> list[dict]:
    """Runs that have answers, newest first."""
    return [run for run in runs.recent(app.db, RUNS_SHOWN) if run["done"]]


def run_name(app: App, lang: str, run: int) -> str:
    name = runs.get(app.db, run)["name"]
    return say(lang, "lb_run_name", id=run) + (f" {name}" if name else "")


def variants_of(app: App, run: int | None) -> list[str]:
    return [variant["name"] for variant in runs.get(app.db, run)["variants"]] if run is not None else []


def sides_of(app: App, run: int | None) -> tuple[str, str] | None:
    """The old and the new identity that a run was begun with, if it was."""
    about = (runs.get(app.db, run)["settings"] or {}).get("about") if run is not None else None
    return (about.get("old") or "", about.get("new") or "") if about else None


def import_labels(app: App, path: str, annotator: str, role: str | None = None) -> tuple[int, int]:
    """(new labels, rows) of a file. role: of who is logged in as `annotator`; None without a login, where the local user brings
    in everybody's. RowsError or StoreError."""
    rows = exchange.read_rows(path)
    return exchange.add_labels(app.db, rows, annotator, for_others=role in FOR_OTHERS), len(rows)


def export_labels(app: App, queue: int | None) -> tuple[list[str], dict]:
    """Files of a queue's labels or of all, and how many `n` labels of how many `people` on how many `answers` they hold."""
    with store.open(app.db) as db:
        said = labels.standing(db, queue)
        rows = exchange.label_rows(db, queue)
        wanted = [queue] if queue is not None else [one["id"] for one in queues.all_with_counts(db)]
    if not rows:
        return [], {}
    parts = [sources.read_queue(app.db, one) for one in wanted if queues.get(app.db, one)["kind"] != "pairs"]
    queued = {row["answer_id"]: row for row in sources.join_answers(parts).rows}
    kept = ("answer_id", "variant", "lang", "question", "answer")
    alone = {row["answer_id"]: {key: row[key] for key in kept} for row in rows if row["answer_id"] not in queued}
    folder = temp_files.new_folder()
    name = "labels" if queue is None else f"labels-queue-{queue}"
    files = [folder / f"{name}.csv", folder / f"{name}.jsonl", folder / f"{name}.label-studio.json"]
    exchange.write_rows(files[0], rows, exchange.LABEL_COLUMNS)
    exchange.write_rows(files[1], rows)
    exchange.write_rows(files[2], exchange.label_studio_tasks([*queued.values(), *alone.values()], said))
    interface = folder / "label-studio-interface.xml"
    write_text(interface, exchange.label_studio_config())
    counts = {
        "n": len(rows),
        "people": len({row["annotator"] for row in rows}),
        "answers": len({row["answer_id"] for row in rows}),
    }
    return [str(file) for file in (*files, interface)], counts
