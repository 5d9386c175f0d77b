"""Effects over seeds and prompts, and Holm's correction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agsm_bench.hypotheses import MANY, Spread, effect, holm, pooled
from agsm_bench.stats import paired_difference
from agsm_bench.student import student


def noisy(rng: np.random.Generator, seeds: int, prompts: int, of_seed: float, of_prompt: float) -> np.ndarray:
    """Independent noise of the seed, of the prompt, and of both."""
    return (
        of_seed * rng.normal(size=(seeds, 1))
        + of_prompt * rng.normal(size=(1, prompts))
        + 0.1 * rng.normal(size=(seeds, prompts))
    )


def test_one_seed_is_the_paired_difference() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 400))
    clusters, groups = [i // 4 for i in range(400)], [i // 200 for i in range(400)]
    found, plain = effect([a - b], clusters, groups), paired_difference(a, b, clusters, groups, resamples=10_000)
    assert found.value == pytest.approx(plain.value)
    assert found.interval() == pytest.approx((plain.low, plain.high), abs=0.01)
    assert (found.seeds, found.n, found.clusters) == (1, 400, plain.clusters)


def test_the_value_is_the_mean_over_seeds_and_groups() -> None:
    values = np.array([[1.0, 1.0, 4.0], [3.0, 3.0, 6.0]])
    assert effect(values, ["a", "b", "c"], ["x", "x", "y"]).value == pytest.approx((2 + 5) / 2)


@pytest.mark.parametrize(("of_seed", "of_prompt"), [(0.0, 1.0), (1.0, 0.0), (0.5, 3.0)])
def test_the_spread_is_that_of_both_sources(of_seed: float, of_prompt: float) -> None:
    rng = np.random.default_rng(1)
    seeds, prompts = 40, 150
    values = noisy(rng, seeds, prompts, of_seed, of_prompt)
    found = effect(values, list(range(prompts)), [0] * prompts)
    by_seed, by_prompt = values.mean(axis=1).var(ddof=1) / seeds, values.mean(axis=0).var(ddof=1) / prompts
    assert found.draws.std() == pytest.approx(np.sqrt(by_seed + by_prompt), rel=0.1)


def test_three_seeds_are_not_taken_for_more_than_they_are() -> None:
    values = np.array([[-1.0], [0.0], [1.0]]).repeat(50, axis=1)
    found = effect(values, list(range(50)), [0] * 50)
    assert found.spread == Spread(1.0, 2)
    # Student's interval of three numbers
    assert found.interval()[1] == pytest.approx(4.303 / np.sqrt(3), rel=0.05)


def test_a_spread_from_elsewhere_takes_the_place_of_the_seeds_own() -> None:
    values = np.array([[-1.0], [0.0], [1.0]]).repeat(50, axis=1)
    found = effect(values, list(range(50)), [0] * 50, spread=Spread(0.75, 1000))
    assert found.interval()[1] == pytest.approx(1.96 * 0.5, rel=0.05)
    assert found.spread == Spread(1.0, 2)


def test_pooled_spreads_are_weighted_by_their_freedom() -> None:
    assert pooled([Spread(1.0, 2), Spread(4.0, 6)]) == Spread(3.25, 6)
    assert pooled([Spread(1.0, 2)] * 6) == Spread(1.0, 6)
    assert pooled([Spread(0.0, 0)]) == pooled([]) == Spread(0.0, 0)


@pytest.mark.parametrize(("freedom", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (20, 2.086)])
def test_students_quantile(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=0.03)


def test_seeds_that_differ_much_are_seldom_taken_for_an_effect() -> None:
    rng = np.random.default_rng(5)
    found = [effect(noisy(rng, 3, 40, 3.0, 0.5), list(range(40)), [0] * 40, resamples=2000) for _ in range(300)]
    assert np.mean([e.p_above(0) <= 0.025 for e in found]) <= 0.05
    assert np.mean([e.p_above(0) <= 0.005 for e in found]) <= 0.02


def test_intervals_over_many_seeds_cover_the_truth_about_as_often() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        found = effect(noisy(rng, 10, 60, 0.5, 1.0), list(range(60)), [0] * 60, resamples=500)
        low, high = found.interval()
        hits += low <= 0 <= high
    assert 0.87 <= hits / 200 <= 0.99


def test_p_values_are_the_share_of_draws_beyond_the_threshold() -> None:
    found = effect([[1.0, 2.0, 3.0]], ["a", "b", "c"], [0, 0, 0], resamples=999)
    assert found.p_above(0.0) == pytest.approx(1 / 1000)
    assert found.p_below(0.0) == 1.0
    assert found.p_above(2.0) + found.p_below(2.0) >= 1.0
    assert found.p_above(1.5) < found.p_above(2.5)


def test_the_order_of_the_samples_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    values, clusters, groups = rng.normal(size=(3, 40)), np.arange(40) // 2, np.arange(40) // 20
    order = rng.permutation(40)
    shuffled = effect(values[:, order], clusters[order].tolist(), groups[order].tolist())
    assert effect(values, clusters.tolist(), groups.tolist()).draws == pytest.approx(shuffled.draws)


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one_nor_falls_below_the_raw_value() -> None:
    rng = np.random.default_rng(4)
    raw = rng.uniform(size=20).tolist()
    adjusted = holm(raw)
    assert all(p <= q <= 1 for p, q in zip(raw, adjusted, strict=True))
    assert np.argsort(raw).tolist() == sorted(range(20), key=lambda i: (adjusted[i], raw[i]))
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@pytest.mark.parametrize("values", [[1.0, 2.0], [[]], [[float("nan"), 1.0]]])
def test_what_has_no_effect_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"need \[seeds|must be finite"):
        effect(values, ["a", "b"], [0, 0])  # type: ignore[arg-type]


def test_many_prompts_are_drawn_as_few_are() -> None:
    rng = np.random.default_rng(0)
    clusters = np.arange(4 * (MANY + 200)) // 4
    values = rng.normal(1, 1, (2, MANY + 200)).repeat(4, axis=1)[:, : len(clusters)]
    found = effect(values, clusters, [0] * len(clusters), spread=Spread(0.0, 0))
    expected = values.mean(axis=0)[::4].std() / math.sqrt(MANY + 200)
    assert found.draws.mean() == pytest.approx(values.mean(), abs=0.1 * expected)
    assert found.draws.std() == pytest.approx(expected, rel=0.05)
    assert found.clusters == MANY + 200
