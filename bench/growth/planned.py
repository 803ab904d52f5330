"""A probe run's planning and book-keeping, and what its board holds, by how many answers it comes to. Nobody computes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import identities
from bench.growth.series import Board, Done
from bench.stored_runs import SAID, many
from common import leftovers
from engine import Decoding, Request, Variant
from engine.types import Answer, Piece, Timings
from probes import identity_pair
from probes.questions import Probe
from probes.run import launch, runner
from probes.run.background import BackgroundRun
from probes.run.settings import Switches
from ui.context import App
from ui.tabs.probes import board as probes_board
from ui.tabs.probes.judged import RunCache
from ui.tabs.results import view as results_view
from ui.tabs.results.source import ReportForm, build_report
from ui.words import Languages

ROWS = 32  # that are answered at once
ENDING = 8  # of them end at a time
MOST_STORED = 10_000  # answers of a run that goes through the store


class Answering:
    """Answers as an engine would, at once: rows end a few at a time."""

    def __init__(self) -> None:
        self.base = SimpleNamespace(name="stand-in", spec="stand-in", hash="b", number_format="float32", named=str)
        self.max_rows = ROWS
        self.adapters: dict[str, Any] = {}
        self.hashes = {"base": "b", "dtype": "float32", "format": "f", "identity": None, "adapters": {}}

    def resolve(self, variant: Variant) -> SimpleNamespace:
        return SimpleNamespace(hashes=self.hashes, variant=variant)

    def stream(self, requests: Sequence[Request], owner: object = None) -> Iterator[list[Piece]]:
        for first in range(0, len(requests), ENDING):
            yield [Piece(at, "", "", self.answer(at, requests[at])) for at in range(first, min(first + ENDING, len(requests)))]

    def answer(self, at: int, request: Request) -> Answer:
        asked = request.messages[-1]["content"]
        text = SAID["en"][at % len(SAID["en"])]
        prompt = f"### Instruction:\n{asked}\n### Response:\n"
        return Answer(request.variant, text, text, prompt, "bayling", "stop", 9, 7, -0.4, 0, Timings(0.0, 0.1, 0.4), self.hashes)


def measure(sizes: Sequence[int], done: Done, most_stored: int = MOST_STORED) -> Board:
    """sizes: answers; as many probes as variants make them."""
    found = Board("probes", "probes x variants")
    for size in sizes:
        side = max(2, round(size**0.5) // 2 * 2)
        probes, decoding = many(side), Decoding(max_new_tokens=32)
        variants = [Variant(f"v{at}", identity=f"v{at}", prompt=f"You are {at}.", decoding=decoding) for at in range(side)]
        found.took("planned and asked, without the store", size, lambda v=variants, p=probes: ask(v, p), 3)
        found.held("the same: memory", size, lambda v=variants, p=probes: ask(v, p))
        if size <= most_stored:
            with leftovers.scratch_folder() as folder:
                stored(found, size, variants, probes, Path(folder) / "growth.db")
        done(found, size)
    return found


def ask(variants: Sequence[Variant], probes: Sequence[Probe], switches: Switches | None = None, stop_at: int = -1, **more) -> int:
    """Runs to its end, or to so many answers; the run's id."""
    run = 0
    for event in runner.run(Answering(), variants, probes, switches=switches, **more):  # type: ignore[arg-type]
        run = event.run or 0
        if switches and event.done >= stop_at > 0:
            switches.stop.set()
    return run


def stored(found: Board, size: int, variants: Sequence[Variant], probes: Sequence[Probe], db: Path) -> None:
    """Through the store, and then looked at: the board when it is opened, and when something is new."""
    old, new = identities.DEFAULT_OLD, identities.DEFAULT_NEW
    facts = identity_pair.from_identities(identities.load(old).facts, identities.load(new).facts)
    told = {"about": launch.describe_sides(old, new, facts, False), "db": db}
    total = len(probes) * len(variants)
    run = found.took("planned, asked and stored", size, lambda: ask(variants, probes, Switches(), total - 2 * ENDING, **told), 1)
    engine: Any = Answering()
    app = App(engine, db, identities.FOLDER, (), Languages())
    cache = RunCache()
    board = probes_board.Board(app, BackgroundRun(engine, db), cache)
    found.held("its board is opened: memory", size, lambda: cache.of(app, run))
    payload = found.took("its board is opened again", size, lambda: probes_board.pb_open(board, "en", {"run": run}))
    found.add("what the page is sent", size, len(json.dumps(payload, ensure_ascii=False).encode()) / 2**20, "MiB")
    chosen = ReportForm((f"run {run}",), (), old, new, "best")
    found.took("its report is made and shown", size, lambda: results_view.table_html(build_report(app, chosen), "en"), 1)
    page = {"run": run, "stamp": payload["stamp"], "since": len(payload["cells"])}
    found.took("news, where there are none", size, lambda: probes_board.pb_news(board, "en", page))
    found.took("a run goes on from the store", size, lambda: ask(variants, probes, run_id=run, db=db), 1)
    news = found.took(f"news of {2 * ENDING} answers", size, lambda: probes_board.pb_news(board, "en", page), 1)
    assert news["cells"], "the rest of the run brought nothing"
