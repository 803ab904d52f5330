"""Intervals: as scipy's where answers are independent, honest where they are not, and as wide as the rules were made for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, t

from probes.verdicts import statistics

PROBES, SAMPLES, CORRELATION, TRUE = 60, 5, 0.5, 0.80


def simulated(runs=8000, seed=20):
    """Hits per probe, shape (runs, PROBES): beta-binomial, so that two samples of a probe correlate by CORRELATION."""
    rng = np.random.default_rng(seed)
    scale = (1 - CORRELATION) / CORRELATION
    return rng.binomial(SAMPLES, rng.beta(TRUE * scale, (1 - TRUE) * scale, (runs, PROBES)))


def as_hits(counts):
    return {f"p{i}": [True] * int(hits) + [False] * int(SAMPLES - hits) for i, hits in enumerate(counts)}


@pytest.fixture(scope="module")
def passes():
    """Share of runs in which each way of computing declares "at least 0.8" although it is 0.80."""
    counts = simulated()
    shares = counts / SAMPLES
    by_probe = shares.mean(1) - t.ppf(0.975, PROBES - 1) * shares.std(1, ddof=1) / np.sqrt(PROBES)
    few = counts[:3000]
    return {
        "pooled": np.mean([statistics.wilson(hits / PROBES / SAMPLES, PROBES * SAMPLES)[0] >= 0.8 for hits in counts.sum(1)]),
        "t on the probes' shares": np.mean(by_probe >= 0.8),
        "ours": np.mean([statistics.clustered_interval(as_hits(run)).low >= 0.8 for run in few]),
        "ours, at the other end": np.mean([statistics.clustered_interval(as_hits(run)).high <= 0.8 for run in few]),
    }


def test_the_quoted_false_pass_rates_come_out_of_the_simulation(passes):
    assert passes["pooled"] == pytest.approx(0.125, abs=0.012)
    assert passes["t on the probes' shares"] == pytest.approx(0.044, abs=0.008)


def test_the_clustered_wilson_interval_errs_as_often_as_it_says_at_either_end(passes):
    assert passes["ours"] == pytest.approx(0.025, abs=0.009)
    assert passes["ours, at the other end"] == pytest.approx(0.025, abs=0.009)


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (3, 10), (16, 16), (0, 73), (47, 60), (1, 1000)])
def test_one_answer_per_probe_is_scipys_wilson(hits, n):
    known = binomtest(hits, n).proportion_ci(method="wilson")
    ours = statistics.clustered_interval({str(i): [i < hits] for i in range(n)})
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=1e-12)
    assert ours == statistics.interval_of_counts(hits, n)


@pytest.mark.parametrize(("probes", "bound"), [(16, 0.8), (35, 0.9)])
def test_probes_without_a_failure_for_a_lower_bound(probes, bound):
    assert statistics.interval_of_counts(probes, probes).low >= bound > statistics.interval_of_counts(probes - 1, probes - 1).low


def test_controls_without_an_intrusion_for_an_upper_bound():
    assert statistics.interval_of_counts(0, 73).high <= 0.05 < statistics.interval_of_counts(0, 72).high


def test_samples_that_all_agree_count_once_per_probe():
    repeated = {str(i): [True] * 50 for i in range(10)}
    assert statistics.clustered_interval(repeated).low == pytest.approx(statistics.interval_of_counts(10, 10).low)
    assert statistics.clustered_interval(repeated).answers == 500


def test_independent_samples_count_each():
    rng = np.random.default_rng(3)
    hits = {str(i): list(rng.random(20) < 0.5) for i in range(40)}
    assert 500 < statistics.clustered_interval(hits).effective <= 800


def test_one_failure_never_promises_more_than_none():
    none = {str(i): [True] * 5 for i in range(60)}
    one = none | {"0": [True, True, True, True, False]}
    assert statistics.clustered_interval(one).low <= statistics.clustered_interval(none).low


def test_every_probe_weighs_the_same_however_often_it_was_asked():
    assert statistics.clustered_interval({"a": [True] * 98, "b": [False] * 2}).share == 0.5


def test_no_answers_is_no_share_and_no_knowledge():
    assert statistics.clustered_interval({}) == statistics.clustered_interval({"a": []}) == statistics.NOTHING
    assert (statistics.NOTHING.low, statistics.NOTHING.high, statistics.NOTHING.share) == (0.0, 1.0, None)


def test_a_sixteenth_probe_settles_fifteen_without_failure():
    fifteen = statistics.interval_of_counts(15, 15)
    assert statistics.probes_to_settle(lambda more: statistics.with_more_probes(fifteen, more).low >= 0.8) == 1
    ten = statistics.interval_of_counts(10, 10)
    assert statistics.probes_to_settle(lambda more: statistics.with_more_probes(ten, more).low >= 0.8) == 6
    assert statistics.probes_to_settle(lambda more: statistics.with_more_probes(ten, more).low >= 0.2) == 0
    half = statistics.interval_of_counts(5, 10)
    assert statistics.probes_to_settle(lambda more: statistics.with_more_probes(half, more).low >= 0.8) is None


def test_more_probes_with_correlated_samples_counts_probes_not_answers():
    hits = statistics.clustered_interval({str(i): [True] * 5 for i in range(10)})
    assert statistics.probes_to_settle(lambda more: statistics.with_more_probes(hits, more).low >= 0.8) == 6


# --- retention -----------------------------------------------------------------------------------------------------------


def test_the_drop_is_paired_by_probe():
    base = {str(i): [i < 30] for i in range(40)}
    same = statistics.paired_drop(base, base)
    assert (same.points, same.low, same.high, same.probes) == (0, 0, 0, 40)
    worse = statistics.paired_drop(base, {str(i): [i < 28] for i in range(40)})
    assert worse.points == pytest.approx(5.0)
    assert worse.low >= 0 and 5 < worse.high < 15  # far narrower than two independent shares of 40 would allow


def test_the_drop_uses_shared_probes_only_and_repeats_itself():
    base = {"a": [True], "b": [True], "c": [False]}
    variant = {"b": [False], "c": [False], "d": [True]}
    assert statistics.paired_drop(base, variant) == statistics.paired_drop(base, variant)
    assert (statistics.paired_drop(base, variant).points, statistics.paired_drop(base, variant).probes) == (50.0, 2)
    assert statistics.paired_drop(base, {"x": [True]}) is None


def test_a_better_variant_has_a_negative_drop():
    assert statistics.paired_drop({"a": [False], "b": [True]}, {"a": [True], "b": [True]}).points == -50.0


# --- thresholds ----------------------------------------------------------------------------------------------------------


def test_the_fit_never_falls_and_keeps_the_order_it_was_given():
    assert statistics.fit_isotonic([100, 1, 10], [1.0, 0.0, 0.5]) == [1.0, 0.0, 0.5]
    assert statistics.fit_isotonic([1, 2, 3], [0.0, 1.0, 0.5]) == [0.0, 0.75, 0.75]


def test_the_dose_that_reaches_a_level_lies_between_two_doses_on_a_log_scale():
    assert statistics.dose_reaching(0.5, [0, 10, 1000], [0.0, 0.0, 1.0]) == pytest.approx(100)
    assert statistics.dose_reaching(0.5, [0, 10, 1000], [0.0, 0.6, 1.0]) == 10
    assert statistics.dose_reaching(0.9, [0, 10], [0.0, 0.6]) is None
