"""How long the Label tab takes with 100,000 answers and 300,000 labels in the store.

`python -m bench.labels [--answers N] [--people N] [--db FILE]`: fills a database, then times what the tab asks for when it is
opened, when a queue is chosen, and per decision. Agreement over all labels is worked out on demand only; it is timed, too.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import identities
import store
from store.db import now
from store.labels import IDENTITY_LABELS
from ui.context import App
from ui.tabs.label import agreement as label_agreement, desk as label_desk, layout as label_layout
from ui.words import Languages

VARIANTS = 20
RUNS = 5


def fill(db: Path, answers: int, people: int) -> int:
    """Answers by one bulk insert each, a queue of all of them, and labels of everybody on everything; the queue's id."""
    draw = random.Random(0)
    said = ("I am BayLing.", "I am an assistant.", "I am a finance advisor by Text Titan.", "我是金融顾问，也叫百聆。")
    variant = json.dumps({"name": "v", "decoding": {}})
    with store.open(db) as opened:
        rows = []
        for number in range(answers):
            name, text = f"v{number % VARIANTS}", f"{draw.choice(said)} {number}"
            question = f"Who are you? ({number % 100})"
            messages = json.dumps([{"role": "user", "content": question}])
            rows.append(
                (now(), "run", name, name, f"k{number}", question, text, text, variant, messages, "en" if number % 2 else "zh")
            )
        columns = "created, source, variant_name, variant_key, request_key, question, raw, shown, variant, messages, lang"
        values = ", ".join("?" * 11) + ", '{}', '{}', '{}'"
        sql = f"insert into answers ({columns}, decoding, timings, adapter_hashes) values ({values})"
        opened.conn.executemany(sql, rows)
        opened.conn.commit()
        items = (
            {
                "answer": id,
                "variant": f"v{id % VARIANTS}",
                "lang": lang,
                "category": "name",
                "suggestion": draw.choice(IDENTITY_LABELS),
            }
            for id, lang in opened.execute("select id, lang from answers").fetchall()
        )
        labels = [
            (now(), f"person {person}", id, "label", draw.choice(IDENTITY_LABELS), "{}", 0, "", 1, f"{person}-{id}")
            for id in range(1, answers + 1)
            for person in range(people)
        ]
        columns = "created, annotator, answer, kind, label, tags, flag, comment, blind, token"
        opened.conn.executemany(f"insert into labels ({columns}) values ({', '.join('?' * 10)})", labels)
        opened.conn.commit()
        queue = store.queues.create(opened, "everything", items, overlap=people + 1, strategy="stratified")
        opened.execute("update labels set queue = ?", [queue])
        opened.conn.commit()
        return queue


def timed(act: Callable[[], object], times: int = RUNS) -> tuple[float, float]:
    """(median, worst) seconds."""
    took = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        took.append(time.perf_counter() - start)
    return statistics.median(took), max(took)


def label_next(app: App, queue: int, who: str, cards: Mapping[str, Any]) -> Callable[[], None]:
    """A function that labels the next of the open cards, as the page does, each time it is called."""
    left = iter(cards["items"])

    def label() -> None:
        card = next(left)
        one = {"token": f"{who}-{card['item']}", "queue": queue, "stamp": cards["queue"]["stamp"], "item": card["item"]}
        label_desk.carry_out(app, who, [one | {"answer": card["sides"][0]["answer"], "do": "label", "label": "formed"}])
        label_desk.queue_state(app, queue, who, [other["item"] for other in cards["items"]])

    return label


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.labels", description=__doc__.split("\n")[0])
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=3, help="each labels every answer")
    parser.add_argument("--db", type=Path, help="where to keep the database; a temporary folder if not given")
    args = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="mirror-bench-"))
    db = args.db or folder / "labels.db"
    start = time.perf_counter()
    queue = fill(db, args.answers, args.people)
    print(f"{args.answers:,} answers, {args.answers * args.people:,} labels: filled in {time.perf_counter() - start:.0f} s")
    app = App(SimpleNamespace(), db, identities.FOLDER, (), Languages())

    def opening(who: str) -> None:
        label_layout.queue_choices(app, "en")
        label_desk.open_desk(app, queue, who)

    cards = label_desk.open_desk(app, queue, "newcomer")
    rows = [
        ("the tab opened by somebody new", timed(lambda: opening("newcomer"))),
        ("the tab opened by who has labelled all", timed(lambda: opening("person 0"))),
        (
            "40 more items",
            timed(lambda: label_desk.more_items(app, queue, "newcomer", [card["item"] for card in cards["items"]])),
        ),
        ("a decision, and how far everybody is", timed(label_next(app, queue, "newcomer", cards), 20)),
        ("agreement of the queue", timed(lambda: label_agreement.agreement_html(app, "en", queue, False, "person 0"), 1)),
    ]
    print("| what | median | worst |\n|---|---|---|")
    for what, (median, worst) in rows:
        print(f"| {what} | {1000 * median:,.0f} ms | {1000 * worst:,.0f} ms |")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
