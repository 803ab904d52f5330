"""Who an identity is, language by language, as the wordings of the data need it: with a name."""

from __future__ import annotations

from identities import Facts, Lang, Who
from tuning.dataset.rows import DataError


def facts_by_language(facts: Facts | None) -> dict[Lang, Who]:
    """Raises DataError if a language that is there has no name, or none is there."""
    known = facts.by_lang if facts else {}
    if problems := [f"the facts have no name in {lang}" for lang, who in known.items() if not who.name]:
        raise DataError("Identity: " + "; ".join(problems) + "; give one in its YAML file.")
    if not known:
        raise DataError("Identity: there are no facts in en or zh; write name, maker, role, date into its YAML file.")
    return known
