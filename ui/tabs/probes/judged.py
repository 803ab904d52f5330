"""A run as the matrix shows it: columns, probes and cells as plain data, suggestions added, new cells told by themselves.

Judging an answer takes a moment, so what was judged is kept here per run; several pages share it. No Gradio.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import identities
from engine.types import Variant
from probes.identity_pair import FactPair, from_mapping
from probes.questions import as_dict, from_dict
from probes.run import plan, rows as answer_rows
from probes.run.launch import about_of
from probes.suggest.labels import suggest
from probes.verdicts.rules import Result
from store import runs
from store.labels import LABELS
from ui.answer_html import split_shown
from ui.context import App
from ui.tabs.probes import summary
from ui.tabs.probes.form import identities_with_facts
from ui.tabs.probes.start import facts_of_sides
from ui.variants import headline

KEPT = 6  # runs whose judged rows stay in memory

Key = tuple[str, int, int]  # probe id, variant index, sample


@dataclass(eq=False)
class JudgedRun:
    """One run's rows with their suggestions. stamp: another one means that cells a page already has may have changed.

    order: the keys as they came, so that a page can ask for those after the first n.
    """

    stamp: str
    facts: FactPair | None
    names: tuple[str, str]
    rows: dict[Key, dict] = field(default_factory=dict)
    order: list[Key] = field(default_factory=list)
    turns: int = 0  # places of the run that had something when it was last looked at
    seen: int = 0  # how far it was looked at (`probes.run.rows.news_of`)
    margins: int = 0
    by_variant: dict[int, list[Key]] = field(default_factory=dict)
    results: dict[int, list[Result]] = field(default_factory=dict)  # by variant, of those that nothing new has come of
    lock: threading.Lock = field(default_factory=threading.Lock)  # guards the fields: one page fills them, others read


class RunCache:
    """The latest runs looked at, judged."""

    def __init__(self) -> None:
        self.known: OrderedDict[int, JudgedRun] = OrderedDict()
        self.lock = threading.Lock()  # guards `known`

    def of(self, app: App, run: int) -> JudgedRun:
        """The run with everything that is in the store by now. Raises StoreError."""
        row = runs.get(app.db, run)
        with self.lock:
            judged_run = self.known.get(run)
            if judged_run is None:
                facts, names = facts_for(app, row)
                judged_run = self.known[run] = JudgedRun(uuid.uuid4().hex[:8], facts, names)
            self.known.move_to_end(run)
            while len(self.known) > KEPT:
                self.known.popitem(last=False)
        with judged_run.lock:
            judge_new_rows(app, judged_run, row)
        return judged_run


def judge_new_rows(app: App, judged_run: JudgedRun, run: Mapping) -> None:
    """Judges what is new, and reads nothing else. Margins come after the answers, to cells that pages have already: then all are
    told anew."""
    margins = runs.count_margins(app.db, run["id"])
    again = margins != judged_run.margins
    if run["done"] == judged_run.turns and not again:
        return
    index = {one["name"]: at for at, one in enumerate(run["variants"])}
    seen, rows = answer_rows.news_of(app.db, run, 0 if again else judged_run.seen)
    for row in rows:
        key = (row["probe_id"], index[row["variant"]], row["sample"])
        if key in judged_run.rows and not again:
            continue
        if key not in judged_run.rows:
            judged_run.order.append(key)
            judged_run.by_variant.setdefault(key[1], []).append(key)
            judged_run.results.pop(key[1], None)
        judged = suggest(row, judged_run.facts) if judged_run.facts and row["answer"] is not None else {}
        judged_run.rows[key] = row | judged
    judged_run.turns, judged_run.seen = run["done"], seen
    if again:
        judged_run.stamp, judged_run.margins = uuid.uuid4().hex[:8], margins


def facts_for(app: App, row: Mapping) -> tuple[FactPair | None, tuple[str, str]]:
    """What a run's suggestions compare with, and the two identities' names; no facts, no suggestions."""
    about = about_of(row)
    if about.get("facts"):
        pair, names = from_mapping(about["facts"], needed=False), (about.get("old") or "", about.get("new") or "")
    else:
        names = default_sides(app)
        pair = facts_of_sides(app, *names)
    return pair or None, names


def default_sides(app: App) -> tuple[str, str]:
    """Who is old and who is new where nobody has said it: the base's own identity, and the first other one."""
    known, base = identities_with_facts(app), app.engine.base
    card = getattr(getattr(base, "card", None), "name", "")
    old = card if card in known else next((name for name in known if name == identities.DEFAULT_OLD), "")
    new = next((name for name in known if name == identities.DEFAULT_NEW), "")
    return old, new if new != old else next((name for name in known if name != old), "")


def run_payload(app: App, cache: RunCache, run: int, lang: str) -> dict:
    """Everything the page needs of a run, but for the words that are the same for all."""
    row, judged_run = runs.get(app.db, run), cache.of(app, run)
    script = row["settings"].get("script")
    probes = [from_dict(one) for one in row["probes"]]
    return {
        "run": {key: row[key] for key in ("id", "name", "created", "mode", "samples", "set_name", "base", "dtype")},
        "sides": list(judged_run.names) if judged_run.facts else None,
        "columns": [column(one, lang) for one in row["variants"]],
        "probes": [
            {key: as_dict(probe)[key] for key in ("id", "group", "category", "lang", "pair", "held_out")}
            | {"turns": plan.turns_of(probe, script), "check": probe.check is not None}
            for probe in probes
        ],
    }


def column(one: Mapping, lang: str) -> dict:
    """A variant's heading: its name in the run, and in which way it is one."""
    plain = {key: value for key, value in one.items() if key not in ("hashes", "paths")}
    main, how = headline(lang, Variant.from_dict(plain))
    base = not one["adapters"] and one.get("prompt") is None
    return {"name": one["name"], "title": main, "how": how, "base": base}


def cells(judged_run: JudgedRun, since: int = 0) -> list[list]:
    """The cells from the n-th on, as short as may be: [probe id, variant, sample, text, suggestion's place in LABELS or -1,
    unsure, finish, check, problem, reused, margin]."""
    found = []
    with judged_run.lock:
        for key in judged_run.order[since:]:
            row = judged_run.rows[key]
            word = row.get("suggestion")
            found.append(
                [
                    *key,
                    split_shown(row["answer"] or "", row["prompt"]).answer,
                    LABELS.index(word) if word in LABELS else -1,
                    int(bool(word) and not row["sure"]),
                    row["finish"] or "",
                    row["check"],
                    row["problem"],
                    int(bool(row["reused"])),
                    None if row["margin"] is None else round(row["margin"], 3),
                ]
            )
    return found


def results_of(judged_run: JudgedRun, variants: Sequence[str], base: str | None) -> list[Result]:
    """What the suggestions come to, in the variants' order. Only variants are judged of which something is new; the base, which
    retention is compared with, brings them all along."""
    compared = variants.index(base) if base in variants else None
    with judged_run.lock:
        if compared is not None and compared not in judged_run.results:
            judged_run.results.clear()
        new = [at for at in judged_run.by_variant if at not in judged_run.results]
        asked = {*new, *([] if compared is None or not new else [compared])}
        keys = sorted((key for at in asked for key in judged_run.by_variant.get(at, ())), key=lambda one: one[2])
        found = summary.judge_rows([judged_run.rows[key] for key in keys], variants, base)
        for at in new:
            judged_run.results[at] = [one for one in found if one.variant == variants[at]]
        return [one for at in sorted(judged_run.results) for one in judged_run.results[at]]


def chosen_rows(judged_run: JudgedRun, keys: Sequence[Sequence] | None, samples: bool = True) -> list[dict]:
    """The rows behind what a page shows: keys are (probe id, variant index); None is everything."""
    wanted = None if keys is None else {(str(probe), int(variant)) for probe, variant in keys}
    with judged_run.lock:
        return [
            dict(judged_run.rows[key])
            for key in sorted(judged_run.order, key=lambda one: one[2])
            if (wanted is None or key[:2] in wanted) and (samples or key[2] == 0)
        ]
