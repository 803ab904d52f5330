"""The one probe run that this program has under way: begun, watched, paused, stopped and continued from any page.

The run goes on in a thread of its own; a page only looks. No Gradio.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import identities
from engine.types import EngineError
from probes import questions
from probes.questions import ProbeError
from probes.run import runner
from probes.run.settings import Progress, Switches
from store import owners, runs
from ui.context import App, sentence
from ui.tabs.probes.form import Wish, variants_of

PAUSE_S = 0.3
THREAD = "probing"  # the name of the thread that a run goes on in


@dataclass(eq=False)
class Desk:
    """Where the run under way is. `lock` guards all fields: pages look at them from many threads."""

    app: App
    lock: threading.RLock = field(default_factory=threading.RLock)
    run: int | None = None
    switches: Switches = field(default_factory=Switches)
    news: Progress | None = None
    phase: str = ""  # asking, margin, or "" when nothing is under way
    measured: tuple[int, int] = (0, 0)  # margins so far, and of how many
    problems: dict[int, str] = field(default_factory=dict)  # run -> why it ended, in this program's time
    thread: threading.Thread | None = None


def busy(desk: Desk) -> bool:
    with desk.lock:
        return desk.thread is not None and desk.thread.is_alive()


def start(desk: Desk, wish: Wish) -> int:
    """Begins a new run and returns its id. Raises what is wrong with the wish, or that another run is under way."""
    app = desk.app
    with desk.lock:
        _refuse_second(desk)
        variants = variants_of(app, wish)
        known = {side: facts_of(app, name) for side, name in (("old", wish.old), ("new", wish.new))}
        probes = questions.fill(wish.probes, known)
        about = {"old": wish.old, "new": wish.new, "facts": known, "margin": wish.margin}
        if wish.margin:
            suited_for(app, probes, known)
        switches = Switches()
        events = runner.run(
            app.engine, variants, probes, wish.settings, db=app.db, name=wish.name, set_name=wish.set_name,
            reuse=wish.reuse, switches=switches, about=about,
        )  # fmt: skip
        return _go(desk, events, switches, variants, probes, about)


def again(desk: Desk, run: int) -> None:
    """Goes on with a run that was stopped, failed, or was left behind by a program that died; or ends a pause."""
    app = desk.app
    with desk.lock:
        if busy(desk) and desk.run == run:
            desk.switches.pause.clear()
            return
        _refuse_second(desk)
        variants, probes, settings, row = runner.again(app.db, run)
        for one in row["variants"]:
            for name, path in one["paths"].items():
                if name not in app.engine.adapters and Path(path).is_dir():
                    app.opened.place(path, EngineError, f"The adapter {name} of this run lies elsewhere; its folder")
                    app.engine.add_adapter(path, name, accept_other_base=app.accept_other_base)
        runner.check_same(app.engine, row)
        switches = Switches()
        events = runner.run(app.engine, variants, probes, settings, db=app.db, run_id=run, switches=switches)
        _go(desk, events, switches, variants, probes, about_of(row))


def pause(desk: Desk, run: int) -> None:
    with desk.lock:
        _under_way(desk, run).pause.set()


def stop(desk: Desk, run: int) -> None:
    with desk.lock:
        _under_way(desk, run).stop.set()


def state_of(desk: Desk, row: Mapping) -> dict:
    """How a run is, as the store and this desk know it: `status` (also `interrupted`), done, total, elapsed_s, left_s, reused,
    failed (None where only the store knows the run), phase, measured, message; `elsewhere`, the pid and
    host of who else is at it, if somebody is."""
    with desk.lock:
        here = busy(desk) and desk.run == row["id"]
        told = {
            "status": row["status"],
            "done": row["done"],
            "total": row["total"],
            "message": row["message"] or "",
            "here": here,
        }
        told |= {"phase": "", "measured": [0, 0], "elapsed_s": None, "left_s": None, "reused": None, "failed": None}
        if here and desk.news:
            news = desk.news
            told |= {"phase": desk.phase, "measured": list(desk.measured), "elapsed_s": news.elapsed_s, "left_s": news.left_s}
            told |= {"done": news.done, "reused": news.reused, "failed": news.failed}
            told["status"] = "paused" if desk.switches.pause.is_set() else "running"
            told["stopping"] = desk.switches.stop.is_set()
        elif runs.is_under_way(row):
            told["elsewhere"] = {name: (owners.read(row["owner"]) or {}).get(name) for name in ("pid", "host")}
        elif row["status"] in runs.UNFINISHED:  # nobody runs it any more
            told["status"] = "interrupted"
        if not here:
            told["message"] = desk.problems.get(row["id"]) or told["message"]
    return told


def facts_of(app: App, name: str) -> dict:
    """An identity's facts as plain data, empty where it has none. Raises IdentityError."""
    known = identities.load(name, app.identities).facts if name else None
    return dataclasses.asdict(known) if known else {}


def about_of(row: Mapping) -> dict:
    """What a run's row keeps for suggestions and margin; empty for a run that was not begun with it."""
    return (row["settings"] or {}).get("about") or {}


def suited_for(app: App, probes: list, known: Mapping) -> tuple[list, dict]:
    """The probes whose margin can be measured, and the statements. Raises ProbeError if there are none."""
    from probes import margin  # torch: only for those who measure

    statements = margin.statements_of(known, app.engine.base.card.placeholders)
    suited = margin.suited(probes, statements)
    if not suited:
        raise ProbeError(
            f"None of these probes suits a margin: identity questions of one turn about {', '.join(margin.CATEGORIES)} do. "
            "Choose another set, or leave the margin out."
        )
    return suited, statements


def _under_way(desk: Desk, run: int) -> Switches:
    if not busy(desk) or desk.run != run:
        raise ProbeError(f"Run {run} is not under way in this program.")
    return desk.switches


def _refuse_second(desk: Desk) -> None:
    if busy(desk):
        raise ProbeError(f"Run {desk.run} is under way, and one goes at a time; wait for it, or stop it first.")


def _go(desk: Desk, events, switches: Switches, variants: list, probes: list, about: Mapping) -> int:
    """The first event is taken here, so that what cannot begin is told to whoever began it."""
    try:
        news = next(events)
    except RuntimeError as error:
        raise EngineError(str(error)) from error
    desk.run, desk.switches, desk.news, desk.phase, desk.measured = news.run, switches, news, "asking", (0, 0)
    desk.problems.pop(news.run, None)
    desk.thread = threading.Thread(target=_work, args=(desk, events, variants, probes, about), name=THREAD, daemon=True)
    desk.thread.start()
    return news.run


def _work(desk: Desk, events, variants: list, probes: list, about: Mapping) -> None:
    run, app = desk.run, desk.app
    try:
        for news in events:
            with desk.lock:
                desk.news = news
            if app.closed.is_set():
                desk.switches.stop.set()
        if news.status == "done" and about.get("margin"):
            _measure(desk, variants, probes, about["facts"])
    except Exception as error:
        # in English: whoever reads it later may read another language than whoever began it
        said = sentence("en", error)
        with desk.lock:
            desk.problems[run] = said
        if not runs.is_under_way(runs.get(app.db, run)):  # by somebody else, who has taken it over
            runs.set_status(app.db, run, "failed", said)
    finally:
        with desk.lock:
            desk.phase = ""


def _measure(desk: Desk, variants: list, probes: list, known: Mapping) -> None:
    """Measures the margins that are missing. A run is done when these are, too."""
    app, run = desk.app, desk.run
    suited, statements = suited_for(app, probes, known)
    there = runs.margins(app.db, run)
    left = [at for at in range(len(variants)) if any((at, probe.id) not in there for probe in suited)]
    if not left:
        return
    claim = owners.Claim()
    found: list[tuple[int, str, float, float]] = []
    try:
        runs.take(app.db, run, claim.text)
        try:
            total = _scores(desk, [variants[at] for at in left], left, suited, statements, claim, found)
        finally:  # what could be measured is kept, also where one variant is all NaN
            runs.add_margins(app.db, run, found)
        runs.set_status(app.db, run, "done" if len(found) == total else "stopped", owner=claim.text)
    finally:
        claim.release()


def _scores(desk: Desk, asked: list, places: list[int], suited: list, statements: dict, claim: owners.Claim, found: list) -> int:
    """(variant's place, probe id, old, new) of every margin until somebody stops it, into `found`; how many there would be."""
    from probes import margin

    app = desk.app
    began = beaten = time.monotonic()
    total = len(asked) * len(suited)
    with desk.lock:
        desk.phase, desk.measured = "margin", (0, total)
    scores = margin.margins(app.engine, asked, suited, statements)
    for at, _, score in scores:
        found.append((places[at], score.probe_id, score.old, score.new))
        spent = time.monotonic() - began
        with desk.lock:
            desk.measured = (len(found), total)
            desk.news = dataclasses.replace(desk.news, left_s=spent / len(found) * (total - len(found)))
        if time.monotonic() - beaten >= owners.BEAT_S:
            beaten = time.monotonic()
            runs.beat(app.db, desk.run, claim.text)
        while desk.switches.pause.is_set() and not desk.switches.stop.wait(PAUSE_S):
            pass
        if desk.switches.stop.is_set() or app.closed.is_set():
            break
    return total
