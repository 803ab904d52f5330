"""Simulated models whose thresholds are known: does the finder hold what it says, and what does it cost?

`python -m experiments.simulated` prints a table.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from experiments import finder
from experiments.outcome import FORMED, LEVELS, NEW, Outcome
from experiments.search import Effort
from experiments.windows import find_window

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


GRID = (0, 10, 40, 160, 640, 2560, 10000)
MODELS = (
    Model("steep", 6.0),
    Model("medium", 2.0),
    Model("shallow", 0.8),
    Model("not symmetric", 1.5, shape="gompertz"),
    Model("seeds apart", 3.0, seed_sd=0.3),
    Model("seeds all or nothing", 8.0, seed_sd=0.5),
    Model("shallow, seeds apart", 0.8, seed_sd=0.6),
    Model("probes alike within", 2.0, probe_sd=2.5),
    Model("three samples", 2.0, samples=3),
    Model("3 % wrong labels", 2.0, wrong=0.03),
    Model("levels off at 85 %", 2.0, most=0.85),
    Model("never, 78 % at most", 2.0, most=0.78),
    Model("inverted U", 4.0, fall=3000.0),
    Model("narrow inverted U", 6.0, fall=900.0),
    Model("below the grid", 2.0, middle=1.5),
    Model("above the grid", 2.0, middle=20000.0),
)
FULL = tuple(
    (step, seeds) for step in (4.0, 2.0, 1.4, 1.32) for seeds in (3, 5, 8)
)  # a grid of every dose: factor, seeds of each


@dataclass(frozen=True)
class Tried:
    """held: share of searches whose interval held the truth, of the first edge and of the last; width: the median ratio of the
    first interval's ends, last_width of the last's; known: share with both ends of the first; cells: mean and greatest; full:
    cells of the cheapest grid without a search that is as narrow, None: none of those that were tried is."""

    model: str
    searches: int
    held: float
    held_last: float
    width: float
    last_width: float
    known: float
    cells: float
    most_cells: int
    full: int | None = None


def search(trained: Trained, settings: finder.Settings) -> tuple[finder.Finished, list[Outcome]]:
    """The whole search."""
    outcomes: list[Outcome] = []
    while True:
        answer = finder.next_cells(outcomes, settings)
        if isinstance(answer, finder.Finished):
            return answer, outcomes
        outcomes += trained.outcomes(answer.cells)


def try_finder(model: Model, searches: int, seed: int = 0, compare: int = 0) -> Tried:
    """So many searches, each of another draw of probes and with the curve moved by up to a factor e, so that no threshold lies
    always at the same place between two doses. compare: so many draws for each grid without a search, 0 for no comparison."""
    settings = finder.Settings(GRID, (FORMED,), ("en",), Effort(label_error=model.wrong))
    factors = np.exp(np.random.default_rng(seed).uniform(-1, 1, searches))
    truth = model.edges()
    ended = [search(Trained(moved(model, factor), seed + n), settings) for n, factor in enumerate(factors)]
    found = [answer.thresholds[0] for answer, _ in ended]
    held = [
        one.first.low < truth[0] * f <= one.first.high or truth[0] == one.first.low == 0
        for one, f in zip(found, factors, strict=True)
    ]
    last = [one.last.low <= truth[1] * f <= one.last.high for one, f in zip(found, factors, strict=True)]
    cells = [len(outcomes) for _, outcomes in ended]
    width = float(np.median([one.first.ratio for one in found]))
    full = _cheapest_grid(model, factors[:compare], seed, width) if compare and width < math.inf else None
    return Tried(
        model.name, searches, float(np.mean(held)), float(np.mean(last)),
        width, float(np.median([one.last.ratio for one in found])),
        float(np.mean([one.first.ratio < math.inf for one in found])), float(np.mean(cells)), max(cells), full,
    )  # fmt: skip


def full_grid(step: float) -> list[int]:
    """0, and from the least to the greatest dose of GRID in steps of a factor."""
    count = round(math.log(GRID[-1] / GRID[1]) / math.log(step))
    return [0, *(round(GRID[1] * (GRID[-1] / GRID[1]) ** (at / count)) for at in range(count + 1))]


def _cheapest_grid(model: Model, factors: np.ndarray, seed: int, width: float) -> int | None:
    for cells, doses, seeds in sorted((1 + (len(full_grid(step)) - 1) * seeds, full_grid(step), seeds) for step, seeds in FULL):
        widths = []
        for n, factor in enumerate(factors):
            trained = Trained(moved(model, factor), seed + n)
            asked = [(dose, one) for dose in doses for one in range(seeds if dose else 1)]
            widths.append(find_window(trained.outcomes(asked), FORMED, "en", model.wrong).first.ratio)
        if float(np.median(widths)) <= width * 1.01:  # doses are rounded
            return cells
    return None


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line per model."""
    parser = argparse.ArgumentParser(prog="python -m experiments.simulated", description=__doc__)
    parser.add_argument("--searches", type=int, default=200, help="searches per model (200)")
    parser.add_argument("--compare", type=int, default=40, help="draws for each grid without a search (40); 0: no comparison")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=[one.name for one in MODELS], metavar="MODEL", help="some of the models")
    given = parser.parse_args(arguments)
    print("| model | held, first / last | width, first / last | both ends known | cells, mean / most | grid alone | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for model in MODELS:
        if given.only and model.name not in given.only:
            continue
        began = time.monotonic()
        tried = try_finder(model, given.searches, given.seed, given.compare)
        grid = (
            "-" if not given.compare or tried.width == math.inf else f"> {_dearest()}" if tried.full is None else f"{tried.full}"
        )
        print(
            f"| {model.name} | {tried.held:.1%} / {tried.held_last:.1%} | {tried.width:.2f} / {tried.last_width:.2f} "
            f"| {tried.known:.0%} | {tried.cells:.1f} / {tried.most_cells} | {grid} | {time.monotonic() - began:.0f} |",
            flush=True,
        )


def _dearest() -> int:
    return max(1 + (len(full_grid(step)) - 1) * seeds for step, seeds in FULL)


if __name__ == "__main__":
    main()
