"""The Fréchet distance of two Gaussians (FID, Heusel et al. 2017, Eq. 6) in float64, by symmetric matrices alone.

tr (A B)^1/2 is the sum of the singular values of F^T G for any factors A = F F^T and B = G G^T, which are the roots of
the eigenvalues of a symmetric matrix. Cholesky's factor is the cheapest; a general matrix square root takes many times
longer and may come out complex. A singular covariance (fewer samples than features) has a narrow factor: the rounding
of an eigenvalue that is 0 has a root that counts.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError
from agsm_bench.jsonl import write_atomically
from agsm_bench.stats import Floats, Interval

GROUPS = 10
"""Of the delete-a-group jackknife."""
T_QUANTILE = 2.2621571628540993
"""97.5% point of Student's t with GROUPS - 1 degrees of freedom."""


@dataclass(frozen=True)
class Statistics:
    """A Gaussian fit of features."""

    mean: Floats
    """[d]."""
    covariance: Floats
    """[d, d], with n - 1."""
    n: int
    """Samples behind it."""
    source: str = ""
    """The file that it is kept in; empty where it is not."""

    @classmethod
    def of(cls, features: np.ndarray) -> Statistics:
        """Of features [n, d]; raises ValueError for fewer than two."""
        if len(features) < 2:
            raise ValueError(f"a covariance needs two samples, not {len(features)}")
        wide = features.astype(np.float64)
        mean = wide.mean(axis=0)
        centred = wide - mean
        return cls(mean, centred.T @ centred / (len(wide) - 1), len(wide))

    def save(self, path: Path, made_of: Mapping[str, Any]) -> None:
        """An npz file with `mu`, `sigma`, `n`, and what it was made of as JSON."""
        stream = io.BytesIO()
        np.savez(stream, mu=self.mean, sigma=self.covariance, n=self.n, made_of=_json(made_of))
        write_atomically(path, stream.getvalue(), shared=True)

    @classmethod
    def load(cls, path: Path, made_of: Mapping[str, Any] | None = None) -> Statistics:
        """From an npz file of ours, or of pytorch-fid (`mu` and `sigma`; its number of samples is unknown, 0).

        Raises:
            MissingError: absent, damaged, or made of something else than `made_of`.
        """
        try:
            with np.load(path) as data:
                mean, covariance = (data[key].astype(np.float64, casting="same_kind") for key in ("mu", "sigma"))
                n, said = int(data.get("n", 0)), str(data.get("made_of", ""))
            if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
                raise ValueError(f"mu is {mean.shape} and sigma {covariance.shape}")
            if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
                raise ValueError("not all of its numbers are finite")
        except (*DAMAGED, MemoryError) as error:  # an array that says it is larger than all memory
            raise MissingError(f"{path} holds no statistics ({why(error)}).", "Delete it, or name another.") from error
        if made_of is not None and said != _json(made_of):
            raise MissingError(f"{path} was made of other images or weights.", f"Delete it: rm {path}")
        return cls(mean, covariance, n, str(path))


def frechet_distance(mean_a: Floats, cov_a: Floats, mean_b: Floats, cov_b: Floats) -> Floats:
    """|mu_a - mu_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) of means [..., d] and covariances [..., d, d].

    For many small ones: the last trace is the sum of the singular values of A^1/2 B^1/2, whatever the rank.
    """
    means = np.square(mean_a - mean_b).sum(axis=-1)
    traces = np.trace(cov_a + cov_b, axis1=-2, axis2=-1)
    cross = np.linalg.svd(_root(cov_a) @ _root(cov_b), compute_uv=False).sum(axis=-1)
    return np.maximum(means + traces - 2 * cross, 0)


def distance(a: Statistics, b: Statistics) -> float:
    """The same of two, for large d: at d = 2048 a few seconds.

    Raises:
        MissingError: they are of different features.
    """
    _check_alike(a.mean, b.mean)
    cross = _sum_of_singular_values(_factor(a.covariance).T @ _factor(b.covariance))
    apart = np.square(a.mean - b.mean).sum()
    return max(float(apart + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross), 0.0)


def distance_with_interval(features: np.ndarray, clusters: Sequence[str], reference: Statistics) -> Interval:
    """The distance of features [n, d] from a reference, with a delete-a-group jackknife over clusters.

    The clusters, sorted, are dealt to ten groups; each is left out once. 95% by Student's t with 9 degrees of
    freedom; of the images alone, as if the reference were the truth. Unknown bounds below 10 clusters. The cost is
    eleven symmetric eigenvalue problems of size min(n, d), or of the reference's rank where that is less. It says
    nothing of the excess that every such distance has in small samples.
    """
    order = np.lexsort((features.sum(axis=1), np.asarray(clusters)))  # sums do not hang on the order of the images
    names = sorted(set(clusters))
    group_of = {name: index % GROUPS for index, name in enumerate(names)}
    groups = np.array([group_of[name] for name in clusters])[order]
    distance_of = distances_from(features[order], reference)
    value = distance_of(np.ones(len(groups), bool))
    if len(names) < GROUPS:
        return Interval(value, np.nan, np.nan, len(features), len(names))
    values = np.array([distance_of(groups != group) for group in range(GROUPS)])
    error = np.sqrt((GROUPS - 1) / GROUPS * np.square(values - values.mean()).sum())
    low, high = max(value - T_QUANTILE * error, 0.0), value + T_QUANTILE * error
    return Interval(value, low, high, len(features), len(names))


def distances_from(features: np.ndarray, reference: Statistics) -> Callable[[np.ndarray], float]:
    """The distance from a reference of any rows (indices, or a mask) of features [n, d]; its factor is taken once.

    Raises:
        MissingError: they are of different features.
    """
    _check_alike(features[0], reference.mean)
    wide = features.astype(np.float64)
    turned = (wide - wide.mean(axis=0)) @ _factor(reference.covariance)

    def distance_of(rows: np.ndarray) -> float:
        own, mean = wide[rows], wide[rows].mean(axis=0)
        apart, trace = np.square(mean - reference.mean).sum(), np.square(own - mean).sum() / (len(own) - 1)
        cross = _sum_of_singular_values(turned[rows] - turned[rows].mean(axis=0)) / np.sqrt(len(own) - 1)
        return max(float(apart + trace + np.trace(reference.covariance) - 2 * cross), 0.0)

    return distance_of


def too_few(n: int, d: int) -> str | None:
    """What to warn of where a covariance of d features is of n samples only; None where it is not, or n is unknown."""
    if 0 < n <= d:
        return f"{n} for {d} features: the distance is much too large. Compare only what has as many."
    return None


def _sum_of_singular_values(matrix: Floats) -> float:
    """Through the smaller of its two products with itself: a quarter of the time of a singular value decomposition."""
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0)).sum())  # below 0 is a rounding of 0


def _factor(covariance: Floats) -> Floats:
    """F [d, rank] with F F^T = covariance; [d, d] where it is regular."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        known = values > values[-1] * len(values) * np.finfo(np.float64).eps
        factor = (vectors[:, known] * np.sqrt(values[known]))[:, ::-1]  # largest first: small eigenvalues keep digits
        return np.ascontiguousarray(factor, np.float64)


def _check_alike(own: np.ndarray, reference: np.ndarray) -> None:
    if own.shape != reference.shape:
        raise MissingError(
            f"The reference has {reference.size} features, and the images have {own.size}.",
            "Name statistics of the same metric.",
        )


def _root(covariance: Floats) -> Floats:
    """Symmetric square root; a negative eigenvalue is a rounding of 0."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _json(made_of: Mapping[str, Any]) -> str:
    return json.dumps(made_of, sort_keys=True)
