"""What the columns of an answers file may hold: its rows come from spreadsheets, colleagues and other programs."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

from common.errors import UserError
from probes.questions import GROUPS
from store.label_words import as_label
from store.labels import LABELS

WORDS = ("variant", "lang", "probe_id", "group", "category", "label_source", "suggestion")
# groups as people write them in a sheet
CALLED = {
    "controls": "control", "paraphrases": "paraphrase",
    "对照": "control", "控制": "control", "训练": "trained", "已训练": "trained", "改写": "paraphrase", "复述": "paraphrase",
    "新问法": "novel", "新题": "novel", "施压": "pressure", "压力": "pressure", "保留": "retention", "知识": "retention",
}  # fmt: skip


def checked(row: Mapping[str, Any], where: str, error: type[UserError]) -> dict[str, Any]:
    """The row with a number as the text it is written as where a word belongs, and its group as ours is called. Raises `error`
    for a value that nothing could be made of; where: file and line, for its sentence."""
    made = dict(row)
    for key in WORDS:
        value = row.get(key)
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise error(f"{where}: its {key} is {value!r}, a word is needed.")
        if value is not None:
            made[key] = str(value)
    number = row.get("answer_id")
    if isinstance(number, bool) or not isinstance(number, str | int | float | None):
        raise error(f"{where}: its answer_id is {number!r}, a number is needed.")
    if made.get("group"):
        made["group"] = group = as_group(made["group"])
        if group not in GROUPS:
            raise error(f"{where}: its group is {row['group']!r}; it is one of {', '.join(GROUPS)}, or leave it out.")
    return made


def as_group(given: str) -> str:
    """One of `questions.GROUPS` where it is known, else the word as it was understood."""
    plain = unicodedata.normalize("NFKC", given).strip().casefold()
    return CALLED.get(plain, plain)


def checked_judgement(row: dict[str, Any], where: str, error: type[UserError]) -> dict[str, Any]:
    """What a row of a suggestions file says beside its texts, in the shapes that reports read. Raises `error`."""
    for key in ("tags", "hashes"):
        if not isinstance(row.get(key), Mapping | None):
            raise error(f"{where}: its {key} is {row[key]!r}, names with values are needed.")
    spans = row.get("evidence")
    if spans is not None and not (
        isinstance(spans, list) and all(isinstance(one, Mapping) and {"what", "text"} <= one.keys() for one in spans)
    ):
        raise error(f"{where}: its evidence is {str(spans)[:80]}, a list of what was found, each with what and text, is needed.")
    margin = row.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float)):
        raise error(f"{where}: its margin is {margin!r}, a number is needed.")
    if row.get("label") not in (None, ""):
        said = as_label(row["label"]) if isinstance(row["label"], str) else ""
        if said not in LABELS:
            raise error(f"{where}: its label is {row['label']!r}; it is one of {', '.join(LABELS)}.")
        return row | {"label": said}
    return row
