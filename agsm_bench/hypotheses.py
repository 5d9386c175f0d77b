"""Paired effects over training seeds and prompts, and what several of them prove together. NumPy only.

An effect is the difference of two settings, each trained with several seeds, on the same samples. Both what training
and what the prompts contribute is uncertain, so both are resampled: seeds, and prompts within each group (a crossed
bootstrap). Resampling S seeds gives (S - 1) / S of the variance of their mean; that is set right. With the three
seeds of a usual run the seeds' share is known only roughly, which no bootstrap can mend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agsm_bench.stats import Floats, Labels

BLOCK = 1000
"""Draws held in memory at once."""


@dataclass(frozen=True)
class Effect:
    """A mean difference over seeds, prompts and groups of prompts."""

    value: float
    draws: Floats
    """Its bootstrap distribution."""
    seeds: int
    n: int
    """Number of samples of one seed."""
    clusters: int
    """Number of prompts."""

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Percentile interval."""
        low, high = np.quantile(self.draws, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def p_above(self, threshold: float) -> float:
        """One-sided p-value against "the effect is at most `threshold`"."""
        return (1 + int(np.sum(self.draws <= threshold))) / (1 + len(self.draws))

    def p_below(self, threshold: float) -> float:
        """One-sided p-value against "the effect is at least `threshold`"."""
        return (1 + int(np.sum(self.draws >= threshold))) / (1 + len(self.draws))


def effect(
    differences: NDArray[np.float64] | Sequence[Sequence[float]],
    clusters: Labels,
    groups: Labels,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Effect:
    """The macro mean over groups of paired differences, with its crossed bootstrap distribution.

    Args:
        differences: [seeds, samples], finite.
        clusters: a label a sample (its prompt), unique to a group.
        groups: a label a sample; groups weigh equally.

    Raises:
        ValueError: the shapes do not fit, or a value is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    labels, tags = np.asarray(clusters), np.asarray(groups)
    if values.ndim != 2 or values.size == 0 or labels.shape != tags.shape or labels.shape != values.shape[1:]:
        raise ValueError(f"need [seeds, samples] and one label a sample, not {values.shape}, {labels.shape}")
    if not np.isfinite(values).all():
        raise ValueError("differences must be finite: leave unscored samples out")
    rng = np.random.default_rng(seed)
    of_groups = [_cluster_totals(values[:, tags == tag], labels[tags == tag]) for tag in np.unique(tags)]
    blocks = [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
    draws = np.concatenate([_draw(of_groups, rng, size) for size in blocks])
    value = float(np.mean([values[:, tags == tag].mean() for tag in np.unique(tags)]))
    return Effect(value, draws, len(values), values.shape[1], sum(len(counts) for _, counts in of_groups))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (1979): the family-wise error stays below the level, whatever their dependence."""
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def _cluster_totals(values: Floats, labels: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Sums [seeds, clusters] and sizes [clusters], the clusters in the order of their labels."""
    names, index = np.unique(labels, return_inverse=True)
    sums = np.stack([np.bincount(index, row, minlength=len(names)) for row in values]).astype(np.float64)
    return sums, np.bincount(index, minlength=len(names)).astype(np.float64)


def _draw(groups: Sequence[tuple[Floats, Floats]], rng: np.random.Generator, size: int) -> Floats:
    by_seed = np.mean([_resampled_means(sums, counts, rng, size) for sums, counts in groups], axis=0)
    count = by_seed.shape[1]
    if count == 1:
        return np.asarray(by_seed[:, 0])
    weights = rng.multinomial(count, np.full(count, 1 / count), size) / count
    center = by_seed.mean(axis=1)
    inflation = math.sqrt(count / (count - 1))
    return np.asarray(center + inflation * ((weights * by_seed).sum(axis=1) - center))


def _resampled_means(sums: Floats, counts: Floats, rng: np.random.Generator, size: int) -> Floats:
    """[size, seeds]: means over clusters drawn with replacement, the same clusters for all seeds."""
    times = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size).astype(np.float64)
    return np.asarray((times @ sums.T) / (times @ counts)[:, None])
