"""Means with honest intervals. NumPy only, so that reports stay fast.

The percentile bootstrap over whole clusters (Efron and Tibshirani 1993, chapters 8 and 13): the images of
one prompt are not independent, so prompts are drawn, never images. Every function is deterministic in its
seed and does not depend on the order of its inputs. Two limits to know: with few clusters (under 20 or so)
the interval is too narrow, and values that are all equal give an interval of no width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agsm_bench.types import Interval as Interval

Labels = Sequence[str] | Sequence[int]
Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""Weights of the clusters [draws, clusters] -> the statistic of each draw, [draws]."""

_BLOCK = 2**20
"""Cluster draws held in memory at once."""


@dataclass(frozen=True)
class _Totals:
    """The sum and the number of the values of each cluster: all that a mean over resampled clusters needs."""

    sums: Floats
    counts: Floats

    def mean(self) -> float:
        return float(self.sums.sum() / self.counts.sum())


def resampled_means(sums: Floats, counts: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """[..., resamples]: means over clusters drawn with replacement, of sums [..., clusters] and counts [clusters].

    All rows of sums share the draws.
    """
    clusters = len(counts)
    rows = max(1, _BLOCK // clusters)
    blocks = []
    for start in range(0, resamples, rows):
        drawn = rng.integers(clusters, size=(min(rows, resamples - start), clusters))
        blocks.append(sums[..., drawn].sum(axis=-1) / counts[drawn].sum(axis=-1))
    return np.concatenate(blocks, axis=-1)


def bootstrap_mean(
    values: ArrayLike,
    clusters: Labels | None = None,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of the pooled values; whole clusters are resampled (without labels, each value is its own)."""
    pooled = [0] * np.size(values)
    return bootstrap_macro_mean(values, clusters, pooled, resamples=resamples, level=level, seed=seed)


def bootstrap_macro_mean(
    values: ArrayLike,
    clusters: Labels | None,
    groups: Labels,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The unweighted mean over groups of the group means; clusters are resampled within each group.

    GenEval's overall score with its six tags as groups (evaluation/summary_scores.py). A cluster label that
    occurs in two groups names two clusters.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError(f"need resamples >= 1 and 0 < level < 1, not {resamples} and {level}")
    totals = _totals_by_group(_checked(values), clusters, groups)
    value = float(np.mean([group.mean() for group in totals]))
    low = high = math.nan
    if all(len(group.sums) > 1 for group in totals):
        rng = np.random.default_rng(seed)
        means = np.mean([resampled_means(group.sums, group.counts, rng, resamples) for group in totals], axis=0)
        low, high = map(float, np.quantile(means, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(value, low, high, n=np.size(values), clusters=sum(len(group.sums) for group in totals))


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Labels | None = None,
    groups: Labels | None = None,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean of `a` minus that of `b` on the same samples in the same order, macro-averaged over groups.

    Both share each draw of clusters, so this equals the interval of the mean of `a - b`.
    """
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        raise ValueError(f"paired values must be of the same samples: {first.size} against {second.size}")
    pooled = [0] * first.size if groups is None else groups
    return bootstrap_macro_mean(first - second, clusters, pooled, resamples=resamples, level=level, seed=seed)


def bootstrap_statistic(
    statistic: Statistic,
    clusters: int,
    n: int,
    *,
    biased: bool = False,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A statistic that is no mean of values; a cluster's weight is how often it was drawn.

    Args:
        statistic: of weighted clusters, e.g. a ratio of sums or a distance of distributions.
        clusters: their number.
        n: number of values behind them.
        biased: for a distance, which is too large in small samples: the draws exceed the value as the value
            exceeds the truth. The interval is the basic one (value - (draw - mean draw)), that of the distance
            at this number of values; it says nothing of the excess of the value itself.
    """
    value = float(statistic(np.ones((1, clusters)))[0])
    low = high = math.nan
    if clusters > 1:
        rng = np.random.default_rng(seed)
        drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
        draws = statistic(drawn.astype(np.float64))
        errors = draws.mean() - draws if biased else draws - value
        low, high = map(float, value + np.quantile(errors, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(value, low, high, n, clusters)


def _checked(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"need a non-empty list of values, not one of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite: leave unscored samples out and count them")
    return array


def _totals_by_group(values: Floats, clusters: Labels | None, groups: Labels) -> list[_Totals]:
    tags = np.asarray(groups)
    labels = None if clusters is None else np.asarray(clusters)
    for given in (tags, labels):
        if given is not None and given.shape != values.shape:
            raise ValueError(f"need one label a value: {values.size} values, {given.size} labels")
    members = [tags == tag for tag in np.unique(tags)]
    return [_totals(values[own], None if labels is None else labels[own]) for own in members]


def _totals(values: Floats, labels: NDArray[np.generic] | None) -> _Totals:
    """Clusters and their values are sorted first: not even a rounding hangs on the order of the input."""
    if labels is None:
        return _Totals(np.sort(values), np.ones(values.size))
    order = np.lexsort((values, labels))
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    return _Totals(np.add.reduceat(values[order], starts), counts.astype(np.float64))
