"""Simulated models whose thresholds are known: does the finder hold what it says, and what does it cost?

`python -m experiments.simulated` prints a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import scipy

from experiments.outcome import LEVELS, NEW, Outcome

KEY = f"{NEW}/en"
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


@dataclass(frozen=True)
class Model:
    """slope: log-odds per factor e of the dose; middle: the dose of even odds for a middling probe and seed; fall: where the
    odds are even again, at the same slope downwards; seed_sd: how far seeds shift the dose, in powers of e; probe_sd: how far
    probes differ, in log-odds; most: the share that no dose exceeds; wrong: share of labels that are wrong; shape: logistic,
    or gompertz, which is not symmetric."""

    name: str
    slope: float
    middle: float = 300.0
    fall: float | None = None
    seed_sd: float = 0.0
    probe_sd: float = 1.0
    most: float = 1.0
    wrong: float = 0.0
    shape: str = "logistic"
    probes: int = 60
    samples: int = 1

    def chance(self, log_dose: float, seed: np.ndarray | float, probe: np.ndarray | float) -> np.ndarray:
        """seed: in powers of e of the dose; probe: in log-odds."""
        up = self._curve(self.slope * (log_dose - math.log(self.middle) + seed) + probe)
        down = 1.0 if self.fall is None else self._curve(self.slope * (math.log(self.fall) - log_dose - seed) + probe)
        return self.most * up * down

    def _curve(self, odds: np.ndarray | float) -> np.ndarray:
        return np.exp(-np.exp(-np.asarray(odds))) if self.shape == "gompertz" else scipy.special.expit(odds)

    def share(self, log_dose: float) -> float:
        """The true share over seeds and probes."""
        seeds, probes = self.seed_sd * NODES[:, None], self.probe_sd * NODES[None, :]
        return float(WEIGHTS @ self.chance(log_dose, seeds, probes) @ WEIGHTS)

    def edges(self, level: float = LEVELS[NEW]) -> tuple[float, float]:
        """(first, last) dose at which the true share reaches the level; both infinite if none does."""
        logs = np.linspace(math.log(0.5), math.log(1e6), 600)
        over = np.array([self.share(one) for one in logs]) - level
        reached = np.flatnonzero(over >= 0)
        if not len(reached):
            return math.inf, math.inf
        first, last = int(reached[0]), int(reached[-1])

        def root(a: int) -> float:
            return math.exp(scipy.optimize.brentq(lambda one: self.share(one) - level, logs[a], logs[a + 1]))

        return (root(first - 1) if first else 0.0), (root(last) if last < len(logs) - 1 else math.inf)


def moved(model: Model, factor: float) -> Model:
    """The same at doses that are `factor` times as large."""
    return replace(model, middle=model.middle * factor, fall=model.fall and model.fall * factor)


class Trained:
    """One draw of probes of a model, which then gives the same outcome for the same cell, in whatever order it is asked."""

    def __init__(self, model: Model, seed: int) -> None:
        self.model, self.seed = model, seed
        self.probe = np.random.default_rng((seed, 0)).normal(0, model.probe_sd, model.probes)

    def outcome(self, dose: int, seed: int) -> Outcome:
        model, rng = self.model, np.random.default_rng((self.seed, 1, dose, seed))
        shift = rng.normal(0, model.seed_sd) if model.seed_sd else 0.0
        chance = model.chance(math.log(max(dose, 0.1)), shift, self.probe)
        said = rng.random((model.samples, model.probes)) < chance
        said ^= rng.random(said.shape) < model.wrong
        return Outcome(dose, seed, {KEY: {f"p{n:03}": float(share) for n, share in enumerate(said.mean(axis=0))}})

    def outcomes(self, cells: Iterable[tuple[int, int]]) -> list[Outcome]:
        return [self.outcome(dose, seed) for dose, seed in cells]
