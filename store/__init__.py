"""Remembering: what was answered and what people thought of it, in one SQLite file. Imports no other room."""

from store import answers, votes
from store.db import StoreError, open

__all__ = ["StoreError", "answers", "open", "votes"]
