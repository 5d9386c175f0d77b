"""Intervals against closed forms, known coverage and the invariances that comparisons rely on."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from agsm_bench.stats import Interval, bootstrap_macro_mean, bootstrap_mean, bootstrap_statistic, paired_difference


def test_the_mean_is_pooled_over_unequal_clusters() -> None:
    interval = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert (interval.value, interval.n, interval.clusters) == (0.75, 4, 2)


def test_two_clusters_resample_to_the_three_possible_means() -> None:
    """Draws aa, ab or ba, bb: means 1, 0.75, 0 with probabilities 1/4, 1/2, 1/4."""
    interval = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"], level=0.9)
    assert (interval.low, interval.high) == (0.0, 1.0)
    inner = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"], level=0.4)
    assert (inner.low, inner.high) == (0.75, 0.75)


def test_the_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=4000)
    interval = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(values.size)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_macro_interval_is_the_normal_one_of_independent_groups() -> None:
    rng = np.random.default_rng(2)
    parts = [rng.normal(mean, spread, size) for mean, spread, size in ((0, 1, 300), (5, 3, 900), (9, 0.5, 150))]
    groups = np.repeat(["x", "y", "z"], [300, 900, 150]).tolist()
    interval = bootstrap_macro_mean(np.concatenate(parts), None, groups)
    half = 1.96 * math.sqrt(sum(p.var() / p.size for p in parts)) / 3
    assert interval.value == pytest.approx(np.mean([p.mean() for p in parts]))
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.1)


def test_identical_values_within_a_cluster_count_once() -> None:
    """Copying each value four times, clustered, must not narrow the interval."""
    values = np.random.default_rng(3).random(120)
    names = [str(i) for i in range(120)]
    once = bootstrap_mean(values, names)
    copied = bootstrap_mean(np.repeat(values, 4), np.repeat(names, 4).tolist())
    assert [copied.low, copied.high] == pytest.approx([once.low, once.high])
    assert (copied.n, copied.clusters) == (480, 120)


def test_95_per_cent_intervals_cover_the_truth_about_as_often() -> None:
    """400 data sets of 60 clusters x 4 correlated values; a binomial(400, 0.95) lies in [0.915, 0.985]."""
    rng = np.random.default_rng(4)
    clusters = np.repeat(np.arange(60), 4).tolist()
    covered = 0
    for _ in range(400):
        values = np.repeat(rng.normal(size=60), 4) + rng.normal(size=240)
        interval = bootstrap_mean(values, clusters, resamples=400)
        covered += interval.low <= 0 <= interval.high
    assert 0.915 <= covered / 400 <= 0.985


def test_ignoring_the_clusters_would_cover_too_rarely() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        interval = bootstrap_mean(np.repeat(rng.normal(size=60), 4), resamples=300)
        covered += interval.low <= 0 <= interval.high
    assert covered / 200 < 0.8


def test_macro_intervals_cover_the_truth_about_as_often() -> None:
    rng = np.random.default_rng(6)
    groups, clusters = np.repeat([0, 1, 2], [160, 80, 40]).tolist(), np.repeat(np.arange(70), 4).tolist()
    rates = np.repeat([0.1, 0.5, 0.8], [40, 20, 10])
    covered = 0
    for _ in range(400):
        values = rng.random(280) < np.repeat(rng.beta(4 * rates, 4 * (1 - rates)), 4)
        interval = bootstrap_macro_mean(values, clusters, groups, resamples=400)
        covered += interval.low <= 1.4 / 3 <= interval.high
    assert 0.90 <= covered / 400 <= 0.985


def test_nothing_depends_on_the_order_of_the_values() -> None:
    rng = np.random.default_rng(7)
    values, other = rng.random(300), rng.random(300)
    clusters = rng.integers(40, size=300)
    groups = clusters % 3
    for _ in range(3):
        order = rng.permutation(300)
        a, b, c, g = values[order], other[order], clusters[order].tolist(), groups[order].tolist()
        assert bootstrap_mean(a) == bootstrap_mean(values)
        assert bootstrap_mean(a, c) == bootstrap_mean(values, clusters.tolist())
        assert bootstrap_macro_mean(a, c, g) == bootstrap_macro_mean(values, clusters.tolist(), groups.tolist())
        assert paired_difference(a, b, c, g) == paired_difference(values, other, clusters.tolist(), groups.tolist())


def test_the_seed_alone_decides() -> None:
    values = np.random.default_rng(8).random(50)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1).low != bootstrap_mean(values, seed=2).low


def test_a_result_does_not_depend_on_how_many_draws_fit_in_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(9).random(64)
    whole = bootstrap_mean(values)
    monkeypatch.setattr("agsm_bench.stats._BLOCK", 700)
    assert bootstrap_mean(values) == whole


def test_clusters_of_one_name_in_two_groups_are_two_clusters() -> None:
    interval = bootstrap_macro_mean([0, 1, 0, 1], ["p", "q", "p", "q"], ["x", "x", "y", "y"])
    assert interval.clusters == 4
    assert interval.value == 0.5


def test_one_group_is_the_plain_mean() -> None:
    values = np.random.default_rng(10).random(40)
    names = [str(i // 4) for i in range(40)]
    assert bootstrap_macro_mean(values, names, ["only"] * 40) == bootstrap_mean(values, names)


def test_identical_runs_differ_by_zero_exactly() -> None:
    values = np.random.default_rng(11).random(80)
    names = [str(i // 4) for i in range(80)]
    interval = paired_difference(values, values, names)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)


def test_pairing_takes_out_what_the_samples_share() -> None:
    rng = np.random.default_rng(12)
    shared = rng.normal(0, 10, size=200)
    better = shared + 0.2 + rng.normal(0, 0.1, size=200)
    interval = paired_difference(better, shared)
    assert interval.value == pytest.approx(better.mean() - shared.mean())
    assert 0.15 < interval.low < interval.high < 0.25


def test_a_macro_difference_is_the_difference_of_the_macro_means() -> None:
    rng = np.random.default_rng(13)
    a, b = rng.random(60), rng.random(60)
    names, groups = [str(i // 2) for i in range(60)], [str(i // 2 % 5) for i in range(60)]
    difference = paired_difference(a, b, names, groups)
    expected = bootstrap_macro_mean(a, names, groups).value - bootstrap_macro_mean(b, names, groups).value
    assert difference.value == pytest.approx(expected)


def test_a_single_cluster_has_a_mean_but_no_interval() -> None:
    lone = bootstrap_mean([0.0, 1.0], ["p", "p"])
    assert (lone.value, lone.n, lone.clusters) == (0.5, 2, 1)
    assert math.isnan(lone.low)
    assert math.isnan(lone.high)
    in_a_group = bootstrap_macro_mean([0, 1, 1], ["a", "b", "c"], ["x", "x", "y"])
    assert in_a_group.value == 0.75
    assert math.isnan(in_a_group.low)


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [1.0, math.nan], [1.0, math.inf]])
def test_values_that_have_no_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"need a non-empty list|must be finite"):
        bootstrap_mean(values)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="one label a value"):
        bootstrap_mean([1, 2, 3], ["a", "b"])
    with pytest.raises(ValueError, match="one label a value"):
        bootstrap_macro_mean([1, 2], None, ["a"])
    with pytest.raises(ValueError, match="same samples"):
        paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match="resamples"):
        bootstrap_mean([1, 2], resamples=0)
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([1, 2], level=95)


def test_a_full_geneval_run_is_fast() -> None:
    values = np.random.default_rng(14).integers(0, 2, size=2212)
    names = [f"{i // 4:05d}" for i in range(2212)]
    tags = [str(i // 4 % 6) for i in range(2212)]
    start = time.process_time()
    interval = bootstrap_macro_mean(values, names, tags)
    assert time.process_time() - start < 0.5
    assert interval == Interval(interval.value, interval.low, interval.high, 2212, 553)


def test_a_statistic_that_is_a_mean_has_the_means_interval() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=200), np.repeat(np.arange(50), 4)
    sums, counts = values.reshape(50, 4).sum(axis=1), np.full(50, 4.0)
    found = bootstrap_statistic(lambda w: (w @ sums) / (w @ counts), 50, 200, seed=1)
    expected = bootstrap_mean(values, labels.tolist())
    assert found.value == pytest.approx(expected.value)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert (found.n, found.clusters) == (200, 50)


def test_a_biased_statistics_interval_lies_around_its_value() -> None:
    """The squared mean of values around 0 grows with every resampling."""
    sums = np.random.default_rng(0).normal(size=40)

    def squared(weights: np.ndarray) -> np.ndarray:
        return (weights @ sums / 40) ** 2

    plain, centred = (bootstrap_statistic(squared, 40, 40, biased=biased) for biased in (False, True))
    assert centred.low < centred.value < centred.high
    assert centred.high - centred.low == pytest.approx(plain.high - plain.low)
    assert math.isnan(bootstrap_statistic(lambda w: w @ [1.0], 1, 1).low)
