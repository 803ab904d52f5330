"""The store: what the page asks of it, by how many answers there are.

A run of a thousand answers is stored as the program does it, and then copied within the database until there are as many as are
wanted; every tenth answer has a label, every hundredth a vote, and one queue holds them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
from sqlite_utils import Database

import identities
import store
from bench.growth.series import Board, Done
from bench.labels import label_next
from bench.stored_runs import many, write_run
from common import leftovers
from probes import identity_pair
from probes.run import launch
from probes.run.background import BackgroundRun
from store import answers, runs
from store.db import now
from store.migrations import DRAWN_ID
from ui.context import App
from ui.tabs.label import desk as label_desk, events as label_events, layout as label_layout
from ui.tabs.probes import board as probes_board, cell as probes_cell
from ui.tabs.probes.judged import RunCache
from ui.tabs.results import events as results_events, layout as results_layout, source as results_source
from ui.tabs.results.source import ReportForm
from ui.words import Languages

VARIANTS = 10
LABELLED, VOTED = 10, 100  # every so many answers have one
WHO = "An"
MOST_REPORTED = 100_000  # answers in one report; a million are tens of gigabytes of Python
PIECE = 32  # answers that a run stores at once


def measure(sizes: Sequence[int], done: Done, most_reported: int = MOST_REPORTED) -> Board:
    found = Board("store", "answers in the store")
    sizes = sorted(sizes)
    with leftovers.scratch_folder() as folder:
        db = Path(folder) / "growth.db"
        filled = Filled(db, min(sizes[0], 1000))
        for size in sizes:
            filled.grow(size)
            measure_at(found, db, size, filled.queue, most_reported)
            done(found, size)
    return found


# filling


class Filled:
    """A database that grows by copies of one run."""

    def __init__(self, db: Path, block: int) -> None:
        old, new = (identities.load(name).facts for name in (identities.DEFAULT_OLD, identities.DEFAULT_NEW))
        pair = identity_pair.from_identities(old, new)
        about = launch.describe_sides(identities.DEFAULT_OLD, identities.DEFAULT_NEW, pair, False)
        self.db, self.block = db, block
        self.run = write_run(db, many(block // VARIANTS), VARIANTS, about=about)
        with store.open(db) as opened:
            first = {"answer": 1, "lang": "en", "variant": "variant 0", "category": "name"}
            self.queue = store.queues.create(opened, "everything", [first])
            opened.execute("delete from queue_items")
            opened.conn.commit()
            self.mark(opened, 0)

    def grow(self, size: int) -> None:
        """To so many answers, a multiple of the first run's."""
        with store.open(self.db) as opened:
            opened.execute("pragma synchronous = off")
            there: int = opened.execute("select max(id) from answers").fetchone()[0]
            while there < size:
                self.copy(opened, there)
                self.mark(opened, there)
                there += self.block
            opened.conn.commit()
            opened.execute("pragma wal_checkpoint(truncate)")

    def copy(self, opened: Database, there: int) -> None:
        """The first run once more, its answers behind the last one."""
        plain = [column.name for column in opened["answers"].columns if column.name not in ("id", "request_key")]
        names = ", ".join(f"[{name}]" for name in plain)
        opened.execute(
            f"""insert into answers (id, request_key, {names}) select id + ?, lower(hex(randomblob(16))), {names}
                from answers where id <= ? order by id""", [there, self.block],
        )  # fmt: skip
        names = ", ".join(f"[{column.name}]" for column in opened["runs"].columns if column.name not in ("id", "created"))
        run = opened.execute(f"insert into runs (created, {names}) select ?, {names} from runs where id = ?", [now(), self.run])
        names = "probe_id, variant, sample, turn, reused, problem"
        opened.execute(
            f"insert into run_answers (run, answer, {names}) select ?, answer + ?, {names} from run_answers where run = ?",
            [run.lastrowid, there, self.run],
        )

    def mark(self, opened: Database, there: int) -> None:
        """Items, labels and votes of the answers behind that one."""
        given, among = now(), "from answers where id > ? and id % ? = 1"
        opened.execute(
            f"""insert into queue_items (queue, position, answer, meta, have, full, drawn, drawn_answer)
                select ?, id - 1, id, json_object('variant', variant_name, 'lang', lang, 'category', 'name'),
                       id % ? = 1, id % ? = 1, {DRAWN_ID}, {DRAWN_ID} from answers where id > ?""",
            [self.queue, LABELLED, LABELLED, there],
        )
        opened.execute(
            f"""insert into labels (created, annotator, answer, queue, kind, label, tags, flag, comment, blind)
                select ?, ?, id, ?, 'label', 'formed', '{{}}', 0, '', 1 {among}""", [given, WHO, self.queue, there, LABELLED],
        )  # fmt: skip
        opened.execute(
            """insert into queue_marks (queue, annotator, item, skip, full)
                select i.queue, ?, i.id, 0, 1 from queue_items i where i.answer > ? and i.full = 1""", [WHO, there],
        )  # fmt: skip
        opened.execute(
            f"""insert into votes (created, annotator, answer_a, answer_b, choice, shown_order, blind)
                select ?, ?, id, id + ?, iif(id / ? % 3, 'A', 'B'), json_array(id, id + ?), 1 {among} and id <= ?""",
            [given, WHO, self.block // VARIANTS, VOTED, self.block // VARIANTS, there, VOTED, there + self.block // 2],
        )


# measuring


def tabs() -> SimpleNamespace:
    """The components that the events of two tabs write to."""
    with gr.Blocks():
        return SimpleNamespace(
            results=results_layout.build_results(), label=label_layout.build_label(label_layout.remembered_choice())
        )


def measure_at(found: Board, db: Path, size: int, queue: int, most_reported: int) -> None:
    app = App(SimpleNamespace(base=SimpleNamespace(name="stand-in"), adapters={}), db, identities.FOLDER, (), Languages())
    page = tabs()
    newest = runs.recent(db, 1)[0]["id"]
    found.held("Results is opened: memory", size, lambda: results_events.first_visit(app, page.results, gr.State([]), None, []))
    found.took("Results is opened", size, lambda: results_events.first_visit(app, page.results, gr.State([]), None, []))
    found.took("another run is chosen", size, lambda: results_layout.side_updates(app, page.results, [f"run {newest}"]))
    one = form([f"run {newest}"])
    found.took("a report of one run", size, lambda: results_source.build_report(app, one))
    if size <= most_reported:
        everything = form([f"queue {queue}"])
        made = found.held("a report of all: memory", size, lambda: results_source.build_report(app, everything))
        del made
        found.took("a report of all", size, lambda: results_source.build_report(app, everything), 1)
    measure_probes(found, app, size, newest)
    measure_label(found, app, page.label, size, queue)
    record(found, db, size)


def form(sources: Sequence[str]) -> ReportForm:
    return ReportForm(tuple(sources), (), identities.DEFAULT_OLD, identities.DEFAULT_NEW, "best")


def measure_probes(found: Board, app: App, size: int, newest: int) -> None:
    ongoing, cache = BackgroundRun(app.engine, app.db), RunCache()
    board = probes_board.Board(app, ongoing, cache)
    found.took("Probes: the list of runs", size, lambda: probes_board.list_runs(ongoing))
    probes_board.pb_open(board, "en", {"run": newest})
    found.took("Probes: a run is opened again", size, lambda: probes_board.pb_open(board, "en", {"run": newest}))
    probe = runs.get(app.db, newest)["probes"][0]["id"]
    found.took("Probes: one probe in all runs", size, lambda: probes_cell.cell_payload(app, cache, newest, probe, 0))


def measure_label(found: Board, app: App, tab: label_layout.Label, size: int, queue: int) -> None:
    found.took("Label is opened", size, lambda: label_events.open_label(app, tab, None, {"annotator": WHO, "queue": queue}))
    found.took("Label: the desk of a queue of all", size, lambda: label_desk.open_desk(app, queue, WHO))
    opened = label_desk.open_desk(app, queue, f"Newcomer {size}")
    found.took("Label: a decision", size, label_next(app, queue, f"Newcomer {size}", opened))


def record(found: Board, db: Path, size: int) -> None:
    """Answers that a run stores, and looks for, as it goes on; they are taken out again."""
    known = [answers.get(db, id) for id in range(1, PIECE + 1)]
    given = [one | {"timings": {}} for one in known if one]

    def write() -> None:
        ids = answers.add(db, given)
        with store.open(db) as opened:
            opened.execute("delete from answers where id >= ?", [min(ids)])
            opened.conn.commit()

    def look() -> None:
        with store.open(db) as opened:
            for one in given:
                answers.find(opened, one["request_key"])

    found.took(f"a run stores {PIECE} answers", size, write)
    found.took(f"a run looks for {PIECE} answers", size, look)
