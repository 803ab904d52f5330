"""Whether it is the count of identity samples that decides or their share, told of the mixes that an experiment has made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from experiments import fits, judging
from experiments.fits import Mix
from experiments.outcome import NEW, OLD_GONE, Shares, scores_of
from experiments.progress import CellState, Journal
from experiments.session import Session
from probes.answers.sources import Answers

MEASURES = {NEW: "formed", OLD_GONE: "forgotten"}  # of single answers, not the verdict over all of them
WORDS = {
    fits.COUNT: "the count decides",
    fits.SHARE: "the share decides",
    fits.BETWEEN: "it lies between count and share",
    fits.BEYOND_SHARE: "general rows weigh more than in the share",
    fits.BEYOND_COUNT: "general rows help beside the count",
    fits.ALIKE: "count and share cannot be told apart",
}


def tell(session: Session, journal: Journal, answers: Mapping[str, Answers]) -> None:
    """Into the journal, and said: of every kind of data, arm and recipe whose mixes cross several counts with several
    backgrounds, by measure and language. answers: by cell."""
    series: dict[str, list[tuple[CellState, Mapping[str, Shares]]]] = {}
    for label, cell in journal.cells.items():
        about = cell.about
        if cell.kind == "trained" and about.get("dose") and about.get("background") and label in answers:
            name = str(about["series"]).replace(f" in {about['background']:,}", "")
            series.setdefault(name, []).append((cell, scores_of(judging.evidence(session, answers[label]))))
    journal.deciding = [
        {"series": name, "criterion": criterion, "lang": lang} | dataclasses.asdict(found)
        for name, cells in series.items()
        for measure, criterion in MEASURES.items()
        for lang in session.plan.langs
        if (found := fits.count_or_share(_mixes(cells, f"{measure}/{lang}"))).word != fits.NOT_CROSSED
    ]
    journal.write(force=True)
    for one in journal.deciding:
        session.say(describe(one))


def _mixes(cells: list[tuple[CellState, Mapping[str, Shares]]], measure: str) -> list[Mix]:
    return [
        Mix(cell.about["dose"], cell.about["background"], cell.about["seed"], scores[measure])
        for cell, scores in cells
        if measure in scores
    ]


def describe(one: Mapping[str, Any]) -> str:
    """A line of the command's."""
    runs = "one run each" if one["single"] else f"{one['runs']} runs"
    power = f"power {one['power']:.2f} [{one['low']:.2f} to {one['high']:.2f}]; 0 is the count, 1 the share; "
    power = power if math.isfinite(one["power"]) else ""  # where all mixes answer alike there is none
    return f"{one['series']}, {one['criterion']} ({one['lang']}): {WORDS[one['word']]} ({power}{one['mixes']} mixes, {runs})"
