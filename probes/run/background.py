"""The one probe run that this program has under way: begun, watched, paused, stopped and continued from any page.

The run goes on in a thread of its own; a page only looks.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.paths import EVERYWHERE, Opened
from engine.types import EngineError, Variant
from probes.questions import Probe, ProbeError
from probes.run import launch, runner
from probes.run.launch import ReadyRun
from probes.run.settings import RunProgress, Switches
from store import owners, runs

if TYPE_CHECKING:  # torch: only for those who measure
    from engine import Engine
    from probes.margin import Sides

PAUSE_S = 0.3
THREAD = "probing"  # the name of the thread that a run goes on in


@dataclass(eq=False)
class BackgroundRun:
    """Where the run under way is. `lock` guards all fields that change: pages look at them from many threads.

    opened: where adapters' folders may lie. closed: set when the program ends, the run then stops after its step. describe:
    what is kept of an error that ended a run.
    """

    engine: Engine
    db: Path
    opened: Opened = EVERYWHERE
    accept_other_base: bool = False
    closed: threading.Event = field(default_factory=threading.Event)
    describe: Callable[[BaseException], str] = str
    lock: threading.RLock = field(default_factory=threading.RLock)
    run: int | None = None
    switches: Switches = field(default_factory=Switches)
    news: RunProgress | None = None
    phase: str = ""  # asking, margin, or "" when nothing is under way
    measured: tuple[int, int] = (0, 0)  # margins so far, and of how many
    problems: dict[int, str] = field(default_factory=dict)  # run -> why it ended, in this program's time
    thread: threading.Thread | None = None


def is_busy(ongoing: BackgroundRun) -> bool:
    with ongoing.lock:
        return ongoing.thread is not None and ongoing.thread.is_alive()


def start_run(ongoing: BackgroundRun, prepare: Callable[[], ReadyRun]) -> int:
    """Begins a new run and returns its id. prepare: called once no other run is under way, nor can be.

    Raises what `prepare` raises, or ProbeError that another run is under way.
    """
    with ongoing.lock:
        _refuse_second(ongoing)
        return _go(ongoing, prepare())


def resume_run(ongoing: BackgroundRun, run: int) -> None:
    """Goes on with a run that was stopped, failed, or was left behind by a program that died; or ends a pause."""
    with ongoing.lock:
        if is_busy(ongoing) and ongoing.run == run:
            ongoing.switches.pause.clear()
            return
        _refuse_second(ongoing)
        saved = runner.read_run(ongoing.db, run)
        ready = launch.resume_run(
            ongoing.engine, saved, db=ongoing.db, accept_other_base=ongoing.accept_other_base, opened=ongoing.opened
        )
        _go(ongoing, ready)


def pause_run(ongoing: BackgroundRun, run: int) -> None:
    with ongoing.lock:
        _under_way(ongoing, run).pause.set()


def stop_run(ongoing: BackgroundRun, run: int) -> None:
    with ongoing.lock:
        _under_way(ongoing, run).stop.set()


def state_of(ongoing: BackgroundRun, row: Mapping[str, Any]) -> dict[str, Any]:
    """How a run is, as the store and this program know it: `status` (also `interrupted`), done, total, elapsed_s, left_s, reused,
    failed (None where only the store knows the run), phase, measured, message; `elsewhere`, the pid and
    host of who else is at it, if somebody is."""
    with ongoing.lock:
        here = is_busy(ongoing) and ongoing.run == row["id"]
        told: dict[str, Any] = {
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


def _under_way(ongoing: BackgroundRun, run: int) -> Switches:
    if not is_busy(ongoing) or ongoing.run != run:
        raise ProbeError(f"Run {run} is not under way in this program.")
    return ongoing.switches


def _refuse_second(ongoing: BackgroundRun) -> None:
    if is_busy(ongoing):
        raise ProbeError(f"Run {ongoing.run} is under way, and one goes at a time; wait for it, or stop it first.")


def _go(ongoing: BackgroundRun, ready: ReadyRun) -> int:
    """The first event is taken here, so that what cannot begin is told to whoever began it."""
    try:
        news = next(ready.events)
    except RuntimeError as error:
        raise EngineError(str(error)) from error
    run = news.run
    assert run is not None  # it has a database
    ongoing.run, ongoing.switches, ongoing.news, ongoing.phase, ongoing.measured = run, ready.switches, news, "asking", (0, 0)
    ongoing.problems.pop(run, None)
    ongoing.thread = threading.Thread(target=_work, args=(ongoing, run, ready), name=THREAD, daemon=True)
    ongoing.thread.start()
    return run


def _work(ongoing: BackgroundRun, run: int, ready: ReadyRun) -> None:
    last: RunProgress | None = None
    try:
        for last in ready.events:
            with ongoing.lock:
                ongoing.news = last
            if ongoing.closed.is_set():
                ongoing.switches.stop.set()
        if last is not None and last.status == "done" and ready.about.get("margin"):
            _measure(ongoing, run, ready)
    except Exception as error:
        said = ongoing.describe(error)
        with ongoing.lock:
            ongoing.problems[run] = said
        if not runs.is_under_way(runs.get(ongoing.db, run)):  # by somebody else, who has taken it over
            runs.set_status(ongoing.db, run, "failed", said)
    finally:
        with ongoing.lock:
            ongoing.phase = ""


def _measure(ongoing: BackgroundRun, run: int, ready: ReadyRun) -> None:
    """Measures the margins that are missing. A run is done when these are, too."""
    suited, statements = launch.probes_to_measure(ongoing.engine, ready.probes, ready.about["facts"])
    there = runs.margins(ongoing.db, run)
    left = [at for at in range(len(ready.variants)) if any((at, probe.id) not in there for probe in suited)]
    if not left:
        return
    claim = owners.Claim()
    found: list[tuple[int, str, float, float]] = []
    try:
        runs.take_over(ongoing.db, run, claim.text)
        try:
            total = _scores(ongoing, run, ready.variants, left, suited, statements, claim, found)
        finally:  # what could be measured is kept, also where one variant is all NaN
            runs.add_margins(ongoing.db, run, found)
        runs.set_status(ongoing.db, run, "done" if len(found) == total else "stopped", owner=claim.text)
    finally:
        claim.release()


def _scores(
    ongoing: BackgroundRun,
    run: int,
    variants: Sequence[Variant],
    places: list[int],
    suited: list[Probe],
    statements: Mapping[str, Sides],
    claim: owners.Claim,
    found: list[tuple[int, str, float, float]],
) -> int:
    """(variant's place, probe id, old, new) of every margin until somebody stops it, into `found`; how many there would be.

    places: of the variants that are measured.
    """
    from probes import margin

    began = beaten = time.monotonic()
    total = len(places) * len(suited)
    with ongoing.lock:
        ongoing.phase, ongoing.measured = "margin", (0, total)
    scores = margin.iterate_scores(ongoing.engine, [variants[at] for at in places], suited, statements)
    for at, _, score in scores:
        found.append((places[at], score.probe_id, score.old, score.new))
        spent = time.monotonic() - began
        with ongoing.lock:
            ongoing.measured = (len(found), total)
            if ongoing.news is not None:
                ongoing.news = dataclasses.replace(ongoing.news, left_s=spent / len(found) * (total - len(found)))
        if time.monotonic() - beaten >= owners.BEAT_S:
            beaten = time.monotonic()
            runs.beat(ongoing.db, run, claim.text)
        while ongoing.switches.pause.is_set() and not ongoing.switches.stop.wait(PAUSE_S):
            pass
        if ongoing.switches.stop.is_set() or ongoing.closed.is_set():
            break
    return total
