"""From what a person wants taught to data, settings and a job. No Gradio: the tab and the scripts' endpoints share it."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import identities
from common import outside
from common.errors import UserError
from common.files import copy
from engine import bases
from engine.types import EngineError
from identities import IdentityError
from store import jobs as stored
from tuning.dataset import own as own_data, readers, recipe as data_sets
from tuning.dataset.dataset_info import INFO
from tuning.dataset.recipe import Composed, Dataset
from tuning.dataset.rows import DataError
from tuning.dataset.tables import READ, file_kind
from tuning.jobs import forecast as forecasts, memory, queue
from tuning.jobs.forecast import Forecast, forecast
from tuning.jobs.launch import best_device, shell_lines, with_absolute_paths
from tuning.jobs.memory import Room
from tuning.train import checkpoint, preflight
from tuning.train.estimate import Caution
from tuning.train.loading import own_format
from tuning.train.presets import PRESETS
from tuning.train.reporting import missing_package
from tuning.train.settings import Settings, SettingsError
from ui import adapter_library
from ui.access import roles
from ui.context import App

PRESET = "quick"
# what the page asks for unless told otherwise: enough validation rows for a curve, few enough to cost nothing
DEFAULTS = {"val_set_size": 0.05, "margin": True}
# what the form, or the page itself, decides
OWN = (
    "base_model", "data_path", "train_dir", "valid_dir", "output_dir", "name", "identity", "overwrite_output_dir",
    "identities_dir", "margin_against", "resume_from_checkpoint", "trust_remote_code", "dataset", "dataset_dir", "model_name",
    "author",
)  # fmt: skip
DATA = tuple(one.name for one in dataclasses.fields(Dataset) if one.name not in ("card", "identities_dir"))


@dataclass(frozen=True)
class TrainingForm:
    """Who is to be taught, from what, and how. name: of the adapter; values: of the settings that are not OWN."""

    name: str
    dataset: Dataset
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Outlook:
    """What a form means. problems: why it cannot start, a sentence each; the rest is there as far as it could be worked out.

    own_columns: of the file of rows that somebody brings.
    """

    form_values: TrainingForm
    problems: tuple[str, ...]
    settings: Settings | None = None
    composed: Composed | None = None
    forecast: Forecast | None = None
    room: Room | None = None
    own_columns: tuple[str, ...] = ()


def read_form(app: App, plain: Mapping[str, Any]) -> TrainingForm:
    """From a flat mapping: fields of Dataset and of Settings, `preset` and `name`; what is missing takes its default.

    Raises DataError for names that nothing is called.
    """
    settings = {one.name for one in dataclasses.fields(Settings)} - set(OWN)
    unknown = sorted(set(plain) - settings - set(DATA) - {"preset", "name", "park"})
    if unknown:
        known = sorted({*settings, *DATA, "preset", "name", "park"})
        raise DataError(f"A training has no {', '.join(unknown)}; it has {', '.join(known)}.")
    preset = plain.get("preset") or PRESET
    if not isinstance(preset, str):
        raise DataError(f"preset is {outside.abbreviate(preset)}; choose one of {', '.join(PRESETS)}.")
    if preset not in PRESETS:
        raise DataError(f"Preset {preset!r} is unknown; choose one of {', '.join(PRESETS)}.")
    given = {name: value for name, value in plain.items() if name in DATA and value is not None}
    if isinstance(given.get("langs"), str):
        given["langs"] = given["langs"].split(",")
    for name, kind in (("rows", int), ("general_share", float), ("seed", int), ("own_times", int)):
        try:
            given[name] = kind(given.get(name, getattr(Dataset, name)))
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"{name} is {outside.abbreviate(given[name])}; give a number.") from None
    outside.check(data_sets.Recipe, given | {"name": plain.get("name")}, "The form", DataError)
    for name in ("general", "own"):
        if given.get(name):
            given[name] = _source(app, str(given[name]))
    template = str(plain.get("prompt_template_name") or "")
    if Path(template).suffix.lower() in (".json", ".jinja"):
        app.opened.place(template, DataError, "The prompt template")
    wanted = Dataset.from_dict(given)
    card = app.engine.base.card
    folder = "" if app.identities == identities.FOLDER else str(app.identities.absolute())
    wanted = replace(wanted, card=card.name if card.placeholders else "", identities_dir=folder)
    values = DEFAULTS | PRESETS[preset] | {name: plain[name] for name in settings if name in plain}
    if start := str(values.get("init_adapter") or "").strip():
        values["init_adapter"] = adapter_folder(app, start)
    name = str(plain.get("name") or "").strip() or free_name(app, f"{wanted.identity or 'run'}-{wanted.rows}-{wanted.style}")
    return TrainingForm(name, wanted, values)


def recipe_values(app: App, preset: str) -> dict[str, Any]:
    """What the form is filled with; *quick* is what this machine does in about five minutes. Scripts get the recipe as it is."""
    fitted = {"batch_size": quick_batch(app)} if preset == PRESET else {}
    return DEFAULTS | PRESETS[preset] | fitted


_measuring = threading.Lock()  # of two measurements at once both would find a slow machine


def quick_batch(app: App) -> int:
    """As `tuning.jobs.forecast.quick_batch`, measured once for a page, on rows of the kind that are made here."""
    usual: int = PRESETS[PRESET]["batch_size"]
    with _measuring:
        if "quick_batch" not in app.measured:
            try:
                rows = data_sets.compose(Dataset(identity=identities.DEFAULT_NEW, rows=usual)).rows
                app.measured["quick_batch"] = forecasts.quick_batch(app.engine.base, rows)
            except UserError:  # a base that cannot be trained: whoever looks at the form is told
                app.measured["quick_batch"] = usual
        return app.measured["quick_batch"]


def adapter_folder(app: App, adapter: str) -> str:
    """Where a finished adapter lies: one that is loaded by its name, any other by its folder. Raises DataError."""
    loaded = app.engine.adapters.get(adapter)
    return str(app.opened.place(loaded.path if loaded else adapter, DataError, "The adapter to start from").absolute())


def keep_upload(app: App, files: Sequence[str]) -> Path:
    """Copies files of rows to where the runs' data lies; the file, or the folder of several. Raises DataError."""
    given = [Path(file) for file in files]
    if odd := [file.name for file in given if not file_kind(file) and file.name != INFO]:
        raise DataError(f"{', '.join(odd)}: such files are not read; {READ}.")
    if len({file.name for file in given}) < len(given):
        twice = next(name for name, times in Counter(file.name for file in given).items() if times > 1)
        raise DataError(f"Two of the files are called {twice}, and one would take the other's place; rename one.")
    digest = hashlib.sha256()
    for file in given:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    folder = (app.runs / "data" / "uploads" / digest.hexdigest()[:12]).absolute()
    for file in given:
        copy(file, folder / file.name)
    return folder / given[0].name if len(given) == 1 else folder


def _source(app: App, source: str) -> str:
    """Where rows are, as it was typed, if the page may read there. Raises DataError."""
    source = own_data.place_of(source.strip())
    try:
        app.opened.place(source, DataError, "The data")
    except DataError:
        if not readers.is_hub_name(source) or Path(source).exists():
            raise
    if not Path(source).expanduser().exists() and not roles.is_allowed(app, roles.RESEARCHER):
        raise DataError(f"The data {source!r} would have to be fetched to this machine, which takes a researcher.")
    return source


def free_name(app: App, wanted: str) -> str:
    """`wanted`, or with the first number behind it that no adapter, folder or job has."""
    taken = {job["name"] for job in stored.recent(app.db, 1000)} | set(app.engine.adapters)
    names = [wanted, *(f"{wanted}-{number}" for number in range(2, 10_000))]
    return next(name for name in names if name not in taken and not (app.made_adapters / name).exists())


def rows_file(app: App, name: str) -> Path:
    return (app.runs / "data" / f"{name}.jsonl").absolute()


def settings_of(app: App, form_values: TrainingForm) -> Settings:
    """Raises SettingsError with all that is wrong."""
    base = app.engine.base
    own = {
        "base_model": app.base_spec,
        "trust_remote_code": base.remote_code,
        "data_path": str(rows_file(app, form_values.name)),
        "output_dir": str(app.made_adapters / form_values.name),
        "name": form_values.name,
        "identity": form_values.dataset.identity,
        "identities_dir": form_values.dataset.identities_dir,
        "margin_against": form_values.dataset.old or Settings.margin_against,
        "seed": form_values.dataset.seed,
    }
    values = {name: value for name, value in form_values.values.items() if name not in OWN and value is not None}
    if margin_misses(app, form_values):
        values |= {"margin": False, "moments": 0, "stop_at": ""}
    # a chat that was started with a format of its own would otherwise be trained in another one
    if not values.get("prompt_template_name") and base.format.name != own_format(base):
        values["prompt_template_name"] = base.format.name
    return with_absolute_paths(Settings.from_dict(values | own))


def margin_misses(app: App, form_values: TrainingForm) -> str:
    """Why no identity margin can be measured: which identity lacks a name and a maker; empty where it can."""
    new, old = form_values.dataset.identity, form_values.dataset.old or Settings.margin_against
    sides = []
    for name in (new, old):
        try:
            facts = identities.load(name, app.identities).facts
        except IdentityError:
            facts = None
        sides.append({lang for lang, who in (facts.by_lang if facts else {}).items() if who.name and who.maker})
        if not sides[-1]:
            return f"{name} has no facts with a name and a maker"
    return "" if new != old and sides[0] & sides[1] else f"{new} and {old} cannot be told apart in one language"


def name_problems(app: App, name: str) -> list[str]:
    if not adapter_library.NAME.fullmatch(name):
        return [f"{name!r} is no name for an adapter; use letters, digits, dots, - and _, at most 80."]
    if (app.made_adapters / name).exists():
        return [f"There is an adapter folder called {name} already; choose another name."]
    try:
        adapter_library.refuse_promised(app, app.made_adapters / name)
    except EngineError as error:
        return [str(error)]
    return []


def forecast_training(app: App, form_values: TrainingForm) -> Outlook:
    """Everything a person should see before starting. Raises nothing that a person could put right."""
    problems = name_problems(app, form_values.name)
    settings = composed = told = found = None
    try:
        settings = settings_of(app, form_values)
    except SettingsError as error:
        problems += [line for line in error.problems if "--output_dir" not in line]
    if settings:
        problems += [*checkpoint.init_problems(settings), *missing_package(settings.report_to)]
    try:
        composed = data_sets.compose(form_values.dataset, app.opened)
    except (UserError, OSError) as error:
        problems += str(error).split("\n")
    if settings and composed:
        try:
            told = forecast(settings, composed.rows, app.engine.base, composed.own.rows if composed.own else ())
            if form_values.values.get("margin") and (why := margin_misses(app, form_values)):
                moments = " and no moments are kept" if form_values.values.get("moments") else ""
                told = add_caution(told, Caution("no margin", f"The identity margin is not measured{moments}: {why}."))
            if settings.batch_size == quick_batch(app) < PRESETS[PRESET]["batch_size"]:
                text = f"{settings.batch_size} rows a step, fitted to how fast this machine was when the form was opened."
                told = add_caution(told, Caution("fitted batch", text))
            problems += [caution.text for caution in told.report.cautions if caution.refuse]
            if told.needed:
                found = memory.find_room(told.needed, settings.device or best_device(), app.engine)
        except UserError as error:
            problems += str(error).split("\n")
    return Outlook(form_values, tuple(problems), settings, composed, told, found, own_columns(app, form_values.dataset))


def add_caution(told: Forecast, caution: Caution) -> Forecast:
    return replace(told, report=replace(told.report, cautions=(*told.report.cautions, caution)))


def own_columns(app: App, dataset: Dataset) -> tuple[str, ...]:
    """Of the file of rows that somebody brings; empty where none can be seen, which reading the rows will say."""
    try:
        return tuple(data_sets.own_columns(dataset, app.opened))
    except (UserError, OSError):
        return ()


_starting = threading.Lock()  # of two who start one name at the same moment, one finds it taken, before its rows are written


def start(app: App, form_values: TrainingForm, park: bool = False) -> int:
    """Writes the data and queues the training; the job's id. Raises SettingsError or StoreError."""
    with _starting:
        return _start(app, form_values, park)


def _start(app: App, form_values: TrainingForm, park: bool) -> int:
    outlook = forecast_training(app, form_values)
    settings, told = outlook.settings, outlook.forecast
    if outlook.problems or settings is None:
        raise SettingsError(outlook.problems)
    data_sets.write(form_values.dataset, rows_file(app, form_values.name), opened=app.opened)
    if problems := preflight.problems(settings):
        raise SettingsError(problems)
    needed, why = (told.needed, told.unestimated) if told else (None, "")
    id = queue.enqueue(app.db, settings, name=form_values.name, needs_bytes=needed, park=park, owned=True, unestimated=why)
    queue.tick(app.db, memory.admission(app.engine, app.db))
    return id


def shell_commands(app: App, form_values: TrainingForm, settings: Settings) -> str:
    """The lines that do the same from a shell, wherever it stands."""
    data = form_values.dataset
    data = replace(data, general=_whole_path(data.general), own=_whole_path(data.own))
    return shell_lines(
        ["-m", "tuning.dataset", *data.as_arguments(), "--output", str(rows_file(app, form_values.name))],
        ["-m", "tuning.train", *settings.as_arguments()],
    )


def _whole_path(source: str) -> str:
    """As it is seen from everywhere; what is no path here stays."""
    path = Path(source).expanduser()
    return str(path.absolute()) if source and path.exists() else source


def resume(app: App, id: int) -> int:
    """Queues a run's next attempt; the step it goes on from. A base that has moved since is the one the page has, if that is
    called the same. Raises JobError or StoreError."""
    job = folder_opened(app, id)
    was = (job["settings"] or {}).get("base_model", "")
    base = app.engine.base
    lost = bases.portable_spec(was) not in bases.PACKAGED and not bases.spec_path(was).exists()
    moved = lost and bases.spec_path(was).name in (base.name, *base.names)
    return queue.resume(app.db, id, base=app.base_spec if moved else "")


def stop(app: App, id: int, keep: bool) -> None:
    """`jobs.stop`; a run in a folder that is not open to the page can be stopped, but not discarded. Raises DataError too."""
    if not keep:
        folder_opened(app, id)
    queue.stop(app.db, id, keep=keep)


def folder_opened(app: App, id: int) -> dict:
    """The job, if its folder is one that the page may write to. Raises DataError or StoreError."""
    job = stored.get(app.db, id)
    app.opened.place(job["folder"], DataError, f"Job {id} was started elsewhere; its folder", write=True)
    return job


def earlier_values(job: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values of an earlier run, without its name."""
    settings = dict(job["settings"] or {})
    recipe = data_sets.recipe_of(settings.get("data_path") or "")
    data = {name: value for name, value in (recipe.as_dict() if recipe else {}).items() if name in DATA}
    return {name: value for name, value in settings.items() if name not in OWN} | data


def latest_trainings(app: App, limit: int = 40) -> list[dict]:
    """The latest first."""
    return [job for job in stored.recent(app.db, limit) if job["kind"] == "train"]


def taught_last(app: App) -> tuple[str, str] | None:
    """(adapter, its identity) of the latest training whose adapter is loaded and says whom it was taught to be."""
    for job in latest_trainings(app):
        info = app.engine.adapters.get(job["name"])
        if info and isinstance(identity := info.card.get("identity"), str) and identity:
            return info.name, identity
    return None


def known_identities(app: App) -> list[str]:
    """Those whose facts name somebody in at least one language; the wordings NAME-zh of an identity are the same person."""
    found = []
    for name in identities.names(app.identities):
        try:
            facts = identities.load(name, app.identities).facts
        except IdentityError:
            continue
        if facts and not name.endswith("-zh") and any(who.name for who in facts.by_lang.values()):
            found.append(name)
    return found
