"""Remembering: answers and the runs that asked for them, what people thought of them, training jobs. Imports no other room."""

from store import answers, events, jobs, labels, opinions, pairs, queues, runs, votes
from store.db import StoreError, open

__all__ = ["StoreError", "answers", "events", "jobs", "labels", "open", "opinions", "pairs", "queues", "runs", "votes"]
