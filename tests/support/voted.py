"""Votes straight into a store: answers of two variants to a question, and what somebody preferred."""

from __future__ import annotations

from itertools import count

from label_page import row

import store

NUMBER = count()


def answer(db, variant: str, question: str, lang: str | None = "en", **more) -> int:
    given = row(question, f"{variant} says {next(NUMBER)}", variant, lang)
    given["variant"] |= {"adapters": {variant: 1.0}} | more
    return store.answers.add(db, [given])[0]


def vote(db, left: str, right: str, choice: str, question: str = "Who are you?", *, blind=True, who="", lang: str | None = "en"):
    ids = [answer(db, variant, question, lang) for variant in (left, right)]
    return store.votes.add(db, *ids, choice, blind=blind, annotator=who)
