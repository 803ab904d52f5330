"""One training as the page shows it: where it is, how it goes, what became of it. HTML only, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from store import jobs as stored
from tuning.dataset.recipe import recipe_of
from tuning.jobs.progress import JobProgress
from ui import adapter_library, running
from ui.html import failure, note, paragraph
from ui.tabs.finetune import forecast
from ui.words import say

NEWS = {"done": "done", "failed": "bad", "died": "bad", "stopped": "over", "discarded": "over", "queued": "wait"}


def run_label(lang: str, job: Mapping) -> str:
    """A run in the list: its name and, unless it is simply done, where it is."""
    state = say(lang, f"status_{job['status']}")
    return job["name"] if job["status"] == "done" else f"{job['name']} · {state}"


def head_html(lang: str, job: Mapping, told: JobProgress, ahead: int) -> str:
    """Name, state, progress bar, times. ahead: jobs that are before it in the queue."""
    status = job["status"]
    kind, words = NEWS.get(status, "busy"), escape(say(lang, f"status_{status}"))
    chip = f'<span class="mt-state mt-state-{kind}" role="status">{words}</span>'
    parts = [f"<h2>{escape(job['name'])}{chip}</h2>"]
    if status in stored.ACTIVE:
        parts.append(bar_html(lang, told))
        parts.append(paragraph(say(lang, "safe_to_close")))
    elif status == "queued":
        place = say(lang, "queue_next") if not ahead else say(lang, "queue_ahead", number=ahead)
        parts.append(paragraph(f"{place} {say(lang, 'safe_to_close')}"))
    elif told.total:
        spent = running.clock(told.elapsed_s)
        parts.append(paragraph(say(lang, "ended_after", step=told.step, total=told.total, spent=spent)))
    if status in ("failed", "died"):
        parts.append(failure(job["message"] or say(lang, f"status_{status}")))
    elif job["message"]:
        parts.append(note(job["message"], "warn" if status == "queued" else ""))
    if told.alarm and status in stored.ACTIVE:
        parts.append(note(say(lang, "loss_no_number"), "warn"))
    return "".join(parts)


def bar_html(lang: str, told: JobProgress) -> str:
    """12/90, elapsed, left, the clock time of the end."""
    share = told.step / told.total if told.total else 0.0
    facts = [f"<strong>{told.step}/{told.total}</strong>" if told.total else f"<strong>{escape(say(lang, 'preparing'))}</strong>"]
    facts.append(escape(say(lang, "elapsed", time=running.clock(told.elapsed_s))))
    if told.left_s is not None and told.total > told.step:
        facts.append(escape(say(lang, "left", time=running.clock(told.left_s))))
        if told.ends:
            facts.append(escape(say(lang, "ends", time=told.ends.strftime("%H:%M"))))
    if told.rows_per_s:
        facts.append(escape(say(lang, "rows_per_s", number=f"{told.rows_per_s:.1f}")))
    return running.bar_html(share, told.step, told.total, facts)


def numbers_html(lang: str, job: Mapping, told: JobProgress) -> str:
    """Under the curves: the latest figures, and what the finished adapter's card says."""
    card = adapter_library.read_card(job["folder"]) if job["status"] in ("done", "stopped") else {}
    settings = job["settings"] or {}
    recipe = recipe_of(settings["data_path"]) if settings.get("data_path") else None
    known = [
        ("identity", settings.get("identity")),
        ("latest_loss", format_number(told.latest.get("loss"))),
        ("latest_valid", format_number(told.latest.get("eval_loss"))),
        ("latest_rate", format_number(told.latest.get("lr"), ".2g")),
        ("base", base_name(settings.get("base_model"))),
        ("own_rows", Path(recipe.own).name if recipe and recipe.own else None),
        ("init_adapter", base_name(settings.get("init_adapter"))),
        ("format", card.get("format")),
        ("rows", f"{rows:,}" if (rows := (card.get("data") or {}).get("rows")) is not None else None),
        ("attempt", str(job["attempt"]) if job["attempt"] > 1 else None),
        ("device", job["device"]),
        ("memory", memory_words(lang, job["needs_bytes"], job["unestimated"])),
    ]
    said = "".join(f"<div><dt>{escape(say(lang, key))}</dt><dd>{escape(str(value))}</dd></div>" for key, value in known if value)
    return f'<dl class="mt-facts-list">{said}</dl>'


def memory_words(lang: str, needed: int | None, why: str) -> str | None:
    """What the run was thought to need when it was queued; None of one that nobody asked about."""
    return forecast.memory_words(lang, needed, why) if needed or why else None


def base_name(base: str | None) -> str | None:
    """A base's folder or file by its name: the whole path stands in the command line."""
    return Path(base).name if base and Path(base).is_absolute() else base


def format_number(value: float | None, form: str = ".3f") -> str | None:
    return None if value is None else format(value, form)
