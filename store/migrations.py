"""The tables, in numbered steps that record themselves in the file.

A step that has been released is never edited: the next change is a new function below the last one.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from store import names
from store.errors import StoreError

migrations = Migrations("mirror-test")
APPLICATION_ID = 0x4D697254  # "MirT", in the header of every database of ours (PRAGMA application_id)
# A whole number that a browser keeps exactly, above every number that SQLite itself gives to a row; drawn by SQLite at random.
LEAST_DRAWN = 2**52
DRAWN_ID = f"((random() & {LEAST_DRAWN - 1}) + {LEAST_DRAWN})"


@migrations()
def m001_answers(db: Database) -> None:
    db["answers"].create(
        {
            "id": int,
            "created": str,
            "source": str,
            "session": str,
            "lang": str,
            "variant_name": str,
            "variant_key": str,
            "request_key": str,
            "question": str,
            "raw": str,
            "shown": str,
            "prompt": str,
            "format": str,
            "finish": str,
            "prompt_tokens": int,
            "new_tokens": int,
            "mean_logprob": float,
            "dropped_turns": int,
            "seed": int,
            "base_hash": str,
            "format_hash": str,
            "identity_hash": str,
            "adapter_hashes": str,
            "variant": str,
            "messages": str,
            "decoding": str,
            "timings": str,
        },
        pk="id",
        not_null={"created", "source", "variant_name", "variant_key", "question", "raw", "shown", "variant", "messages"},
    )
    db["answers"].create_index(["request_key"])
    db["answers"].create_index(["source"])


@migrations()
def m002_votes(db: Database) -> None:
    db["votes"].create(
        {
            "id": int,
            "created": str,
            "annotator": str,
            "answer_a": int,
            "answer_b": int,
            "choice": str,
            "shown_order": str,
            "blind": int,
            "superseded_by": int,
        },
        pk="id",
        not_null={"created", "annotator", "answer_a", "answer_b", "choice", "shown_order", "blind"},
        foreign_keys=[("answer_a", "answers", "id"), ("answer_b", "answers", "id"), ("superseded_by", "votes", "id")],
    )


@migrations()
def m003_jobs(db: Database) -> None:
    db["jobs"].create(
        {
            "id": int,
            "name": str,
            "kind": str,
            "arguments": str,
            "settings": str,
            "folder": str,
            "owned": int,
            "log": str,
            "device": str,
            "needs_bytes": int,
            "park": int,
            "parked": int,
            "status": str,
            "message": str,
            "created": str,
            "queued": str,
            "started": str,
            "ended": str,
            "attempt": int,
            "attempts": str,
            "resumed_from": int,
            "token": str,
            "pid": int,
            "process_start": str,
            "child_pid": int,
            "child_start": str,
            "exit_code": int,
            "step": int,
            "total": int,
            "stop_asked": str,
            "stop_keep": int,
            "signalled": str,
            "metrics_file": str,
            "metrics_offset": int,
        },
        pk="id",
        not_null={"name", "kind", "arguments", "folder", "log", "device", "status", "message", "created", "queued", "attempt"},
    )
    db["jobs"].create_index(["status"])
    db["metrics"].create(
        {
            "job": int,
            "step": int,
            "time": float,
            "epoch": float,
            "loss": float,
            "lr": float,
            "grad_norm": float,
            "samples_per_s": float,
            "tokens_per_s": float,
            "eval_loss": float,
            "margin": float,
            "extra": str,
        },
        pk=("job", "step"),
        foreign_keys=[("job", "jobs", "id")],
    )


@migrations()
def m004_runs(db: Database) -> None:
    """Runs of probe sets, and which answer belongs where in them. An answer may belong to several runs."""
    db["answers"].add_column("dtype", str)
    db["runs"].create(
        {
            "id": int,
            "created": str,
            "updated": str,
            "name": str,
            "status": str,
            "message": str,
            "mode": str,
            "samples": int,
            "set_name": str,
            "set_hash": str,
            "base": str,
            "base_hash": str,
            "dtype": str,
            "settings": str,
            "variants": str,
            "probes": str,
            "total": int,
        },
        pk="id",
        not_null={"created", "updated", "name", "status", "mode", "samples", "set_hash", "variants", "probes", "total"},
    )
    db["run_answers"].create(
        {
            "run": int,
            "probe_id": str,
            "variant": int,
            "sample": int,
            "turn": int,
            "answer": int,
            "reused": int,
            "problem": str,
        },
        pk=("run", "variant", "sample", "probe_id", "turn"),
        not_null={"reused"},
        foreign_keys=[("run", "runs", "id"), ("answer", "answers", "id")],
    )
    db["run_answers"].create_index(["answer"])
    db["margins"].create(
        {"run": int, "variant": int, "probe_id": str, "old": float, "new": float},
        pk=("run", "variant", "probe_id"),
        not_null={"old", "new"},
        foreign_keys=[("run", "runs", "id")],
    )


@migrations()
def m005_labels(db: Database) -> None:
    _create_queues(db)
    _create_labels(db)
    _create_marks(db)


def _create_queues(db: Database) -> None:
    db["queues"].create(
        {
            "id": int,
            "created": str,
            "name": str,
            "kind": str,
            "overlap": int,
            "blind": int,
            "mask": int,
            "settings": str,
        },
        pk="id",
        not_null={"created", "name", "kind", "overlap", "blind", "mask", "settings"},
    )
    db["queue_items"].create(
        {
            "id": int,
            "queue": int,
            "position": int,
            "answer": int,
            "other": int,
            "meta": str,
            "have": int,
            "full": int,
        },
        pk="id",
        not_null={"queue", "position", "answer", "meta", "have", "full"},
        defaults={"have": 0, "full": 0},
        foreign_keys=[("queue", "queues", "id"), ("answer", "answers", "id"), ("other", "answers", "id")],
    )
    db["queue_items"].create_index(["queue", "full", "position"])
    db["queue_items"].create_index(["answer", "queue"])


def _create_labels(db: Database) -> None:
    db["labels"].create(
        {
            "id": int,
            "created": str,
            "annotator": str,
            "answer": int,
            "queue": int,
            "kind": str,
            "label": str,
            "tags": str,
            "flag": int,
            "comment": str,
            "blind": int,
            "seconds": float,
            "token": str,
            "superseded_by": int,
        },
        pk="id",
        not_null={"created", "annotator", "answer", "kind", "tags", "flag", "comment", "blind"},
        foreign_keys=[("answer", "answers", "id"), ("queue", "queues", "id"), ("superseded_by", "labels", "id")],
    )
    db["labels"].create_index(["answer", "annotator"])
    db["labels"].create_index(["annotator", "queue"])
    db.execute("create unique index idx_labels_token on labels (annotator, token) where token is not null")


def _create_marks(db: Database) -> None:
    # What each person has done with each item of a queue: follows from labels and votes, kept beside them for speed.
    db["queue_marks"].create(
        {"queue": int, "annotator": str, "item": int, "skip": int, "vote": int, "full": int},
        pk=("queue", "annotator", "item"),
        not_null={"skip", "full"},
        foreign_keys=[("queue", "queues", "id"), ("item", "queue_items", "id"), ("vote", "votes", "id")],
    )
    db["queue_marks"].create_index(["item"])
    db["queue_marks"].create_index(["queue", "annotator", "full", "skip"])
    db["vote_tokens"].create(
        {"annotator": str, "token": str, "vote": int},
        pk=("annotator", "token"),
        foreign_keys=[("vote", "votes", "id")],
    )
    db["reveals"].create(
        {"id": int, "created": str, "annotator": str, "queue": int, "answer": int},
        pk="id",
        not_null={"created", "annotator"},
        foreign_keys=[("queue", "queues", "id"), ("answer", "answers", "id")],
    )
    db["reveals"].create_index(["annotator"])


@migrations()
def m006_pairs_by_their_other_answer(db: Database) -> None:
    """Whether an answer was revealed is asked at every label, and its pairs are found by either answer."""
    db["queue_items"].create_index(["other"])


@migrations()
def m007_opinions(db: Database) -> None:
    db["opinions"].create(
        {"id": int, "created": str, "answer": int, "judge": str, "opinion": str, "prompt": str, "reply": str},
        pk="id",
        not_null={"created", "answer", "judge", "opinion", "prompt", "reply"},
        foreign_keys=[("answer", "answers", "id")],
    )
    db["opinions"].create_index(["answer"])


@migrations()
def m008_unestimated_jobs(db: Database) -> None:
    """Why nobody knows how much memory a job needs."""
    db["jobs"].add_column("unestimated", str, not_null_default="")


@migrations()
def m009_owners(db: Database) -> None:
    """Whose a run under way is, that a job's folder is its own, and an order of the queue that no clock changes."""
    db["runs"].add_column("owner", str)
    db["runs"].add_column("beat", int, not_null_default=0)
    db["jobs"].add_column("mark", str)
    db["jobs"].add_column("place", int, not_null_default=0)
    db.execute("update jobs set place = id")


@migrations()
def m010_drawn_ids(db: Database) -> None:
    """What a blind page knows items and answers by, drawn for each queue: the stored numbers tell the order of the variants."""
    for column in ("drawn", "drawn_answer", "drawn_other"):
        db["queue_items"].add_column(column, int)
    db.execute(f"update queue_items set drawn = {DRAWN_ID}, drawn_answer = {DRAWN_ID}, drawn_other = {DRAWN_ID}")
    db["queue_items"].create_index(["queue", "drawn"])


@migrations()
def m011_one_spelling_of_a_name(db: Database) -> None:
    """Names of people from before they had one spelling; where somebody else is called so already, both stay as they are."""
    tables = ("labels", "votes", "queue_marks", "vote_tokens", "reveals")
    known = {name for table in tables for (name,) in db.execute(f"select distinct annotator from {table}")}
    for name in sorted(known):
        try:
            plain = names.person(name)
        except StoreError:
            continue  # still read and exported under what it is
        if plain and plain not in known:
            known.add(plain)
            for table in tables:
                db.execute(f"update {table} set annotator = ? where annotator = ?", [plain, name])


@migrations()
def m012_events(db: Database) -> None:
    """Who did what that others may want to know of."""
    db["events"].create(
        {"id": int, "created": str, "who": str, "deed": str, "thing": str, "detail": str},
        pk="id",
        not_null={"created", "who", "deed", "thing", "detail"},
    )


@migrations()
def m013_gold(db: Database) -> None:
    """Labels that are known beforehand, apart from the items, so that nothing told to whoever labels can hold one."""
    db["gold"].create(
        {"queue": int, "answer": int, "label": str},
        pk=("queue", "answer"),
        not_null={"label"},
        foreign_keys=[("queue", "queues", "id"), ("answer", "answers", "id")],
    )
    db["gold"].create_index(["answer"])


@migrations()
def m014_identity_versions(db: Database) -> None:
    """Every saved text of an identity; answers are counted by the hash of their prompt."""
    db["identity_versions"].create(
        {"id": int, "created": str, "who": str, "name": str, "hash": str, "text": str, "facts": str},
        pk="id",
        not_null={"created", "who", "name", "hash", "text", "facts"},
    )
    db["identity_versions"].create_index(["name"])
    db["answers"].create_index(["identity_hash"])


@migrations()
def m015_answers_by_probe(db: Database) -> None:
    """What was answered to a probe in any run is asked whenever a cell is enlarged."""
    db["run_answers"].create_index(["probe_id", "run"])
