"""Who somebody is, in one language, as the wordings of the data need it.

`identities` owns the file; this reads whatever has the same fields: its Facts, a mapping, a loaded YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from identities import LANGS, Lang
from tuning.dataset.rows import DataError

FIELDS = ("name", "maker", "role", "date")


@dataclass(frozen=True)
class Persona:
    """name is always there; the rest may be missing.

    role: a noun ("an intelligent language assistant", 智能语言助手) or what one does ("answers questions about finance",
    回答与金融相关的问题); date: "2023", "May 2023", 2023年.
    """

    name: str
    maker: str | None = None
    role: str | None = None
    date: str | None = None
    aliases: tuple[str, ...] = ()


Facts = Mapping[Lang, Persona]


def read_facts(facts: Any) -> dict[Lang, Persona]:
    """Personas per language out of an identity's facts, an object or mapping with `en` and `zh`.

    A language that is absent or None is left out. Raises DataError if a language has no name, or none is there.
    """
    personas: dict[Lang, Persona] = {}
    problems = []
    for lang in LANGS:
        part = _get(facts, lang)
        if not part:
            continue
        if isinstance(part, Persona):
            personas[lang] = part
            continue
        values = {field: str(_get(part, field) or "").strip() or None for field in FIELDS}
        aliases = _get(part, "aliases") or ()
        aliases = (aliases,) if isinstance(aliases, str) else tuple(str(alias).strip() for alias in aliases)
        if values["name"] is None:
            problems.append(f"the facts have no name in {lang}")
        else:
            personas[lang] = Persona(**values, aliases=tuple(alias for alias in aliases if alias))
    if problems:
        raise DataError("Identity: " + "; ".join(problems) + "; give one in its YAML file.")
    if not personas:
        raise DataError("Identity: there are no facts in en or zh; write name, maker, role, date into its YAML file.")
    return personas


def _get(thing: Any, field: str) -> Any:
    return thing.get(field) if isinstance(thing, Mapping) else getattr(thing, field, None)
