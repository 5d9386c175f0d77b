"""Paired effects over training seeds and prompts, and what several of them prove together. NumPy only.

An effect is the difference of two settings, each trained with several seeds, on the same samples. Both what training
and what the prompts contribute is uncertain. Prompts are resampled within each group. Three seeds are too few to be
resampled (they have ten resamples, and where they happen to agree nothing is left of their spread), so what they
contribute is drawn from Student's distribution, with the variance that effects of the same kind have in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agsm_bench.stats import Floats, Labels, resampled_means

BLOCK = 1000
"""Draws held in memory at once."""
MANY = 700
"""Clusters from which on drawing each is several times faster than drawing how often each occurs."""


@dataclass(frozen=True)
class Spread:
    """A variance between training seeds."""

    variance: float
    """Of one seed's effect."""
    freedom: int
    """Degrees of freedom behind it; 0 where nothing is known."""


@dataclass(frozen=True)
class Effect:
    """A mean difference over seeds, prompts and groups of prompts."""

    value: float
    draws: Floats
    """Its bootstrap distribution."""
    seeds: int
    spread: Spread
    """Of the seeds' own effects."""
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
    spread: Spread | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Effect:
    """The macro mean over groups of paired differences, with its distribution over prompts and seeds.

    Args:
        differences: [seeds, samples], finite.
        clusters: a label a sample (its prompt), unique to a group.
        groups: a label a sample; groups weigh equally.
        spread: between seeds, e.g. `pooled` from several effects; None: these differences' own.

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
    of_seeds = np.mean([values[:, tags == tag].mean(axis=1) for tag in np.unique(tags)], axis=0)
    own = Spread(float(of_seeds.var(ddof=1)) if len(values) > 1 else 0.0, len(values) - 1)
    used = spread or own
    blocks = [min(BLOCK, resamples - start) for start in range(0, resamples, BLOCK)]
    draws = np.concatenate([_draw(of_groups, rng, size) for size in blocks])
    if used.freedom:
        draws = draws + math.sqrt(used.variance / len(values)) * rng.standard_t(used.freedom, resamples)
    clusters_in_all = sum(len(counts) for _, counts in of_groups)
    return Effect(float(of_seeds.mean()), draws, len(values), own, values.shape[1], clusters_in_all)


def pooled(spreads: Sequence[Spread]) -> Spread:
    """The common variance of several effects, weighted by their degrees of freedom.

    Effects that share runs are not independent: half of their degrees of freedom are counted, but no less than the
    largest of one effect.
    """
    freedom = sum(spread.freedom for spread in spreads)
    if not freedom:
        return Spread(0.0, 0)
    variance = sum(spread.variance * spread.freedom for spread in spreads) / freedom
    return Spread(variance, max(freedom // 2, *(spread.freedom for spread in spreads)))


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
    return np.asarray(by_seed.mean(axis=1))


def _resampled_means(sums: Floats, counts: Floats, rng: np.random.Generator, size: int) -> Floats:
    """[size, seeds]: means over clusters drawn with replacement, the same clusters for all seeds."""
    if len(counts) > MANY:
        return resampled_means(sums, counts, rng, size).T
    times = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size).astype(np.float64)
    return np.asarray((times @ sums.T) / (times @ counts)[:, None])
