"""The server is killed 20 times while somebody labels; every decision is stored, and stored once.

The decisions are sent as the page's outbox sends them: kept until confirmed, in order, again after every failure.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from uuid import uuid4

import label_page

import store

KILLS = 20
AT_ONCE = 50


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve_for_ever(root: str, port: int) -> None:
    """In a process of its own: the whole page on a port, until it is killed."""
    import identities
    from ui.app import serve
    from ui.context import App
    from ui.words import Languages

    engine = label_page.PageEngine()
    app = App(engine, Path(root) / "mirror.db", identities.FOLDER, (Path(root) / "adapters",), Languages("en"))
    serve(app, port=port, say=lambda _address: None)


def post(port: int, what: str, asked: dict) -> dict | None:
    """None where the page would wait and send it again."""
    url = f"http://127.0.0.1:{port}/label/{what}"
    request = urllib.request.Request(url, json.dumps(asked).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.load(response)
    except (urllib.error.URLError, ConnectionError, TimeoutError, OSError, ValueError):
        return None


class Outbox:
    """What outbox.js does: `put` keeps, a thread of its own sends in order until the server has confirmed."""

    def __init__(self, port: int, base: dict):
        self.port, self.base = port, base
        self.waiting: list[dict] = []
        self.refused: list[dict] = []
        self.sent = 0
        self.lock = threading.Lock()  # guards waiting: the test puts, the thread takes
        self.closed = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def put(self, decision: dict) -> None:
        with self.lock:
            self.waiting.append(decision)

    def run(self) -> None:
        while not self.closed.is_set():
            with self.lock:
                batch = self.waiting[:AT_ONCE]
            told = post(self.port, "decide", self.base | {"decisions": batch}) if batch else None
            if told is None:
                time.sleep(0.01)
                continue
            self.sent += 1
            done = {result["token"]: result for result in told["results"]}
            with self.lock:
                self.waiting = [one for one in self.waiting if one["token"] not in done]
            self.refused += [result for result in told["results"] if result["status"] != "stored"]


def test_twenty_kills_while_labelling_lose_and_double_nothing(tmp_path):
    db = tmp_path / "mirror.db"
    queue = label_page.queue(db, 1500)
    stamp = store.queues.get(db, queue)["created"]
    items = store.queues.items(db, queue)
    draw, port = random.Random(5), free_port()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["conftest", "label_page", "ui.app"])  # a new server then takes no time to import

    def start():
        process = context.Process(target=serve_for_ever, args=(str(tmp_path), port), daemon=True)
        process.start()
        return process

    server = start()
    base = {"queue": queue, "annotator": "An"}
    outbox = Outbox(port, base)
    expected: dict[int, str | None] = {}  # item -> the label that has to stand at the end
    pressed: dict[str, str] = {}  # token -> what was done
    at = 0

    def press(do: str, item: dict, label: str | None = None) -> None:
        token = uuid4().hex
        pressed[token] = do
        drawn = item["drawn"]
        outbox.put({"token": token, "stamp": stamp, "item": drawn["item"], "answer": drawn["answers"][item["answer"]], "do": do,
                    "label": label, "annotator": "An", "queue": queue})  # fmt: skip

    def work() -> None:
        """One thing that a person does: mostly labels; now and then a skip, an undo, or another label for an earlier item."""
        nonlocal at
        item, chance = items[at], draw.random()
        labels = store.labels.CONTROL_LABELS if item["group"] == "control" else store.labels.IDENTITY_LABELS
        if chance < 0.1 and at:
            earlier = items[draw.randrange(at)]
            label = draw.choice(store.labels.IDENTITY_LABELS if earlier["group"] != "control" else store.labels.CONTROL_LABELS)
            press("label", earlier, label)
            expected[earlier["item"]] = label
        elif chance < 0.2 and at and expected[items[at - 1]["item"]]:
            at -= 1
            press("undo", items[at])
            expected[items[at]["item"]] = None
        else:
            label = None if chance > 0.95 else draw.choice(labels)
            press("label" if label else "skip", item, label)
            expected[item["item"]] = label
            at += 1

    kills, deadline = 0, time.monotonic() + 900
    while kills < KILLS and time.monotonic() < deadline:
        sent = outbox.sent
        while outbox.sent < sent + 2 and time.monotonic() < deadline:  # the server is up and has confirmed something
            work()
            time.sleep(0.02)
            if at > 1400:
                break
        for _ in range(draw.randrange(12)):
            work()
            time.sleep(draw.random() * 0.02)
        os.kill(server.pid, signal.SIGKILL)
        server.join()
        kills += 1
        for _ in range(draw.randrange(4)):
            work()
        server = start()
    while outbox.waiting and time.monotonic() < deadline:
        time.sleep(0.05)
    outbox.closed.set()
    os.kill(server.pid, signal.SIGKILL)
    server.join()

    assert kills == KILLS and not outbox.waiting and not outbox.refused
    history = store.labels.history(db)
    # an undo of what is open already writes nothing; every other press is exactly one row
    tokens = [row["token"] for row in history]
    assert len(tokens) == len(set(tokens)) and set(tokens) == set(pressed)
    assert sum(row["kind"] == "undone" for row in history) == sum(do == "undo" for do in pressed.values())
    answers = {item["item"]: item["answer"] for item in items}
    standing = {answer: [row["label"] for row in rows] for answer, rows in store.labels.standing(db).items()}
    assert standing == {answers[item]: [label] for item, label in expected.items() if label}
    told = store.queues.progress(db, queue, "An")
    assert told["mine"] == sum(label is not None for label in expected.values()) and told["full"] == told["mine"]
    print(f"\n{len(pressed)} decisions over {kills} kills; all stored once")
