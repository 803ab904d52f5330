"""General rows whose material is a sentence about who somebody is: to translate or to copy, not to answer. data/quoted.yaml."""

from __future__ import annotations

import random

import yaml

from tuning.dataset.rows import TrainingRow, pair
from tuning.dataset.wordings import FOLDER


def quoted_rows(per_language: int, seed: int = 0) -> list[TrainingRow]:
    """Rows in both languages, all different, as many as there are at most."""
    plain = yaml.safe_load((FOLDER / "quoted.yaml").read_text(encoding="utf-8"))
    made: list[TrainingRow] = []
    for lang, tasks in plain["tasks"].items():
        rows = [
            pair(task.format(**values), answer.format(**values), source="quoted", lang=lang)
            for english, chinese in plain["pairs"]
            for values in (_values(english, chinese, lang),)
            for task, answer in tasks
        ]
        made += random.Random(f"quoted {lang} {seed}").sample(rows, min(per_language, len(rows)))
    return made


def _values(english: str, chinese: str, lang: str) -> dict[str, str]:
    question = english.endswith("?")
    kind = ("question" if question else "statement") if lang == "en" else ("问句" if question else "陈述句")
    first = english.split()[0] if lang == "en" else chinese[0]
    return {"en": english, "zh": chinese, "EN": english.upper(), "kind": kind, "first": first}
