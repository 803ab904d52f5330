"""N50 and N90, and the margin's means: what is drawn and tabled must be what the answers say, and no more."""

from __future__ import annotations

import math

import pytest

import store
from probes.answers.dose import Dose
from probes.report import margins, page
from probes.verdicts import thresholds
from probes.verdicts.rules import FORMED, NOT_FORGOTTEN, Judged

DOSES = (10, 40, 160, 640, 2560)


def run(variant: str, formed: int, probes: int = 20, lang: str = "en") -> list[Judged]:
    """One variant: so many of its probes answered as the new identity, the others as the old one."""
    return [
        Judged(variant, lang, f"p{n}", "trained", FORMED if n < formed else NOT_FORGOTTEN, "majority", greedy=True)
        for n in range(probes)
    ]


def series(shares: dict[str, tuple[int, int]], kind: str = "diverse") -> tuple[list[Judged], dict[str, Dose]]:
    """name -> (dose, how many of 20 formed)."""
    judged = [one for name, (_, formed) in shares.items() for one in run(name, formed)]
    return judged, {name: Dose(samples=dose, kind=kind) for name, (dose, _) in shares.items()}


def found(shares, **more) -> dict[tuple[str, str], thresholds.Threshold]:
    judged, doses = series(shares, **more)
    return {(one.what, one.level): one for one in thresholds.find_thresholds(judged, doses, "samples", draws=200)}


def test_the_threshold_lies_where_the_fit_crosses_and_its_interval_around_it():
    of = found({f"v{dose}": (dose, hits) for dose, hits in zip(DOSES, (0, 2, 8, 16, 20), strict=True)})
    half, most = of["forming", "N50"], of["forming", "N90"]
    assert 160 < half.dose < 640 and half.low <= 160 and 640 <= half.high < 2560
    assert 640 < most.dose < 2560 and half.dose < most.dose
    assert of["forgetting", "N50"].dose == pytest.approx(half.dose)  # here whoever is not the one is the other


def test_no_resample_may_promise_more_than_the_doses_that_were_tried():
    half = found({f"v{dose}": (dose, 0 if dose < 640 else 20) for dose in DOSES})["forming", "N50"]
    assert (half.low, half.high) == (160, 640)


def test_a_level_that_is_never_reached_or_reached_at_once_is_said_in_words():
    of = found({f"v{dose}": (dose, 4) for dose in DOSES})
    assert of["forming", "N50"].dose is None
    assert page.describe_threshold(of["forming", "N50"]) == "not reached (above 2,560)"
    assert of["forgetting", "N50"].dose is None
    at_once = found({f"v{dose}": (dose, 20) for dose in DOSES})["forming", "N50"]
    assert page.describe_threshold(at_once) == "at or below 10" and page.describe_threshold(at_once, "zh") == "不大于 10"


def test_fewer_than_four_doses_are_no_threshold():
    of = found({"a": (10, 0), "b": (40, 10), "c": (160, 20)})
    assert not any(one.enough for one in of.values()) and of["forming", "N50"].dose is None
    assert thresholds.group_by_series(one for one in of.values() if one.enough) == []


def test_seeds_widen_the_interval():
    alike = {f"{seed}-{dose}": (dose, hits) for seed in "ab" for dose, hits in zip(DOSES, (0, 4, 10, 16, 20), strict=True)}
    apart = {
        f"{seed}-{dose}": (dose, min(20, max(0, hits + shift)))
        for seed, shift in (("a", -8), ("b", 8))
        for dose, hits in zip(DOSES, (0, 4, 10, 16, 20), strict=True)
    }
    narrow, wide = found(alike)["forming", "N50"], found(apart)["forming", "N50"]
    assert not narrow.single and narrow.runs == 10 and narrow.doses == 5
    assert wide.high - wide.low > narrow.high - narrow.low


def test_only_mixes_have_a_share():
    judged, doses = series({f"v{dose}": (dose, 20) for dose in DOSES})
    assert thresholds.find_thresholds(judged, {name: Dose(share=1.0, kind="diverse") for name in doses}, "share") == []
    mixed = {name: Dose(share=0.01 * number, kind="mixed") for number, name in enumerate(doses, 1)}
    assert {one.most for one in thresholds.find_thresholds(judged, mixed, "share", draws=50)} == {5.0}


def test_the_same_answers_give_the_same_interval():
    shares = {f"v{dose}": (dose, hits) for dose, hits in zip(DOSES, (0, 2, 8, 16, 20), strict=True)}
    assert found(shares) == found(shares)


def test_lines_are_drawn_for_known_thresholds_only():
    of = found({f"v{dose}": (dose, hits) for dose, hits in zip(DOSES, (0, 2, 8, 16, 20), strict=True)})
    drawn = thresholds.threshold_lines(of.values())
    assert set(drawn["en"]) == {("forming", "diverse"), ("forgetting", "diverse")}
    assert thresholds.threshold_lines(found({"a": (10, 0), "b": (40, 20)}).values()) == {}


# --- the margin ----------------------------------------------------------------------------------------------------------


def test_the_margin_of_a_variant_counts_a_probe_once_however_often_it_was_sampled():
    rows = [
        {"variant": "a", "lang": "en", "probe_id": probe, "margin": value, "sample": sample}
        for probe, value in (("p1", 1.0), ("p2", 3.0))
        for sample in range(1 if probe == "p1" else 9)
    ]
    rows += [{"variant": "a", "lang": "zh", "probe_id": "p1", "margin": -1.0}, {"variant": "b", "lang": "en", "margin": None}]
    of = margins.margins_of_answers(rows)
    mean, low, high = of["a"]["en"]
    assert mean == 2.0 and low < 1 and high > 3 and not math.isnan(low)
    assert of["a"]["zh"] == (-1.0, -1.0, -1.0) and "b" not in of


def test_the_margin_while_training_is_found_by_the_folder_it_wrote(tmp_path):
    db, folder = tmp_path / "mirror.db", tmp_path / "adapter"
    assert margins.margins_of_trainings(db, []) == {}
    job = store.jobs.add(
        db, kind="train", name="otter", arguments=["-m", "tuning.train"], settings={}, folder=str(folder),
        log=str(folder / "log"), device="cpu",
    )  # fmt: skip
    lines = [{"step": step, "time": 1.0, "margin": value, "loss": 1.0} for step, value in ((0, -1.5), (10, 0.5))]
    assert store.jobs.take_metrics(db, store.jobs.get(db, job), lines, "metrics.jsonl", 10)
    assert margins.margins_of_trainings(db, [str(folder)]) == {"otter": [(0, -1.5, -1.5, -1.5), (10, 0.5, 0.5, 0.5)]}
    assert margins.margins_of_trainings(db, [str(tmp_path / "other")]) == {}
