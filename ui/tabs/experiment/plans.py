"""Which experiments there are, which plans one can begin with, and what a plan's text comes to. No Gradio."""

from __future__ import annotations

import shlex
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import identities
from common import reading
from common.errors import UserError
from engine.bases import PACKAGED
from experiments import checking, foreseen as ahead, lines as yaml_lines, progress
from experiments.cells import Cell, expand, is_left_out
from experiments.foreseen import Foreseen
from experiments.lines import Problem, line_of
from experiments.places import CHECKOUT, ExperimentError, Places
from experiments.plan import Plan
from experiments.progress import State
from tuning.jobs import memory
from tuning.jobs.memory import Room
from ui.adapter_library import EXPERIMENTS
from ui.context import App

PLANS = CHECKOUT / "experiments" / "plans"
FIRST = "tiny"  # the packaged plan that a new experiment begins with, if it is there
PACKAGED_PLAN, OWN_PLAN = "plan", "experiment"
LONGEST = 200_000  # characters of a plan's text
REMEMBERED = 8
FIND = "--find"


class _TooLongError(UserError):
    pass


@dataclass(frozen=True)
class Outlook:
    """What a plan's text means. problems: all of them, or none, and then there is the rest. cells: with those left out.

    foreseen: of all cells; None until it has been worked out, and where it cannot be: the plan is of another base (`unforeseen`
    names it), or the page's makes room for a training (`parked`). room: on the page's device, beside its base. exists: an
    experiment of this name is gone on with.
    """

    problems: tuple[Problem, ...]
    plan: Plan | None = None
    cells: tuple[Cell, ...] = ()
    foreseen: Foreseen | None = None
    room: Room | None = None
    unforeseen: str = ""
    parked: bool = False
    exists: bool = False

    @property
    def can_be_foreseen(self) -> bool:
        return not (self.unforeseen or self.parked)

    @property
    def kept(self) -> list[Cell]:
        """The cells that are not left out."""
        return [cell for cell in self.cells if self.plan is None or not is_left_out(self.plan, cell)]

    @property
    def totals(self) -> Foreseen | None:
        """Of the cells that are not left out."""
        told = self.foreseen
        return told and Foreseen({cell.label: told.cells[cell.label] for cell in self.kept}, told.base_bytes)


def folder(app: App) -> Path:
    return (app.runs / EXPERIMENTS).absolute()


def names(app: App) -> list[str]:
    """Of all experiments, the one that was touched last first."""
    found = [one for one in folder(app).glob("*") if (one / "plan.yaml").is_file()]
    return [one.name for one in sorted(found, key=lambda one: _touched(one), reverse=True)]


def _touched(one: Path) -> float:
    return max((file.stat().st_mtime for file in (one / "plan.yaml", one / "state.json") if file.is_file()), default=0.0)


def places_named(app: App, name: str) -> Places:
    """Where an experiment that is there lies. Raises ExperimentError: a name comes from the browser, and is no path."""
    if name not in names(app):
        raise ExperimentError(f"There is no experiment {name!r} any more; open the tab again.")
    return _places(app, name)


def places_of(app: App, plan: Plan) -> Places:
    """Where the experiment of a plan lies, or will."""
    return _places(app, folder_name(plan.name))


def folder_name(name: str) -> str:
    """A plan's name as that of a folder."""
    return "-".join("".join(letter if letter.isalnum() or letter in "._+-" else " " for letter in name).split())


def _places(app: App, name: str) -> Places:
    who = None if app.identities == identities.FOLDER else app.identities.absolute()
    return Places(folder(app) / name, app.db.absolute(), (app.made_adapters / EXPERIMENTS).absolute(), who)


def state_of(app: App, name: str) -> State | None:
    """Where it is; None if it was never begun. Raises ExperimentError."""
    return _read_state(places_named(app, name))


def states(app: App, most: int) -> dict[str, State | None]:
    """Of the newest experiments; one whose state cannot be read stands there without, and its page says why."""
    found = {}
    for name in names(app)[:most]:
        try:
            found[name] = _read_state(_places(app, name))
        except ExperimentError:
            found[name] = None
    return found


_ended: dict[Path, tuple[int, State]] = {}  # states that do not change any more, with the time of their files


def _read_state(places: Places) -> State | None:
    if not places.state.is_file():
        return None
    stamp = places.state.stat().st_mtime_ns
    known = _ended.get(places.state)
    if known and known[0] == stamp:
        return known[1]
    state = progress.read_state(places)
    if state and not state.is_under_way:
        _ended[places.state] = stamp, state
    return state


def starts() -> list[str]:
    """The packaged plans, the one to begin with first."""
    found = sorted(file.stem for file in PLANS.glob("*.yaml"))
    return sorted(found, key=lambda name: name != FIRST)


def read_start(app: App, chosen: str) -> str:
    """The text of a packaged plan or of an experiment's. Raises ExperimentError."""
    kind, _, name = chosen.partition(" ")
    if kind == PACKAGED_PLAN and name in starts():
        return reading.read_text(PLANS / f"{name}.yaml", "plan", ExperimentError)
    return reading.read_text(places_named(app, name).plan, "plan", ExperimentError)


def describe(app: App, text: str) -> Outlook:
    """What can be told of a plan at once, everything that is wrong with it among it."""
    if len(text) > LONGEST:
        raise _TooLongError(f"The plan has {len(text):,} characters, {LONGEST:,} are taken; leave something out.")
    if problems := closed_paths(app, text):
        return Outlook(problems)
    try:
        plan = checking.read(text, identities_dir=app.identities)
    except checking.PlanError as error:
        return Outlook(error.problems)
    cells = tuple(expand(plan, all_of_them=True))
    exists = places_of(app, plan).out.name in names(app)
    away = bool(getattr(app.engine, "parked", ""))
    return Outlook((), plan, cells, unforeseen="" if suits(app, plan) else plan.base, parked=away, exists=exists)


def closed_paths(app: App, text: str) -> tuple[Problem, ...]:
    """Files and bases that a plan names and this page may not read, before anything looks at them."""
    if app.opened.folders is None:
        return ()
    try:
        plain, lines, _ = yaml_lines.read(text, "the plan", ExperimentError)
    except ExperimentError:
        return ()  # what is no YAML is said by whoever reads it
    found = []
    for path, value in _paths_in(plain):
        try:
            app.opened.place(value, ExperimentError, path)
        except ExperimentError as error:
            found.append(Problem(line_of(lines, path), str(error)))
    if isinstance(plain, dict) and isinstance(base := plain.get("base"), str) and base not in (*PACKAGED, app.base_spec):
        found.append(Problem(line_of(lines, "base"), f"base {base!r} is not the one of this page; take {app.base_spec}."))
    return tuple(sorted(found))


def _paths_in(plain: Any) -> list[tuple[str, str]]:
    """(where, value) of all in a plan that may be a file; names of the program's own are none."""
    if not isinstance(plain, dict):
        return []
    asked = plain.get("probes")
    sets = asked.get("sets") if isinstance(asked, dict) else asked
    listed = sets.split(",") if isinstance(sets, str) else sets if isinstance(sets, list) else []
    found = [("general", plain.get("general")), ("format", plain.get("format"))]
    found += [("probes.sets", part) for one in listed if isinstance(one, str) for part in one.split(",")]
    recipes = plain.get("recipes")
    for at, recipe in enumerate(recipes if isinstance(recipes, list) else ()):
        settings = recipe.get("settings") if isinstance(recipe, dict) else None
        values = settings.values() if isinstance(settings, dict) else ()
        found += [(f"recipes.{at}.settings", value) for value in values]
    return [(where, one.strip()) for where, one in found if isinstance(one, str) and _is_path(one.strip())]


def _is_path(text: str) -> bool:
    """Every name of ours is plain: without a slash, and without a file's ending."""
    return bool(text) and ("/" in text or "\\" in text or text.startswith("~") or bool(Path(text).suffix))


def suits(app: App, plan: Plan) -> bool:
    """Whether the base that this page has loaded is the plan's: only then is it told at once how long it takes."""
    base = app.engine.base
    same = plan.base == app.base_spec or (Path(plan.base).is_dir() and str(Path(plan.base).resolve()) == app.base_spec)
    format_ = plan.format is None or plan.format == base.format.name
    return same and format_ and plan.dtype in ("", base.number_format) and plan.device in ("", str(base.device))


_known: dict[tuple, Foreseen] = {}
_knowing = threading.Lock()  # of two pages with the same plan the second one waits for what the first finds


def foreseen(app: App, told: Outlook) -> Outlook:
    """With time, memory and disk of all cells, where that can be told. Takes seconds. Raises UserError."""
    if told.plan is None or not told.can_be_foreseen:
        return told
    places = places_of(app, told.plan)
    everything = told.plan.model_copy(update={"leave_out": []})
    kept = sorted(str(file) for file in places.kept("runs", "*").parent.glob("*.json"))
    key = (everything.model_dump_json(), str(places.out), tuple(kept))
    with _knowing:
        if key not in _known:
            found = ahead.foresee(everything, places, app.engine, told.cells)
            while len(_known) >= REMEMBERED:
                _known.pop(next(iter(_known)))
            _known[key] = found
        told = replace(told, foreseen=_known[key])
    return replace(told, room=_room(app, told.totals)) if told.totals else told


def _room(app: App, totals: Foreseen) -> Room:
    """Whether the experiment's own base and a training fit beside the page's. On a GPU the first makes way for the second."""
    device = memory.where_is(app.engine)
    trainings = totals.memory_bytes - totals.base_bytes
    needed = totals.memory_bytes if device == "cpu" else max(totals.base_bytes, trainings)
    return memory.find_room(needed, device, app.engine)


def begin(app: App, text: str, find: bool) -> str:
    """Begins the experiment of a plan, or goes on with the one of its name; its name. Raises UserError."""
    told = describe(app, text)
    if told.plan is None:
        raise checking.PlanError(told.problems)
    places = places_of(app, told.plan)
    progress.start(text, places, [FIND] if find else [])
    return places.out.name


def go_on(app: App, name: str, find: bool) -> None:
    """With the plan as it was begun with. Raises UserError."""
    begin(app, read_start(app, f"{OWN_PLAN} {name}"), find)


def command(app: App, plan: Plan, text: str, find: bool) -> str:
    """Lines for a shell that write the plan down and run it, just as the page does."""
    places = places_of(app, plan)
    mark = next(mark for mark in (f"PLAN{number or ''}" for number in range(1000)) if mark not in text.split("\n"))
    out, file = shlex.quote(str(places.out)), shlex.quote(str(places.plan))
    write = f"mkdir -p {out} && cat > {file} <<'{mark}'\n{text.rstrip()}\n{mark}"
    return f"{write}\n{run_command(places, find)}"


def run_command(places: Places, find: bool) -> str:
    words = [sys.executable, "-m", "experiments.run", str(places.plan), *places.as_arguments(), *([FIND] if find else [])]
    return f"{shlex.join(['cd', str(CHECKOUT)])}\n{shlex.join(words)}"
