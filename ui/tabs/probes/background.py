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
from probes.run.settings import RunProgress, Switches
from store import owners, runs
from ui.context import App, sentence
from ui.tabs.probes.form import RunForm, variants_of

PAUSE_S = 0.3
THREAD = "probing"  # the name of the thread that a run goes on in


@dataclass(eq=False)
class BackgroundRun:
    """Where the run under way is. `lock` guards all fields: pages look at them from many threads."""

    app: App
    lock: threading.RLock = field(default_factory=threading.RLock)
    run: int | None = None
    switches: Switches = field(default_factory=Switches)
    news: RunProgress | None = None
    phase: str = ""  # asking, margin, or "" when nothing is under way
    measured: tuple[int, int] = (0, 0)  # margins so far, and of how many
    problems: dict[int, str] = field(default_factory=dict)  # run -> why it ended, in this program's time
    thread: threading.Thread | None = None


def busy(ongoing: BackgroundRun) -> bool:
    with ongoing.lock:
        return ongoing.thread is not None and ongoing.thread.is_alive()


def start(ongoing: BackgroundRun, form_values: RunForm) -> int:
    """Begins a new run and returns its id. Raises what is wrong with the wish, or that another run is under way."""
    app = ongoing.app
    with ongoing.lock:
        _refuse_second(ongoing)
        variants = variants_of(app, form_values)
        known = {side: facts_of(app, name) for side, name in (("old", form_values.old), ("new", form_values.new))}
        probes = questions.fill(form_values.probes, known)
        about = {"old": form_values.old, "new": form_values.new, "facts": known, "margin": form_values.margin}
        if form_values.margin:
            suited_for(app, probes, known)
        switches = Switches()
        events = runner.run(
            app.engine, variants, probes, form_values.settings, db=app.db, name=form_values.name, set_name=form_values.set_name,
            reuse=form_values.reuse, switches=switches, about=about,
        )  # fmt: skip
        return _go(ongoing, events, switches, variants, probes, about)


def again(ongoing: BackgroundRun, run: int) -> None:
    """Goes on with a run that was stopped, failed, or was left behind by a program that died; or ends a pause."""
    app = ongoing.app
    with ongoing.lock:
        if busy(ongoing) and ongoing.run == run:
            ongoing.switches.pause.clear()
            return
        _refuse_second(ongoing)
        variants, probes, settings, row = runner.again(app.db, run)
        for one in row["variants"]:
            for name, path in one["paths"].items():
                if name not in app.engine.adapters and Path(path).is_dir():
                    app.opened.place(path, EngineError, f"The adapter {name} of this run lies elsewhere; its folder")
                    app.engine.add_adapter(path, name, accept_other_base=app.accept_other_base)
        runner.check_same(app.engine, row)
        switches = Switches()
        events = runner.run(app.engine, variants, probes, settings, db=app.db, run_id=run, switches=switches)
        _go(ongoing, events, switches, variants, probes, about_of(row))


def pause(ongoing: BackgroundRun, run: int) -> None:
    with ongoing.lock:
        _under_way(ongoing, run).pause.set()


def stop(ongoing: BackgroundRun, run: int) -> None:
    with ongoing.lock:
        _under_way(ongoing, run).stop.set()


def state_of(ongoing: BackgroundRun, row: Mapping) -> dict:
    """How a run is, as the store and this desk know it: `status` (also `interrupted`), done, total, elapsed_s, left_s, reused,
    failed (None where only the store knows the run), phase, measured, message; `elsewhere`, the pid and
    host of who else is at it, if somebody is."""
    with ongoing.lock:
        here = busy(ongoing) and ongoing.run == row["id"]
        told = {
            "status": row["status"],
            "done": row["done"],
            "total": row["total"],
            "message": row["message"] or "",
            "here": here,
        }
        told |= {"phase": "", "measured": [0, 0], "elapsed_s": None, "left_s": None, "reused": None, "failed": None}
        if here and ongoing.news:
            news = ongoing.news
            told |= {
                "phase": ongoing.phase,
                "measured": list(ongoing.measured),
                "elapsed_s": news.elapsed_s,
                "left_s": news.left_s,
            }
            told |= {"done": news.done, "reused": news.reused, "failed": news.failed}
            told["status"] = "paused" if ongoing.switches.pause.is_set() else "running"
            told["stopping"] = ongoing.switches.stop.is_set()
        elif runs.is_under_way(row):
            told["elsewhere"] = {name: (owners.read(row["owner"]) or {}).get(name) for name in ("pid", "host")}
        elif row["status"] in runs.UNFINISHED:  # nobody runs it any more
            told["status"] = "interrupted"
        if not here:
            told["message"] = ongoing.problems.get(row["id"]) or told["message"]
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


def _under_way(ongoing: BackgroundRun, run: int) -> Switches:
    if not busy(ongoing) or ongoing.run != run:
        raise ProbeError(f"Run {run} is not under way in this program.")
    return ongoing.switches


def _refuse_second(ongoing: BackgroundRun) -> None:
    if busy(ongoing):
        raise ProbeError(f"Run {ongoing.run} is under way, and one goes at a time; wait for it, or stop it first.")


def _go(ongoing: BackgroundRun, events, switches: Switches, variants: list, probes: list, about: Mapping) -> int:
    """The first event is taken here, so that what cannot begin is told to whoever began it."""
    try:
        news = next(events)
    except RuntimeError as error:
        raise EngineError(str(error)) from error
    ongoing.run, ongoing.switches, ongoing.news, ongoing.phase, ongoing.measured = news.run, switches, news, "asking", (0, 0)
    ongoing.problems.pop(news.run, None)
    ongoing.thread = threading.Thread(target=_work, args=(ongoing, events, variants, probes, about), name=THREAD, daemon=True)
    ongoing.thread.start()
    return news.run


def _work(ongoing: BackgroundRun, events, variants: list, probes: list, about: Mapping) -> None:
    run, app = ongoing.run, ongoing.app
    try:
        for news in events:
            with ongoing.lock:
                ongoing.news = news
            if app.closed.is_set():
                ongoing.switches.stop.set()
        if news.status == "done" and about.get("margin"):
            _measure(ongoing, variants, probes, about["facts"])
    except Exception as error:
        # in English: whoever reads it later may read another language than whoever began it
        said = sentence("en", error)
        with ongoing.lock:
            ongoing.problems[run] = said
        if not runs.is_under_way(runs.get(app.db, run)):  # by somebody else, who has taken it over
            runs.set_status(app.db, run, "failed", said)
    finally:
        with ongoing.lock:
            ongoing.phase = ""


def _measure(ongoing: BackgroundRun, variants: list, probes: list, known: Mapping) -> None:
    """Measures the margins that are missing. A run is done when these are, too."""
    app, run = ongoing.app, ongoing.run
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
            total = _scores(ongoing, [variants[at] for at in left], left, suited, statements, claim, found)
        finally:  # what could be measured is kept, also where one variant is all NaN
            runs.add_margins(app.db, run, found)
        runs.set_status(app.db, run, "done" if len(found) == total else "stopped", owner=claim.text)
    finally:
        claim.release()


def _scores(
    ongoing: BackgroundRun, asked: list, places: list[int], suited: list, statements: dict, claim: owners.Claim, found: list
) -> int:
    """(variant's place, probe id, old, new) of every margin until somebody stops it, into `found`; how many there would be."""
    from probes import margin

    app = ongoing.app
    began = beaten = time.monotonic()
    total = len(asked) * len(suited)
    with ongoing.lock:
        ongoing.phase, ongoing.measured = "margin", (0, total)
    scores = margin.margins(app.engine, asked, suited, statements)
    for at, _, score in scores:
        found.append((places[at], score.probe_id, score.old, score.new))
        spent = time.monotonic() - began
        with ongoing.lock:
            ongoing.measured = (len(found), total)
            ongoing.news = dataclasses.replace(ongoing.news, left_s=spent / len(found) * (total - len(found)))
        if time.monotonic() - beaten >= owners.BEAT_S:
            beaten = time.monotonic()
            runs.beat(app.db, ongoing.run, claim.text)
        while ongoing.switches.pause.is_set() and not ongoing.switches.stop.wait(PAUSE_S):
            pass
        if ongoing.switches.stop.is_set() or app.closed.is_set():
            break
    return total
