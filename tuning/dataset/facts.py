"""Who an identity is, language by language, as the wordings of the data need it: tidy, and with a name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from identities import LANGS, Lang, Who
from identities.facts import TEXTS
from tuning.dataset.rows import DataError


def facts_by_language(facts: Any) -> dict[Lang, Who]:
    """An identity's facts, an object or mapping with `en` and `zh`, each a Who or what has its fields.

    A language that is absent or None is left out. Raises DataError if a language has no name, or none is there.
    """
    known: dict[Lang, Who] = {}
    problems = []
    for lang in LANGS:
        part = _get(facts, lang)
        if not part:
            continue
        texts = {field: str(_get(part, field) or "").strip() for field in TEXTS}
        aliases = _get(part, "aliases") or ()
        aliases = (aliases,) if isinstance(aliases, str) else aliases
        if texts["name"]:
            known[lang] = Who(**texts, aliases=tuple(kept for alias in aliases if (kept := str(alias).strip())))
        else:
            problems.append(f"the facts have no name in {lang}")
    if problems:
        raise DataError("Identity: " + "; ".join(problems) + "; give one in its YAML file.")
    if not known:
        raise DataError("Identity: there are no facts in en or zh; write name, maker, role, date into its YAML file.")
    return known


def _get(thing: Any, field: str) -> Any:
    return thing.get(field) if isinstance(thing, Mapping) else getattr(thing, field, None)
