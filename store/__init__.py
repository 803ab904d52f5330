"""Remembering: answers, what people thought of them, and training jobs, in one SQLite file. Imports no other room."""

from store import answers, jobs, votes
from store.db import StoreError, open

__all__ = ["StoreError", "answers", "jobs", "open", "votes"]
