"""Who is forgotten and who is learned where nobody says it: the experiment's own base, and the identity that ships with it."""

from __future__ import annotations

DEFAULT_OLD = "BayLing"
DEFAULT_NEW = "finance-advisor"
