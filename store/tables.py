"""docs/database.md: the tables as Markdown, read from a database that the migrations have just made. `python -m store.tables`"""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.db import Table

import store
from store.migrations import migrations

# what a column holds in every table that has one of that name and says nothing else of it
EVERYWHERE = {
    "created": "when it was stored",
    "annotator": "who it is of: the name that was given, or logged in with",
    "name": "as people see it",
    "message": "why it is as it is, one sentence; empty where all is well",
    "base_hash": "of the base's weights",
    "dtype": "number format that the base computed in: float32, bfloat16, float16; with quantised weights int8 (float32) ...",
    "probe_id": "`id` of the probe",
}
# table -> what a row is, and what its columns hold
MEANING: dict[str, tuple[str, dict[str, str]]] = {
    "answers": (
        "One answer, as it was given. Never changed and never deleted.",
        {
            "source": "who asked: chat, blind, api, probes, identity (*Try it*), moments, import (from elsewhere)",
            "session": "the page's key, for the chat",
            "lang": "language of the question, en or zh",
            "variant_name": "as the page showed it",
            "variant_key": "hash of base, quantising, format, adapters with strengths, prompt, mode, decoding; no names, no seed",
            "request_key": "the same with turns, seed and number format: what is equal here was asked of the same model",
            "question": "the last message, as it was typed",
            "raw": "what the model wrote, to the letter",
            "shown": "what the page showed: placeholders filled, thoughts taken out",
            "prompt": "the exact text that was sent",
            "format": "name of the chat template",
            "finish": "stop (the model ended it), length (cut at `max_new_tokens`), stopped (by a person)",
            "prompt_tokens": "tokens of `prompt`",
            "new_tokens": "tokens of `raw`",
            "mean_logprob": "natural log, per token",
            "dropped_turns": "earlier turns that the context had no room for",
            "seed": "of the sampling; tells nothing where decoding was greedy",
            "format_hash": "of the template and its stop strings",
            "identity_hash": "of the identity's prompt; empty where there was none",
            "adapter_hashes": "JSON: adapter -> SHA-256 of its weights",
            "variant": "JSON, all of it",
            "messages": "JSON: role and content of every turn before the answer",
            "decoding": "JSON",
            "timings": "JSON, seconds; `kept_tokens`: of the prompt, that were computed for an earlier answer",
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
    "vote_tokens": (
        "The key press that made a vote: the same one sent twice is one vote.",
        {"token": "drawn by the page for each key press", "vote": "empty where the press undid one"},
    ),
    "labels": (
        "One decision on an answer: a label, a skip, an adjudication, or the undoing of one.",
        {
            "kind": "label; skip; adjudication (settles what annotators disagree on); undone (takes one back)",
            "queue": "in which it was made; empty outside of one",
            "label": "one of `store/label_words.py`; empty for a skip",
            "tags": "JSON: name, maker and role apart",
            "flag": "1 if the annotator wants it looked at again",
            "comment": "the annotator's",
            "blind": "1 if nobody's name or label was shown meanwhile",
            "seconds": "how long the answer was looked at",
            "token": "the key press: the same one sent twice is one label",
            "superseded_by": "the row that took its place, empty for the one that counts",
        },
    ),
    "queues": (
        "Answers to be labelled, in an order.",
        {
            "kind": "labels (one answer at a time), pairs (two), or settle (those that annotators disagree on)",
            "blind": "1 if variants, suggestions and others' labels are hidden",
            "overlap": "how many people an item waits for",
            "mask": "1 if names are made unreadable",
            "settings": "JSON: what it was made from",
        },
    ),
    "queue_items": (
        "One answer of a queue, or two of a queue of pairs.",
        {
            "position": "place in the order that was drawn",
            "other": "the second answer of a pair",
            "meta": "JSON: variant, question, language, suggestion",
            "have": "how many people are done with it",
            "full": "1 once `overlap` people are",
            "drawn": "the random number a blind page knows the item by",
            "drawn_answer": "likewise of `answer`",
            "drawn_other": "likewise of `other`",
        },
    ),
    "queue_marks": (
        "What one person has done with one item of a queue.",
        {"skip": "1 if it was put off", "vote": "of a pair", "full": "1 if it counts towards the overlap"},
    ),
    "reveals": (
        "Somebody has seen what blind labelling hides; their labels of it cannot be changed any more.",
        {"queue": "all of it", "answer": "or this one"},
    ),
    "opinions": (
        "A second opinion of a judge model. Never counted as a label.",
        {
            "judge": "the model's name",
            "opinion": "a label, or `unclear`",
            "prompt": "what it was asked, in full",
            "reply": "what it said, in full",
        },
    ),
    "gold": (
        "An item of a queue whose label is known beforehand. Whoever labels is not told.",
        {"queue": "of `queues`", "answer": "of `answers`", "label": "the known one"},
    ),
    "runs": (
        "A probe run: a set asked of several variants.",
        {
            "updated": "when anything of it was stored last",
            "status": "running (asks, or measures margins); paused; stopped (by somebody); failed (`message` says why); done. "
            "Running or paused without a living owner, it was interrupted. All but done can be resumed",
            "mode": "fresh, running or scripted conversations",
            "samples": "answers per question",
            "set_name": "as it was asked for",
            "set_hash": "of the probes as they were asked",
            "base": "its name",
            "settings": "JSON: how it asks; under `about` who is old and new, their facts, and whether margins are wanted",
            "total": "answers that it comes to",
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
            "sample": "from 0; the first is greedy",
            "turn": "of the conversation, from 0",
            "reused": "1 if the answer is of an earlier run",
            "problem": "why there is no answer",
        },
    ),
    "margins": (
        "The identity margin of one probe: `new` - `old`.",
        {
            "variant": "index into `runs.variants`",
            "old": "mean log-likelihood per token of what the old identity would say of itself, nats",
            "new": "of what the new one would",
        },
    ),
    "jobs": (
        "A training, a merge: a process of its own.",
        {
            "kind": "train or merge",
            "arguments": "JSON: what follows `python`",
            "settings": "JSON: what the form said",
            "folder": "where it writes",
            "log": "file of what it prints",
            "device": "cpu, cuda:0 ...: one job at a time on each",
            "owned": "1 if the page chose the folder",
            "needs_bytes": "memory on its device, as foreseen",
            "unestimated": "why nothing is foreseen",
            "park": "1 if the chat's base may be moved aside for it",
            "parked": "1 if it is, or is about to be",
            "mark": "what the folder's own mark says: only such a folder is removed",
            "token": "given to the process, so that a reused pid is not taken for it",
            "place": "order in the queue",
            "status": "queued; starting (its process is begun); running; stopping (somebody asked for it); done; "
            "stopped (what it has is kept); failed (it said why); died (its process is gone and said nothing); "
            "discarded (stopped, and its files removed)",
            "queued": "when it was queued, or queued again",
            "started": "when this attempt began",
            "ended": "when it did",
            "attempt": "1, and one more each time it is resumed",
            "attempts": "JSON: how those before this one ended",
            "resumed_from": "the step of the checkpoint that this attempt began with",
            "pid": "of the wrapper that starts and outlives the job's own process",
            "process_start": "when that process began, as the system says, so that a reused pid is not taken for it",
            "child_pid": "of the job's own process",
            "child_start": "likewise of that one",
            "exit_code": "of the job's own process; negative: ended by that signal",
            "step": "optimizer steps done",
            "total": "of how many",
            "stop_asked": "when somebody wanted it to end",
            "stop_keep": "1 if what it has is kept then",
            "signalled": "when its processes were sent a signal for that",
            "metrics_file": "which file its steps are read from: device and inode",
            "metrics_offset": "bytes of it that have been read",
        },
    ),
    "metrics": (
        "One step of a training.",
        {
            "step": "optimizer steps done",
            "time": "seconds since the epoch",
            "epoch": "passes over the rows so far",
            "loss": "mean cross-entropy per learned token, nats; empty where it was no number",
            "lr": "learning rate",
            "grad_norm": "of all gradients, before clipping",
            "samples_per_s": "rows trained per second",
            "tokens_per_s": "tokens trained per second",
            "eval_loss": "likewise of the rows that were held back, where they were measured",
            "margin": "nats per token, where it was measured",
            "extra": "JSON: what else the step reported",
        },
    ),
    "events": (
        "Who deleted, settled, imported what: `python -m store.events`.",
        {
            "who": "the name logged in with; empty for the local user",
            "deed": "what was done",
            "thing": "to what",
            "detail": "how",
        },
    ),
    "identity_versions": (
        "A saved text of an identity, with its facts. Never changed but in its name, when the identity is renamed.",
        {
            "who": "as they had logged in; empty for the local user",
            "hash": "of the prompt, as in `answers.identity_hash`",
            "text": "NAME.txt, as an editor shows it",
            "facts": "NAME.yaml; empty where there was none",
        },
    ),
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
        about += [known] if (known := columns.get(column.name) or EVERYWHERE.get(column.name)) else []
        lines.append(f"| {column.name} | {column.type.lower()} | {'; '.join(about)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe(), end="")
