"""How far a job is, for people: from the store and the end of its log, without touching the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from sqlite_utils import Database

from store import jobs as stored
from tuning.train.step_time import RECENT, seconds_per_step

Series = tuple[tuple[int, float | None], ...]  # (step, value); None is a gap
SMOOTHING = 0.9  # weight of the past, as most training boards have it
POINTS = 500  # more than a chart has pixels for


@dataclass(frozen=True)
class JobProgress:
    """elapsed_s: of this attempt. left_s, ends: None until two steps are known, or when nothing is left to wait for.

    ends: clock time, local. rows: exactly as stored, the last step's numbers are `latest`. losses and smoothed have the same
    steps. alarm: a sentence if the last loss was no number. rows_per_s: of the usual step, one with a validation is slower.
    """

    id: int
    name: str
    status: str
    message: str
    attempt: int
    step: int
    total: int
    elapsed_s: float
    left_s: float | None
    ends: datetime | None
    latest: dict[str, float]
    losses: Series
    smoothed: Series
    eval_losses: Series
    rates: Series
    margins: Series
    alarm: str
    margins_by_lang: Mapping[str, Series] = field(default_factory=dict)
    rows_per_s: float | None = None


def progress(where: str | Path | Database, id: int) -> JobProgress:
    """StoreError if there is no such job."""
    job, rows = stored.get(where, id), stored.metrics(where, id)
    running = job["status"] in stored.ACTIVE
    began = parse_time(job["started"])
    ended = datetime.now(UTC) if running or not job["ended"] else parse_time(job["ended"])
    step = max(job["step"], rows[-1]["step"] if rows else 0)
    left = seconds_left(rows, step, job["total"], began, job["resumed_from"] or 0) if running else None
    # a row without any of these numbers belongs to a validation or another measurement
    trained = [row for row in rows if any(row[name] is not None for name in ("loss", "lr", "grad_norm", "samples_per_s"))]
    losses = [(row["step"], row["loss"]) for row in trained]
    speeds = [row["samples_per_s"] for row in trained[-RECENT:] if row["samples_per_s"]]
    gap = bool(losses) and losses[-1][1] is None
    return JobProgress(
        id=id,
        name=job["name"],
        status=job["status"],
        message=job["message"],
        attempt=job["attempt"],
        step=step,
        total=job["total"],
        elapsed_s=max(0.0, (ended - began).total_seconds()) if began and ended else 0.0,
        left_s=left,
        ends=datetime.now().astimezone() + timedelta(seconds=left) if left is not None else None,
        latest=latest_values(rows),
        losses=thin(losses),
        smoothed=thin(smooth(losses)),
        eval_losses=series_of(rows, "eval_loss"),
        rates=series_of(rows, "lr"),
        margins=series_of(rows, "margin"),
        margins_by_lang={lang: told for lang in ("en", "zh") if (told := extra_series_of(rows, f"margin_{lang}"))},
        rows_per_s=median(speeds) if speeds else None,
        alarm=f"The loss of step {losses[-1][0]} is not a number." if gap else "",
    )


def seconds_left(rows: Sequence[dict], step: int, total: int, began: datetime | None, since_step: int = 0) -> float | None:
    """From the usual time of the last steps of this attempt, checkpoints and validations spread over them.

    since_step: the attempt's first step comes after it; by the step, as the clock may have been set since.
    """
    if not began or total <= step:
        return 0.0 if total and began else None
    known = [(row["step"], row["time"]) for row in rows if row["time"] and row["step"] > since_step][-RECENT:]
    per_step = seconds_per_step(known)
    if per_step is None:
        return None
    since = datetime.now(UTC).timestamp() - known[-1][1]
    return max(0.0, per_step * (total - step) - min(max(since, 0.0), per_step))


def smooth(points: Sequence[tuple[int, float | None]], weight: float = SMOOTHING) -> list[tuple[int, float | None]]:
    """Exponential mean without the pull towards 0 at the beginning (Kingma & Ba 2015, section 3); gaps stay gaps."""
    mean = seen = 0.0
    found: list[tuple[int, float | None]] = []
    for step, value in points:
        if value is not None:
            mean, seen = weight * mean + (1 - weight) * value, weight * seen + (1 - weight)
        found.append((step, mean / seen if value is not None else None))
    return found


def series_of(rows: Sequence[dict], name: str) -> Series:
    """One column of the metrics, gaps left out."""
    return thin([(row["step"], row[name]) for row in rows if row[name] is not None])


def extra_series_of(rows: Sequence[dict], name: str) -> Series:
    """The same of what stands beside the columns."""
    return thin([(row["step"], row["extra"][name]) for row in rows if row["extra"].get(name) is not None])


def thin(points: Sequence[tuple[int, float | None]], most: int = POINTS) -> Series:
    """At most so many, evenly, the last one always among them."""
    every = -(-len(points) // most) if points else 1
    return tuple(points[::-1][::every][::-1])


def latest_values(rows: Sequence[dict]) -> dict[str, float]:
    """The last known value of every number."""
    found: dict[str, float] = {}
    for row in rows:
        plain = {name: value for name, value in row.items() if name not in ("job", "step", "extra")}
        found |= {name: value for name, value in (plain | row["extra"]).items() if value is not None}
    return found


def tail(log: str | Path, lines: int = 40, limit: int = 16_000) -> str:
    """The end of a log: so many lines and bytes at most. "" if there is none yet. A progress bar is its last state."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - limit))
            read = file.read(limit)
    except OSError:
        return ""
    if size > limit and b"\n" in read:
        read = read.partition(b"\n")[2]  # the first line lacks its beginning
    text = read.decode("utf-8", "replace")
    ends = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    while ends and not ends[-1]:
        ends.pop()
    return "\n".join(ends[-lines:])


def parse_time(moment: str | None) -> datetime | None:
    """A moment as the store has it."""
    return datetime.fromisoformat(moment) if moment else None
