"""docs/database.md: the tables as Markdown, read from a database that the migrations have just made. `python -m store.tables`"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.db import Table

import store
from store.migrations import migrations

# table -> what a row is, and what its columns hold where the name does not say it
MEANING: dict[str, tuple[str, dict[str, str]]] = {
    "answers": (
        "One answer, as it was given. Never changed and never deleted.",
        {
            "created": "UTC, ISO 8601",
            "source": "who asked: chat, blind, api, probes, identity (*Try it*), import (from elsewhere)",
            "session": "the page's key, for the chat",
            "variant_name": "as the page showed it",
            "variant_key": "hash of base, format, adapters with strengths, prompt, mode, decoding; not of names or the seed",
            "request_key": "the same with turns, seed and number format: what is equal here was asked of the same model",
            "raw": "what the model wrote, to the letter",
            "shown": "what the page showed: placeholders filled, thoughts taken out",
            "prompt": "the exact text that was sent",
            "format": "name of the chat template",
            "finish": "stop, length, stopped (by a person)",
            "mean_logprob": "natural log, per token",
            "dropped_turns": "earlier turns that the context had no room for",
            "adapter_hashes": "JSON: adapter -> SHA-256 of its weights",
            "variant": "JSON, all of it",
            "messages": "JSON: role and content of every turn before the answer",
            "decoding": "JSON",
            "timings": "JSON, seconds",
        },
    ),
    "votes": (
        "One choice between two answers, or the undoing of one. A changed mind supersedes, it does not overwrite.",
        {
            "choice": "A, B, tie or both bad, or undone; A is `answer_a`",
            "shown_order": "which answer stood where on the page",
            "blind": "1 if the names were hidden",
            "superseded_by": "the row that took its place, empty for the one that counts",
        },
    ),
    "vote_tokens": ("The key press that made a vote: the same one sent twice is one vote.", {}),
    "labels": (
        "One decision on an answer: a label, a skip, an adjudication, or the undoing of one.",
        {
            "kind": "label, skip, adjudication, undone",
            "tags": "JSON: name, maker and role apart",
            "seconds": "how long the answer was looked at",
            "token": "the key press: the same one sent twice is one label",
            "superseded_by": "the row that took its place, empty for the one that counts",
        },
    ),
    "queues": (
        "Answers to be labelled, in an order.",
        {
            "kind": "labels, pairs or settle",
            "overlap": "how many people an item waits for",
            "mask": "1 if names are made unreadable",
            "settings": "JSON: what it was made from",
        },
    ),
    "queue_items": (
        "One answer of a queue, or two of a queue of pairs.",
        {
            "other": "the second answer of a pair",
            "meta": "JSON: variant, question, language, suggestion",
            "have": "how many people are done with it",
            "full": "1 once `overlap` people are",
            "drawn": "the random number a blind page knows the item by; `drawn_answer`, `drawn_other` of its answers",
        },
    ),
    "queue_marks": ("What one person has done with one item of a queue.", {"full": "1 if it counts towards the overlap"}),
    "reveals": ("Somebody has seen what blind labelling hides, of a queue or of an answer.", {}),
    "opinions": ("A second opinion of a judge model. Never counted as a label.", {"opinion": "JSON"}),
    "runs": (
        "A probe run: a set asked of several variants.",
        {
            "mode": "fresh, running or scripted conversations",
            "samples": "answers per question",
            "set_hash": "of the probes as they were asked",
            "settings": "JSON",
            "variants": "JSON, in the order of `run_answers.variant`",
            "probes": "JSON, as they were asked",
            "owner": "JSON: host, boot, process of the program that asks; empty where none does",
            "beat": "goes up while it asks",
        },
    ),
    "run_answers": (
        "Which answer belongs to which place of a run.",
        {
            "variant": "index into `runs.variants`",
            "reused": "1 if the answer is of an earlier run",
            "problem": "why there is no answer",
        },
    ),
    "margins": ("The identity margin of one probe.", {"old": "log-likelihood per token, nats", "new": "likewise"}),
    "jobs": (
        "A training, a merge: a process of its own.",
        {
            "kind": "train or merge",
            "arguments": "JSON: what follows `python`",
            "folder": "where it writes",
            "owned": "1 if the page chose the folder",
            "needs_bytes": "memory on its device, as foreseen",
            "park": "1 if the chat's base may be moved aside for it",
            "mark": "what the folder's own mark says: only such a folder is removed",
            "token": "given to the process, so that a reused pid is not taken for it",
            "place": "order in the queue",
        },
    ),
    "metrics": ("One step of a training.", {"margin": "nats per token", "extra": "JSON: what else the step reported"}),
    "identity_versions": (
        "A saved text of an identity, with its facts. Never changed but in its name, when the identity is renamed.",
        {
            "who": "as they had logged in; empty for the local user",
            "hash": "of the prompt, as in `answers.identity_hash`",
            "text": "NAME.txt, as an editor shows it",
            "facts": "NAME.yaml; empty where there was none",
        },
    ),
    "events": ("Who deleted, settled, imported what: `python -m store.events`.", {"deed": "what was done", "thing": "to what"}),
}

HEAD = """# The database

One SQLite file, `runs/mirror.db` unless `--db` says otherwise: WAL, foreign keys, written in transactions. This page is
`python -m store.tables > docs/database.md`, read from what the migrations make (`store/migrations.py`); a test compares the two.

Look into it while the program runs:

    pip install datasette
    datasette runs/mirror.db
    sqlite3 -readonly runs/mirror.db "select variant_name, label, count(*) from labels join answers on answers.id = labels.answer
      where superseded_by is null and kind = 'label' group by 1, 2"

`python -m store.check FILE` says whether it is sound, `python -m store.backup FILE TARGET` copies it while it is in use. Times
are UTC in ISO 8601; columns marked JSON hold JSON text. Answers, votes and labels are never overwritten: a later row
supersedes an earlier one. Marks, jobs and their metrics are, and go with what they belong to.
"""


def describe() -> str:
    """The whole page, docs/database.md."""
    with tempfile.TemporaryDirectory() as folder, store.open(Path(folder) / "empty.db") as db:
        steps = len(migrations.applied(db))
        parts = [_table(db, name) for name in MEANING]
    return f"{HEAD}\nVersion {steps} (`PRAGMA user_version`).\n\n" + "\n\n".join(parts) + "\n"


def tables(db: Database) -> set[str]:
    """The program's own tables: not SQLite's, and not the list of steps that have been applied."""
    return {name for name in db.table_names() if not name.startswith(("sqlite_", "_sqlite"))}


def _table(db: Database, name: str) -> str:
    table: Table = db.table(name)
    what, columns = MEANING[name]
    references = {key.column: f"{key.other_table}.{key.other_column}" for key in table.foreign_keys}
    lines = [f"## {name}", "", what, "", "| column | type | |", "| --- | --- | --- |"]
    for column in table.columns:
        about = ["key"] if column.name in table.pks else []
        about += [f"-> `{references[column.name]}`"] if column.name in references else []
        about += [] if column.notnull or column.is_pk else ["may be empty"]
        about += [columns[column.name]] if column.name in columns else []
        lines.append(f"| {column.name} | {column.type.lower()} | {'; '.join(about)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe(), end="")
