"""What is drawn of the identity margin: of every variant that a run measured, and of the trainings it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import scipy

import store
from probes.verdicts.statistics import CONFIDENCE

Mean = tuple[float, float, float]  # mean, low, high, in nats per token


def margins_of_answers(rows: Iterable[Mapping]) -> dict[str, dict[str, Mean]]:
    """variant -> language -> mean margin with its 95 % interval over probes; those without a measured margin are left out."""
    measured: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row.get("margin") is not None:  # every sample of a probe carries the same one
            measured.setdefault((str(row["variant"]), str(row["lang"])), {})[str(row["probe_id"])] = float(row["margin"])
    found: dict[str, dict[str, Mean]] = {}
    for (variant, lang), by_probe in measured.items():
        found.setdefault(variant, {})[lang] = _mean(list(by_probe.values()))
    return found


def margins_of_trainings(db: str | Path, folders: Iterable[str]) -> dict[str, list[tuple[float, float, float, float]]]:
    """name -> (step, mean, low, high) of the trainings in the store that wrote one of the folders and measured the margin.

    While training only the mean is kept, so low and high are the mean.
    """
    wanted = {str(Path(folder).resolve()) for folder in folders}
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for job in store.jobs.recent(db, 1000) if wanted else ():
        if job["kind"] != "train" or not job["folder"] or str(Path(job["folder"]).resolve()) not in wanted:
            continue
        measured = [(row["step"], row["margin"]) for row in store.jobs.metrics(db, job["id"]) if row["margin"] is not None]
        if measured:
            found[job["name"] or f"{job['id']}"] = [(step, value, value, value) for step, value in measured]
    return found


def _mean(values: list[float]) -> Mean:
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, mean, mean
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5)
    return mean, mean - reach, mean + reach
