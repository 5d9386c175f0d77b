"""The paired difference of one metric between two results, over prompts and training seeds, and what tests need of it.

Images are paired, prompts resampled with all their images, and seeds drawn from Student's distribution; `compare` and
`report.leaderboard` say what is concluded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import variance

import numpy as np

from agsm_bench.distances import NotComparableError, difference
from agsm_bench.hypotheses import Effect, Spread, effect, pooled
from agsm_bench.measured import Column, Direction, Measured, Quantity, select, value_of

RESAMPLES = 4000
DECIMALS = 12
"""Of a difference: the rest is rounding."""
POWER_Z = 1.959964 + 0.841621
"""Of a difference that is seen at 80% power, in standard errors."""


@dataclass(frozen=True)
class Paired:
    """A difference, and what its tests need besides."""

    effect: Effect
    prompts_variance: float
    """Of the difference, as far as prompts contribute it."""
    seeds_variance: float
    differing: int
    """Clusters in which the two differ at all."""

    def p_loss(self, better: Direction, tolerance: float = 0.0) -> float:
        """Against "no worse than by the tolerance"."""
        p_value = self.effect.p_above(tolerance) if better == "down" else self.effect.p_below(-tolerance)
        return max(self._least, p_value)

    def p_gain(self, better: Direction) -> float:
        """Against "no better"."""
        return max(self._least, self.effect.p_below(0.0) if better == "down" else self.effect.p_above(0.0))

    def prompts_needed(self, visible: float) -> int | None:
        """To see a difference at 80% power, alone and two-sided at 5%; None: seeds differ by more, or nothing does."""
        of_a_prompt = self.prompts_variance * self.effect.clusters
        left = (visible / POWER_Z) ** 2 - self.seeds_variance
        return max(2, math.ceil(of_a_prompt / left)) if left > 0 and of_a_prompt > 0 else None

    @property
    def _least(self) -> float:
        """That all differing clusters have the same sign by chance."""
        return float(0.5**self.differing)


def paired(
    quantity: Quantity, run: Measured, base: Measured, tags: Mapping[str, str], spread: Spread | None = None
) -> Paired:
    """The difference of a metric, over prompts and training seeds.

    Args:
        quantity: the metric.
        run: what `base` is taken from.
        base: of the same images.
        tags: by prompt.
        spread: of the metric between training seeds; None: what the two say themselves.

    Raises:
        NotComparableError: why there is none.
    """
    ours, theirs = _columns(quantity, run, base)
    chosen, groups = select(quantity, ours, tags)
    # a mean over seeds of equal values is off by a rounding, which is no difference
    differences = np.round(ours.values[:, chosen].mean(axis=0) - theirs.values[:, chosen].mean(axis=0), DECIMALS)
    known = np.isfinite(differences)
    labels, clusters = groups[known], ours.clusters[chosen][known]
    if len(np.unique(clusters)) < 2 or len(np.unique(labels)) < len(np.unique(groups)):
        raise NotComparableError("too few prompts have a value in both")
    found = effect(differences[known][None], clusters, labels, resamples=RESAMPLES)
    sides = ((ours, run), (theirs, base))
    one = spread or pooled([spread_of(quantity, column, tags) for column, _ in sides])
    share = sum(1 / side.seeds for _, side in sides if side.trainings[0])
    of_seeds = Spread(one.variance * share, one.freedom)
    differing = len(np.unique(clusters[differences[known] != 0]))
    return Paired(_with_seeds(found, of_seeds), float(found.draws.var()), of_seeds.variance, differing)


def spread_of(quantity: Quantity, column: Column, tags: Mapping[str, str]) -> Spread:
    """Between the seeds of one column."""
    values = [round(value_of(quantity, column, tags, seed), DECIMALS) for seed in range(len(column.values))]
    known = [value for value in values if math.isfinite(value)]
    # the variance of equal values is 0 here, and in NumPy's floating point not always
    return Spread(variance(known), len(known) - 1) if len(known) > 1 else Spread(0.0, 0)


def _columns(quantity: Quantity, run: Measured, base: Measured) -> tuple[Column, Column]:
    for side, other in ((run, base), (base, run)):
        if quantity.column not in side.columns:
            kept = any(quantity.name in each for each in side.summaries)
            raise NotComparableError(f"{side.name} keeps only its mean" if kept else f"only {other.name} has it")
    ours, theirs = run.columns[quantity.column], base.columns[quantity.column]
    if ours.version and theirs.version and ours.version != theirs.version:
        raise NotComparableError(f"judged by other versions: {ours.version[:12]} and {theirs.version[:12]}")
    if ours.units != theirs.units:
        raise NotComparableError("measured on other held-out groups")
    return ours, theirs


def _with_seeds(found: Effect, spread: Spread) -> Effect:
    if not spread.freedom:
        return found
    drawn = np.random.default_rng(1).standard_t(spread.freedom, len(found.draws))
    return replace(found, draws=found.draws + math.sqrt(spread.variance) * drawn)


def of_distances(name: str, run: Measured, base: Measured) -> Paired:
    """The same of a distance between sets of images, which no single image has a value of; raises as `paired`."""
    if not all(any(name in each for each in side.summaries) for side in (run, base)):
        raise NotComparableError(f"only {(run if name in run.summaries[0] else base).name} has it")
    kept = difference(name, run.run, base.run)
    value = run.summaries[0][name] - base.summaries[0][name]
    draws = np.random.default_rng(0).normal(value, kept.error, RESAMPLES)
    found = Effect(value, draws, 1, Spread(0.0, 0), kept.n, kept.clusters)
    return Paired(found, kept.error**2, 0.0, kept.clusters)
