"""The tables, in numbered steps that record themselves in the file.

A step that has been released is never edited: the next change is a new function below the last one.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

migrations = Migrations("mirror-test")


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
