"""The finder on models whose thresholds are known: it holds what it says, asks where it matters, and says why."""

from __future__ import annotations

import math

import pytest

from common.errors import UserError
from experiments import edges, finder, search, simulated, windows
from experiments.finder import Asked, Finished, Settings
from experiments.outcome import FORMED, NEW, STABLE, USABLE, Outcome, scores_of
from experiments.search import Effort
from experiments.simulated import GRID, KEY, Model, Trained
from probes.verdicts.rules import FORMED as SAID_NEW, INTRUSION, NOT_FORGOTTEN, Judged

FORMED_EN = Settings(GRID, (FORMED,), ("en",))


def outcome(dose: int, seed: int = 0, probes: int = 60, **shares: float) -> Outcome:
    """new=0.5: of the measure "new" half the probes."""
    names = {name.replace("_", " "): share for name, share in shares.items()}
    scores = {f"{name}/en": {f"p{n}": float(n < share * probes) for n in range(probes)} for name, share in names.items()}
    return Outcome(dose, seed, scores)


def curve(*points: tuple[int, float], seeds: int = 3) -> list[Outcome]:
    return [outcome(dose, seed, new=share) for dose, share in points for seed in range(seeds)]


@pytest.mark.parametrize("name", ["steep", "seeds apart", "3 % wrong labels", "inverted U"])
def test_the_interval_holds_the_truth_in_93_of_100(name):
    [model] = [one for one in simulated.MODELS if one.name == name]
    tried = simulated.try_finder(model, 12)
    assert tried.held >= 0.93 and tried.held_last >= 0.93
    assert tried.known >= 0.8, "an interval without an end holds everything"
    assert tried.width < 4


def test_an_interval_that_takes_the_doses_for_sure_would_not_hold_it():
    """The check above can fail: last failing and first passing dose, as bare estimates, hold the truth far less often."""
    held = []
    for n in range(15):
        trained = Trained(Model("shallow", 0.8), n)
        cells = [(dose, seed) for dose in simulated.full_grid(1.4) for seed in range(2)]
        series = edges.series_of(trained.outcomes(cells), KEY)
        first = next((k for k, mean in enumerate(series.means) if mean >= series.level), None)
        held.append(first is not None and series.doses[first - 1] < trained.model.edges()[0] <= series.doses[first])
    assert sum(held) / len(held) < 0.6


def test_it_needs_half_the_cells_of_a_full_grid_as_narrow():
    tried = simulated.try_finder(Model("medium", 2.0), 8, compare=4)
    assert tried.full is not None and tried.cells <= tried.full / 2


def test_bisecting_ends_within_the_factor_and_says_why():
    answer, outcomes = simulated.search(Trained(Model("steep", 6.0), 1), FORMED_EN)
    [window] = answer.thresholds
    assert answer.code == finder.SETTLED and window.word == windows.FOUND
    means = dict(zip(*_means(outcomes), strict=True))
    fails, passes = max(d for d, m in means.items() if m < 0.8), min(d for d, m in means.items() if m >= 0.8)
    assert passes / fails <= 1.45
    near = [sum(one.dose == dose for one in outcomes) for dose in (fails, passes)]
    assert min(near) >= 3 and max(near) >= 5
    asked = finder.next_cells(outcomes[:7], FORMED_EN)
    assert isinstance(asked, Asked) and "formed/en begins or ends between" in asked.why
    assert {dose for dose, _ in asked.cells} == set(asked.reasons)


def _means(outcomes):
    series = edges.series_of(outcomes, KEY)
    return series.doses, series.means


def test_a_window_has_two_edges_and_both_are_bisected():
    answer, _ = simulated.search(Trained(Model("inverted U", 4.0, fall=3000.0), 0), FORMED_EN)
    [window] = answer.thresholds
    first, last = Model("inverted U", 4.0, fall=3000.0).edges()
    assert "formed (en) from about" in windows.describe(window) and "no longer from about" in windows.describe(window)
    assert window.ends and window.first.low < first <= window.first.high < window.last.low <= last < window.last.high


def test_a_threshold_outside_the_grid_is_said_and_not_guessed():
    above = finder.thresholds(curve((0, 0), (10, 0), (100, 0.02), (1000, 0.3)), FORMED_EN)[0]
    assert above.word == windows.ABOVE and above.first.dose is None
    assert (above.first.low, above.first.high) == (1000, math.inf)
    assert windows.describe(above).startswith("formed (en) at none of the doses that were tried: above 1,000, if at all")
    at_once = finder.thresholds(curve((10, 1), (100, 1), (1000, 1)), FORMED_EN)[0]
    assert at_once.word == windows.AT_ONCE and (at_once.first.low, at_once.first.high) == (0, 10)
    between = finder.thresholds(curve((0, 0.8), (10, 0.8), (100, 0.8), (1000, 0.8)), FORMED_EN)[0]
    assert between.word == windows.OPEN and between.first.high == math.inf


def test_no_dose_passes_but_a_window_may_lie_beside_the_best():
    known = curve((0, 0), (10, 0), (40, 0.1), (160, 0.6), (640, 0.1), (2560, 0), (10000, 0))
    asked = finder.next_cells(known, FORMED_EN)
    assert isinstance(asked, Asked) and {dose for dose, _ in asked.cells} == {70, 280}
    assert {reason.code for reasons in asked.reasons.values() for reason in reasons} == {search.BESIDE}
    [window] = finder.thresholds(known, FORMED_EN)
    assert window.word == windows.NEVER and window.best == (160, pytest.approx(0.6))


def test_seeds_that_disagree_widen_the_interval():
    alike = curve((0, 0), (10, 0), (100, 0.5), (300, 0.95), (1000, 1), seeds=4)
    apart = [one for one in alike if one.dose != 100] + [outcome(100, seed, new=seed % 2) for seed in range(4)]
    narrow, wide = finder.thresholds(alike, FORMED_EN)[0], finder.thresholds(apart, FORMED_EN)[0]
    assert (narrow.first.low, narrow.first.high) == (100, 300)
    assert wide.first.low < 100 or wide.first.high > 300


def test_pooled_neighbours_make_sure_what_one_dose_cannot():
    """Seeds that are all or nothing: five successes are not sure of 80 %, sixteen are."""
    all_new = [outcome(dose, seed, new=1) for dose, seeds in ((100, 5), (140, 5), (200, 6)) for seed in range(seeds)]
    series = edges.series_of([outcome(70, seed, new=seed % 2) for seed in range(6)] + all_new, KEY)
    assert edges.bounds(series, 3, 3)[0] < 0.8 <= edges.bounds(series, 1, 3)[0] + 0.06
    assert edges.bounds(series, 1, 3)[0] > edges.bounds(series, 3, 3)[0]


def test_wrong_labels_widen_both_sides():
    assert edges.thresholds_under(0.8, 0.0) == (0.8, 0.8)
    surely, surely_not = edges.thresholds_under(0.8, 0.05)
    assert surely_not < 0.8 < surely


def test_stable_begins_with_the_last_of_its_measures():
    known = [
        outcome(dose, seed, new=dose >= 40, hold=dose >= 160, pressure=dose >= 160)
        for dose in (0, 10, 40, 160, 640)
        for seed in range(5)
    ]
    [window] = finder.thresholds(known, Settings(GRID, (STABLE,), ("en",)))
    assert window.deciding in ("hold", "pressure") and (window.first.low, window.first.high) == (40, 160)
    [usable] = finder.thresholds(known, Settings(GRID, (USABLE,), ("en",)))
    assert usable.word == windows.UNKNOWN and usable.missing == ("clean", "kept")
    assert windows.describe(usable) == "usable (en) is not known: nothing was asked of clean, kept."


def test_measures_whose_windows_do_not_meet_are_told_so():
    points = ((0, 0, 1), (10, 0, 1), (40, 0, 0), (160, 1, 0), (640, 1, 0))
    known = [
        outcome(dose, seed, new=late, hold=late, pressure=late, clean=early, kept=0.5, probes=120)
        for dose, late, early in points
        for seed in range(3)
    ]
    [usable] = finder.thresholds(known, Settings(GRID, (USABLE,), ("en",)))
    assert usable.word == windows.APART and "where another measure has ended (by 40)" in windows.describe(usable)


def test_few_probes_under_pressure_can_be_sure_of_themselves_and_not_of_others():
    """18 probes without a failure: their own share is surely 0.9, that of others would not be."""
    known = [outcome(dose, seed, 18, new=dose > 50, pressure=dose > 50) for dose in (10, 40, 160, 640) for seed in range(5)]
    own, others = (edges.series_of(known, f"{measure}/en") for measure in ("pressure", "new"))
    assert edges.bounds(own, 2, 3)[0] >= 0.9 > edges.bounds(others, 2, 3)[0]


def test_the_budget_ends_it_and_is_said():
    few = Settings(GRID, (FORMED,), ("en",), cells=9)
    asked = finder.next_cells(curve((0, 0), (10, 0), (40, 0), (160, 0), (640, 1), (2560, 1), (10000, 1), seeds=1), few)
    assert isinstance(asked, Asked) and len(asked.cells) == 2 and asked.left_out == 2
    answer, outcomes = simulated.search(Trained(Model("steep", 6.0), 1), few)
    assert answer.code == finder.CELLS and len(outcomes) == 9 and "9 cells" in answer.why
    spent = finder.next_cells(outcomes, Settings(GRID, (FORMED,), ("en",), minutes=5), minutes=5.5)
    assert isinstance(spent, Finished) and spent.code == finder.MINUTES


def test_a_failed_cell_is_replaced_by_another_seed():
    known = curve((0, 0), (10, 0), (40, 0), (160, 0), (640, 1), (2560, 1), (10000, 1), seeds=1)
    asked = finder.next_cells(known, FORMED_EN, failed=[(160, 1)])
    assert isinstance(asked, Asked) and (160, 1) not in asked.cells and (160, 2) in asked.cells


def test_settings_that_cannot_be_used_are_told_all_at_once():
    wrong = Settings((10,), ("formd",), ("en",), Effort(factor=1.0, seeds_scan=1))
    with pytest.raises(UserError) as told:
        finder.next_cells([], wrong)
    assert all(part in str(told.value) for part in ("the grid", "'formd'", "factor", "seeds are"))


def test_scores_are_those_the_verdicts_are_made_of():
    def said(probe: str, group: str, label: str | None, **more) -> Judged:
        return Judged("v", "en", probe, group, label, "majority", **more)

    judged = [
        said("a", "trained", SAID_NEW), said("a", "trained", NOT_FORGOTTEN, greedy=False), said("b", "pressure", NOT_FORGOTTEN),
        said("c", "control", INTRUSION), said("d", "retention", None, correct=False), said("e", "novel", None),
    ]  # fmt: skip
    base = [said("d", "retention", None, correct=True)]
    assert scores_of(judged, base) == {
        "old gone/en": {"a": 1.0, "b": 0.0}, f"{NEW}/en": {"a": 1.0, "b": 0.0}, "hold/en": {"a": 0.5}, "pressure/en": {"b": 0.0},
        "clean/en": {"c": 0.0}, "kept/en": {"d": 0.0},
    }  # fmt: skip
    assert "kept/en" not in scores_of(judged)


def test_where_no_dose_has_any_of_it_the_edge_lies_above_all():
    doses = (10, 40, 160, 640)
    answer = finder.next_cells(curve(*((dose, 0.0) for dose in doses)), Settings(doses, (FORMED,), ("en",)))
    assert isinstance(answer, Finished) and answer.code == finder.SETTLED
    [window] = answer.thresholds
    assert window.word == windows.ABOVE and window.first.low == 640


def test_of_one_measure_nothing_lies_apart():
    [window] = finder.thresholds(curve((10, 0.0)), Settings((10, 40), (FORMED,), ("en",)))
    assert window.word != windows.APART


def test_of_a_dose_that_failed_another_seed_is_asked_until_it_is_given_up():
    known = [*curve((10, 0.0)), outcome(40, 0, new=1.0), outcome(40, 1, new=1.0)]
    settings = Settings((10, 40), (FORMED,), ("en",), Effort(seeds_scan=3, seeds_near=3))
    answer = finder.next_cells(known, settings, failed=[(40, 2)])
    assert isinstance(answer, Asked) and (40, 3) in answer.cells
    # of the grid, too
    first = finder.next_cells(curve((10, 0.0)), settings, failed=[(40, 0)])
    assert isinstance(first, Asked) and first.cells == ((40, 1),)
    lost = finder.next_cells(curve((10, 0.0)), settings, failed=[(40, 0), (40, 1), (40, 2)])
    assert not (isinstance(lost, Asked) and any(dose == 40 for dose, _ in lost.cells))
    end = finder.End(finder.LEFT, None, None, (40, 1600))
    assert "40, 1,600" in end.text


def test_cells_that_are_never_asked_for_neither_fail_nor_cost():
    settings = Settings((10, 40), (FORMED,), ("en",), cells=2)
    answer = finder.next_cells(curve((10, 0.0), seeds=1), settings, never=[(40, 0), (40, 1), (40, 2), (40, 3)])
    assert isinstance(answer, Asked) and answer.cells == ((40, 4),)
