"""How far everybody agrees with the labels that are known beforehand: for whoever leads, never for whoever is labelling."""

from __future__ import annotations

from collections import Counter
from html import escape

import store
from identities import natural_key
from probes.report import table as results_table
from probes.verdicts import statistics
from store import gold, queues
from ui.context import App
from ui.html import fold, paragraph, row, table
from ui.tabs.label.agreement import label_word
from ui.words import say

HEADS = ("lb_gold_who", "lb_gold_answers", "lb_gold_same", "lb_gold_share", "lb_gold_differs")


def gold_html(app: App, lang: str, queue: int | None, annotator: str) -> str:
    """The section of one queue. annotator: who looks; nothing is told to somebody who is in the middle of it. StoreError."""
    if queue is None:
        return paragraph(say(lang, "lb_need_queue"), "lb-quiet")
    with store.open(app.db) as db:
        queues.get(db, queue)
        if annotator:
            mine = queues.progress(db, queue, annotator)
            if mine["mine"] and mine["left"]:
                return paragraph(say(lang, "lb_gold_labelling", name=annotator, left=mine["left"]), "lb-quiet", role="status")
        known, said = gold.known(db, queue), gold.said(db, queue)
        texts = _questions(db, list(known))
    if not known:
        return paragraph(say(lang, "lb_gold_none"), "lb-quiet")
    if not said:
        return paragraph(say(lang, "lb_gold_nobody", count=len(known)), "lb-quiet")
    body = [_person(lang, name, said[name], known) for name in sorted(said, key=natural_key)]
    line = paragraph(say(lang, "lb_gold_line", count=len(known)), "lb-quiet")
    return (
        line + table([say(lang, head) for head in HEADS], map(row, body), "lb-alphas lb-gold") + _items(lang, known, said, texts)
    )


def _person(lang: str, name: str, said: dict[int, str], known: dict[int, str]) -> list[str]:
    hits = sum(known[answer] == label for answer, label in said.items())
    share = results_table.format_interval(statistics.interval_of_counts(hits, len(said)))
    differs = Counter((known[answer], label) for answer, label in said.items() if known[answer] != label)
    words = (
        say(lang, "lb_gold_instead", known=label_word(lang, right), said=label_word(lang, given), count=count)
        for (right, given), count in differs.most_common()
    )
    return [escape(name), f"{len(said):,}", f"{hits:,}", escape(share), "<br>".join(map(escape, words))]


def _items(lang: str, known: dict[int, str], said: dict[str, dict[int, str]], texts: dict[int, str]) -> str:
    """Every such item with what was said of it, folded away."""
    body = []
    for answer, label in known.items():
        given = (f"{name}: {label_word(lang, of[answer])}" for name, of in said.items() if answer in of)
        body.append([escape(texts.get(answer, "")), escape(label_word(lang, label)), "<br>".join(map(escape, given))])
    heads = [say(lang, head) for head in ("lb_th_question", "lb_gold_known", "lb_gold_said")]
    return fold(say(lang, "lb_gold_items", count=len(known)), table(heads, map(row, body), "lb-hidden"), "lb-fold")


def _questions(db, answers: list[int]) -> dict[int, str]:
    return {answer: (store.answers.get(db, answer) or {}).get("question", "") for answer in answers}
