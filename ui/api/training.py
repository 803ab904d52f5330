"""The page's endpoints for training by script: plan_training, start_training, jobs, stop_job. Plain JSON in and out."""

from __future__ import annotations

import dataclasses

import gradio as gr

from store import jobs as stored
from tuning.jobs import memory, queue
from tuning.jobs.progress import progress, tail
from ui import training
from ui.access import roles
from ui.api import arguments
from ui.api.arguments import JSON, read_object
from ui.context import App, sentence

LOG_LINES = 20
MOST = 1000  # jobs told at once
TOLD = ("step", "total", "elapsed_s", "left_s", "alarm")


def plain_outlook(app: App, outlook: training.Outlook) -> dict:
    told, settings = outlook.forecast, outlook.settings
    report = dataclasses.asdict(told.report) if told else None
    return {
        "name": outlook.form_values.name,
        "problems": list(outlook.problems),
        "report": report,
        "needed_bytes": told.needed if told else None,
        "unestimated": told.unestimated if told else "",
        "fits": outlook.room.fits if outlook.room else None,
        "dataset": outlook.form_values.dataset.as_dict(),
        "settings": settings.as_dict() if settings else None,
        "command": training.commands(app, outlook.form_values, settings) if settings else "",
    }


def plain_job(app: App, job: dict) -> dict:
    told = progress(app.db, job["id"])
    kept = ("id", "name", "kind", "status", "message", "device", "attempt", "created", "started", "ended")
    return (
        {name: job[name] for name in kept}
        | {name: getattr(told, name) for name in TOLD}
        | {
            "ends": told.ends.isoformat(timespec="seconds") if told.ends else None,
            "latest": told.latest,
            "losses": [list(point) for point in told.losses],
            "folder": job["folder"],
            "log": tail(job["log"], LOG_LINES),
        }
    )


def build_training_api(app: App) -> None:
    """Inside a Blocks: the four endpoints. A mistake in a call comes back as one sentence."""

    def refuse(error: Exception) -> gr.Error:
        return gr.Error(sentence(app.language(None), error), print_exception=False)

    def plan_training(wish: JSON = "{}") -> dict:
        """What a training would be, without starting it.

        wish: JSON object; identity, langs, rows, style, old, general, general_share, clean, seed; preset, name; and any setting
        of `python -m tuning.train` that is no path.
        """
        try:
            return plain_outlook(app, training.foresee(app, training.read_form(app, read_object(wish, "wish"))))
        except Exception as error:
            raise refuse(error) from None

    def start_training(wish: JSON = "{}") -> dict:
        """Starts it, or queues it behind the one that runs; `park` in the wish lets the chat's base leave the GPU meanwhile."""
        try:
            plain = read_object(wish, "wish")
            id = training.start(app, training.read_form(app, plain), bool(plain.get("park")))
            roles.record(app, "started training", id)
            return plain_job(app, stored.get(app.db, id))
        except Exception as error:
            raise refuse(error) from None

    def jobs(limit: int = 20) -> list:
        """The latest jobs first, a thousand at most, each with its progress and the end of its log."""
        try:
            return [plain_job(app, job) for job in stored.listed(app.db, max(0, min(limit, MOST)))]
        except Exception as error:
            raise refuse(error) from None

    def stop_job(id: int, keep: bool = True) -> dict:
        """Stops a job after the step in progress and keeps what it has, or at once and discards it."""
        try:
            training.stop(app, int(id), bool(keep))
            roles.record(app, "stopped training" if keep else "discarded training", int(id))
            queue.tick(app.db, memory.admission(app.engine, app.db))
            return plain_job(app, stored.get(app.db, int(id)))
        except Exception as error:
            raise refuse(error) from None

    arguments.offer(app, plan_training, start_training, jobs, stop_job)
