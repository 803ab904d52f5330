"""Agreement as the Label tab shows it: alpha, people two by two, the suggestions, and what a reveal uncovers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape

from sqlite_utils import Database

import store
from probes.verdicts import agreement
from probes.verdicts.agreement import Alpha, Labels, Pair
from store import labels, pairs, queues
from store.labels import LABELS
from ui.answer_html import split_shown
from ui.context import App
from ui.html import fold, paragraph, row, table
from ui.tabs.label.layout import ROWS_SHOWN
from ui.words import say

PAIRS_SHOWN = 15
CUT = 160  # characters of a text in a table


def agreement_html(app: App, lang: str, queue: int | None, everything: bool, annotator: str) -> str:
    """The section for one queue, or for all labels. StoreError if there is no such queue."""
    with store.open(app.db) as db:
        chosen = None if everything else queue
        if chosen is None and not everything:
            return _quiet(say(lang, "lb_need_queue"))
        settings = None if chosen is None else queues.get(db, chosen)
        if settings and settings["kind"] == "pairs":
            return _quiet(say(lang, "lb_pairs_no_agreement"))
        items = [] if chosen is None else queues.items(db, chosen)
        said = labels.standing(db, chosen)
        langs = languages_of(db, said)
        may_see = settings is not None and (not settings["blind"] or labels.has_revealed(db, annotator, settings["id"]))
    parts = [_alphas(lang, agreement.alphas(said, langs)), _disagreements(lang, said)]
    parts.append(
        _section(say(lang, "lb_pairs_people"), [_pair(lang, pair) for pair in agreement.pair_annotators(said)[:PAIRS_SHOWN]])
    )
    if settings:
        suggestions = {item["answer"]: item["suggestion"] for item in items if item.get("suggestion")}
        parts.append(_against(lang, said, suggestions, may_see))
    return "".join(parts)


def languages_of(db: Database, said: Labels) -> dict[int, str]:
    """answer id -> language of those that were labelled."""
    sql = "select id, lang from answers where id in (select value from json_each(?))"
    return dict(db.execute(sql, [json.dumps(list(said))]).fetchall())


def unsettled_answers(app: App, queue: int | None) -> list[int]:
    """Answers labelled differently and not settled, the most divided first; of a queue or of all."""
    return [row["answer"] for row in agreement.disagreements(labels.standing(app.db, queue))]


def create_settling_queue(app: App, name: str, queue: int | None) -> int | None:
    """A new queue of what is to be settled; None if nothing is. It hides what the queue it comes from hides. StoreError."""
    answers = unsettled_answers(app, queue)
    if not answers:
        return None
    with store.open(app.db) as db:
        settings = queues.get(db, queue) if queue is not None else {"blind": True, "mask": False}
        known = {item["answer"]: item for item in queues.items(db, queue)} if queue is not None else {}
        items = [dict(known.get(answer, {})) | {"answer": answer, "other": None} for answer in answers]
        return queues.create(db, name, items, kind="settle", blind=settings["blind"], mask=settings["mask"])


def revealed_html(app: App, lang: str, queue: int, annotator: str) -> str:
    """What was hidden from this person: variant, suggestion and others' labels of what they have labelled. StoreError."""
    with store.open(app.db) as db:
        settings = queues.get(db, queue)
        if not settings["blind"] or settings["kind"] == "settle" or not labels.has_revealed(db, annotator, queue):
            return ""
        if settings["kind"] == "pairs":
            rows = [_pair_row(item) for item in pairs.recent(db, queue, annotator, ROWS_SHOWN)]
            variants = {item["item"]: item.get("variant_of") or {} for item in queues.items(db, queue)}
            body = [_revealed_pair(lang, row, variants.get(row["item"], {})) for row in rows]
            return _revealed(lang, annotator, ("lb_th_question", "lb_th_mine", "lb_th_variant"), body, len(body))
        said = labels.standing(db, queue)
        items = [
            item for item in queues.items(db, queue) if any(row["annotator"] == annotator for row in said.get(item["answer"], ()))
        ]
        last = {item["answer"]: max(r["id"] for r in said[item["answer"]] if r["annotator"] == annotator) for item in items}
        shown = sorted(items, key=lambda item: -last[item["answer"]])[:ROWS_SHOWN]
        texts = queues.decided_items(db, queue, annotator, [item["answer"] for item in shown], reveal=True)
    body = []
    for item in shown:
        rows, text = said[item["answer"]], texts[item["answer"]]
        mine = [row for row in rows if row["annotator"] == annotator]
        others = [row for row in rows if row["annotator"] != annotator]
        suggestion = item.get("suggestion")
        body.append(
            [
                escape(_cut(text["question"])),
                escape(_cut(split_shown(text["shown"]).answer)),
                "<br>".join(_said(lang, row) for row in mine),
                escape(str(item.get("variant") or "")),
                escape(label_word(lang, suggestion)) if suggestion else "",
                "<br>".join(f"{escape(row['annotator'])}: {_said(lang, row)}" for row in others),
            ]
        )
    heads = ("lb_th_question", "lb_th_answer", "lb_th_mine", "lb_th_variant", "lb_th_suggestion", "lb_th_others")
    return _revealed(lang, annotator, heads, body, len(items))


def label_word(lang: str, label: str) -> str:
    return say(lang, _key_of(label)) if label in LABELS else label


def _key_of(label: str) -> str:
    """The page's word for a label or a choice, which its script uses too."""
    return "lbj_label_" + label.replace(" ", "_")


def _revealed(lang: str, annotator: str, heads: Sequence[str], body: Sequence[Sequence[str]], total: int) -> str:
    if not body:
        return _quiet(say(lang, "lb_revealed_none", name=annotator))
    line = _quiet(say(lang, "lb_revealed", name=annotator, shown=len(body), all=total))
    return line + table([say(lang, head) for head in heads], map(row, body), "lb-hidden")


def _pair_row(item: Mapping) -> dict:
    return {"item": item["item"], "question": item["question"], "choice": item["choice"], "sides": item["sides"]}


def _revealed_pair(lang: str, row: Mapping, names: Mapping[str, str]) -> list[str]:
    sides = [f"{letter}: {names.get(str(side['answer']), '')}" for letter, side in zip("AB", row["sides"], strict=True)]
    key = _key_of(row["choice"])
    return [escape(_cut(row["question"])), escape(say(lang, key)), "<br>".join(map(escape, sides))]


def _said(lang: str, row: Mapping) -> str:
    settled = f" ({escape(say(lang, 'lb_settled'))})" if row["kind"] == "adjudication" else ""
    return escape(label_word(lang, row["label"])) + settled


def _alphas(lang: str, found: Mapping[str, Alpha]) -> str:
    if not found["overall"].answers:
        return _quiet(say(lang, "lb_al_none"))
    body = []
    for key, alpha in found.items():
        what, _, which = key.partition(" ")
        if what == "overall":
            name = say(lang, "lb_al_overall")
        elif what == "lang":
            name = say(lang, "lb_al_lang", code=which)
        else:
            name = say(lang, "lb_al_label", label=label_word(lang, which))
        cells = [_number(lang, alpha.value), _share(alpha.agreed), f"{alpha.answers:,}", str(alpha.people)]
        body.append([escape(name), *map(escape, cells)])
    heads = ("lb_al_what", "lb_al_alpha", "lb_al_agreed", "lb_al_answers", "lb_al_people")
    return table([say(lang, head) for head in heads], map(row, body), "lb-alphas") + _quiet(say(lang, "lb_al_why"))


def _disagreements(lang: str, said: Labels) -> str:
    every = agreement.disagreements(said, settled=True)
    settled = sum(row["settled"] is not None for row in every)
    line = say(lang, "lb_disagree_line", n=len(every) - settled, settled=settled)
    return _section(say(lang, "lb_disagreements"), [_quiet(line), _quiet(say(lang, "lb_settle_info"))]) if every else ""


def _against(lang: str, said: Labels, suggestions: Mapping[int, str], may_see: bool) -> str:
    if not suggestions:
        return _section(say(lang, "lb_against"), [_quiet(say(lang, "lb_against_none"))])
    if not may_see:
        return _section(say(lang, "lb_against"), [_quiet(say(lang, "lb_against_hidden"))])
    return _section(say(lang, "lb_against"), [_pair(lang, pair) for pair in agreement.pair_with_suggestions(said, suggestions)])


def _pair(lang: str, pair: Pair) -> str:
    first = say(lang, "lb_people") if (pair.first, pair.second) == ("people", "suggestions") else pair.first
    second = say(lang, "lb_suggestions") if pair.second == "suggestions" else pair.second
    alpha = _number(lang, pair.alpha)
    line = say(lang, "lb_pair_line", first=first, second=second, agreed=_share(pair.agreed), answers=pair.answers, alpha=alpha)
    words = [label for label in LABELS if any(label in both for both in pair.confusion)]
    body = [
        [escape(label_word(lang, word)), *(_cell(pair.confusion.get((word, other), 0), word == other) for other in words)]
        for word in words
    ]
    matrix = table(["", *(label_word(lang, word) for word in words)], map(row, body), "lb-matrix")
    return fold(line, _quiet(say(lang, "lb_matrix_rows", first=first, second=second)) + matrix, "lb-fold")


def _cell(count: int, same: bool) -> str:
    return f'<b class="lb-same">{count:,}</b>' if same else f"{count:,}" if count else '<i class="lb-zero">0</i>'


def _section(title: str, parts: Sequence[str]) -> str:
    return f'<h3 class="lb-title">{escape(title)}</h3>' + "".join(parts) if parts else ""


def _quiet(text: str) -> str:
    return paragraph(text, "lb-quiet")


def _number(lang: str, value: float | None) -> str:
    return say(lang, "lb_al_undefined") if value is None else f"{round(value, 2) + 0:.2f}".replace("-", "−")


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _cut(text: str) -> str:
    return text if len(text) <= CUT else text[: CUT - 1].rstrip() + "…"
