"""The one error of this room."""

from __future__ import annotations

from common.errors import UserError


class StoreError(UserError):
    """Something a person can put right; its text is one sentence for that person."""
