"""Remembering: answers and the runs that asked for them, what people thought of them, training jobs. Imports no other room."""

from store import answers, drawn, events, gold, identity_versions, jobs, labels, opinions, owners, pairs, queues, runs, votes
from store.db import StoreError, open

__all__ = [
    "StoreError",
    "answers",
    "drawn",
    "events",
    "gold",
    "identity_versions",
    "jobs",
    "labels",
    "open",
    "opinions",
    "owners",
    "pairs",
    "queues",
    "runs",
    "votes",
]
