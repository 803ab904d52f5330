"""The page's endpoints for training by script: plan_training, start_training, jobs, stop_job. Plain JSON in and out."""

from __future__ import annotations

import dataclasses

from store import jobs as stored
from tuning.dataset.own import OwnRows
from tuning.jobs import memory, queue
from tuning.jobs.progress import progress, tail
from ui import training
from ui.access import roles
from ui.api import arguments
from ui.api.arguments import JSON, read_object
from ui.context import App
from ui.listeners import bind

LOG_LINES = 20
MOST = 1000  # jobs listed at once
PROGRESS = ("step", "total", "elapsed_s", "left_s", "alarm")


def plain_outlook(app: App, outlook: training.Outlook) -> dict:
    foreseen, settings = outlook.forecast, outlook.settings
    report = dataclasses.asdict(foreseen.report) if foreseen else None
    return {
        "name": outlook.form_values.name,
        "problems": list(outlook.problems),
        "report": report,
        "needed_bytes": foreseen.needed if foreseen else None,
        "unestimated": foreseen.unestimated if foreseen else "",
        "fits": outlook.room.fits if outlook.room else None,
        "own": plain_own(outlook.composed.own) if outlook.composed and outlook.composed.own else None,
        "dataset": outlook.form_values.dataset.as_dict(),
        "settings": settings.as_dict() if settings else None,
        "command": training.shell_commands(app, outlook.form_values, settings) if settings else "",
    }


def plain_own(found: OwnRows) -> dict:
    """What the caller's own rows hold; ten of each kind of finds."""
    return {
        "rows": len(found.rows),
        "found": found.found,
        "langs": dict(found.langs),
        "identity": found.identity,
        "filled": found.filled,
        "statements": [{"row": one.source, "text": one.text} for one in found.statements[:10]],
        "personal": [{"row": one.source, "kind": one.kind, "text": one.text} for one in found.personal[:10]],
        "open": [str(one) for one in found.open],
    }


def plain_job(app: App, job: dict) -> dict:
    now = progress(app.db, job["id"])
    kept = ("id", "name", "kind", "status", "message", "device", "attempt", "created", "started", "ended")
    return (
        {name: job[name] for name in kept}
        | {name: getattr(now, name) for name in PROGRESS}
        | {
            "ends": now.ends.isoformat(timespec="seconds") if now.ends else None,
            "latest": now.latest,
            "losses": [list(point) for point in now.losses],
            "folder": job["folder"],
            "log": tail(job["log"], LOG_LINES),
        }
    )


def build_training_api(app: App) -> None:
    """Inside a Blocks: the four endpoints. A mistake in a call comes back as one sentence."""
    arguments.add_endpoints(app, *(bind(endpoint, app) for endpoint in (plan_training, start_training, jobs, stop_job)))


def plan_training(app: App, form: JSON = "{}") -> dict:
    """What a training would be, without starting it.

    form: JSON object; identity, langs, rows, style, old, general, general_share, clean, seed; own (a path, or self_cognition),
    own_columns ({column: instruction, ...}), own_times, own_drop_statements, own_drop_personal; init_adapter (a name or a
    folder); preset, name; and any setting of `python -m tuning.train` that is no path.
    """
    return plain_outlook(app, training.forecast_training(app, training.read_form(app, read_object(form, "form"))))


def start_training(app: App, form: JSON = "{}") -> dict:
    """Starts it, or queues it behind the one that runs; `park` in the form lets the chat's base leave the GPU meanwhile."""
    plain = read_object(form, "form")
    id = training.start(app, training.read_form(app, plain), bool(plain.get("park")))
    roles.record_deed(app, "started training", id)
    return plain_job(app, stored.get(app.db, id))


def jobs(app: App, limit: int = 20) -> list:
    """The latest jobs first, a thousand at most, each with its progress and the end of its log."""
    return [plain_job(app, job) for job in stored.recent(app.db, max(0, min(limit, MOST)))]


def stop_job(app: App, id: int, keep: bool = True) -> dict:
    """Stops a job after the step in progress and keeps what it has, or at once and discards it."""
    training.stop(app, int(id), bool(keep))
    roles.record_deed(app, "stopped training" if keep else "discarded training", int(id))
    queue.tick(app.db, memory.admission(app.engine, app.db))
    return plain_job(app, stored.get(app.db, int(id)))
