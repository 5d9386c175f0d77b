"""Differences of distances between sets of images (FID, shapes_frechet), by a bootstrap over stored features.

Prompts are drawn, the same for both runs; where the references belong to prompts they are drawn with them. A distance
is too large in small samples, and in a resample more so; of the difference of two runs of equal size most of that
cancels, and the draws are centred. Their standard deviation is what is used, with a normal distribution: that needs
few draws, and one of Inception's 2,048 features takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.frechet import Statistics, distance, distances_from
from agsm_bench.records import split_id
from agsm_bench.report.files import readable
from agsm_bench.scoring.features import OF_REFERENCES, FeatureStore
from agsm_bench.scoring.runs import DISTANCES
from agsm_bench.stats import Floats
from agsm_bench.store import Run

DRAWS, DRAWS_OF_WIDE, WIDE = 200, 50, 256
"""Draws of a bootstrap, and those of more than so many features."""


class NotComparableError(Exception):
    """Why a metric of two runs cannot be compared."""


@dataclass(frozen=True)
class Difference:
    """What a bootstrap says of one distance minus another."""

    error: float
    """Standard error."""
    clusters: int
    n: int


@dataclass(frozen=True)
class _Set:
    """Features of images or references, those of a prompt together."""

    features: np.ndarray
    """[n, d]."""
    starts: np.ndarray
    """Of each prompt, its first row."""
    counts: np.ndarray
    """Of each prompt, the number of its rows."""

    @classmethod
    def of(cls, features: np.ndarray, ids: Sequence[str], prompts: Sequence[str]) -> _Set:
        place = {prompt: i for i, prompt in enumerate(prompts)}
        labels = np.array([place[split_id(each)[0]] for each in ids])
        counts = np.bincount(labels, minlength=len(prompts))
        return cls(features[np.argsort(labels, kind="stable")], np.cumsum(counts) - counts, counts)

    def rows(self, clusters: np.ndarray) -> np.ndarray:
        """Of all images of some prompts."""
        counts = self.counts[clusters]
        before = np.cumsum(counts) - counts
        return np.repeat(self.starts[clusters] - before, counts) + np.arange(counts.sum())

    @cached_property
    def _centred(self) -> tuple[Floats, Floats]:
        """The mean, and what the features are apart from it: sums of squares far from 0 would lose digits."""
        wide = self.features.astype(np.float64)
        mean = wide.mean(axis=0)
        return mean, wide - mean

    def drawn(self, clusters: np.ndarray) -> Statistics:
        """Of the rows of prompts, with as much weight as these occur."""
        center, wide = self._centred
        weights = np.repeat(np.bincount(clusters, minlength=len(self.counts)), self.counts)
        n = int(weights.sum())
        mean, weighted = weights @ wide / n, wide * np.sqrt(weights)[:, None]
        return Statistics(center + mean, (weighted.T @ weighted - n * np.outer(mean, mean)) / (n - 1), n)


def difference(name: str, run: Run | None, base: Run | None) -> Difference:
    """The error of `run`'s distance minus `base`'s.

    Raises:
        NotComparableError: one of them keeps no features, or they are of other images, weights or references.
        MissingError: what is kept is damaged.
    """
    if run is None or base is None:
        raise NotComparableError("neither its values by image or group nor features are kept in both")
    stores = [FeatureStore(each.folder, name) for each in (run, base)]
    ids = sorted(stores[0].keys)
    if not ids or ids != sorted(stores[1].keys):
        raise NotComparableError("no features of the same images are kept in both")
    versions = {store.keys[each][1] for store in stores for each in ids}
    if len(versions) > 1:
        raise NotComparableError("its features are of other weights")
    prompts = sorted({split_id(each)[0] for each in ids})
    if len(prompts) < 2:
        raise NotComparableError("too few prompts")
    sets = [_Set.of(store.rows(ids), ids, prompts) for store in stores]
    reference = _references(name, run, base, prompts)
    distances = _distances_from(reference, sets)
    rng = np.random.default_rng(0)
    count = DRAWS if sets[0].features.shape[1] <= WIDE else DRAWS_OF_WIDE
    drawn = [rng.integers(len(prompts), size=len(prompts)) for _ in range(count)]
    draws = [ours - theirs for ours, theirs in map(distances, drawn)]
    return Difference(float(np.std(draws, ddof=1)), len(prompts), len(ids))


def _distances_from(reference: _Set | Statistics, sets: Sequence[_Set]) -> Callable[[np.ndarray], list[float]]:
    """The distance of each set with the same prompts drawn; references that belong to prompts are drawn with them."""
    if isinstance(reference, Statistics):
        of_rows = [distances_from(own.features, reference) for own in sets]
        return lambda clusters: [each(own.rows(clusters)) for each, own in zip(of_rows, sets, strict=True)]

    def distances(clusters: np.ndarray) -> list[float]:
        drawn = reference.drawn(clusters)
        return [distance(own.drawn(clusters), drawn) for own in sets]

    return distances


def _references(name: str, run: Run, base: Run, prompts: Sequence[str]) -> _Set | Statistics:
    stores = [FeatureStore(each.folder, name + OF_REFERENCES) for each in (run, base)]
    if all(store.keys for store in stores):
        ids = sorted(stores[0].keys)
        if dict(stores[0].keys) != dict(stores[1].keys):
            raise NotComparableError("its references are others")
        return _Set.of(stores[0].rows(ids), ids, prompts)
    sources = {_source(name, each.folder) for each in (run, base)}
    if len(sources) > 1 or not (source := sources.pop()):
        raise NotComparableError("its references are others, or not known")
    try:
        return Statistics.load(Path(source))
    except MissingError as error:
        raise NotComparableError(f"the statistics of its references are not there any more ({source})") from error


def _source(name: str, folder: Path) -> str:
    """The file with the statistics that a run's images were compared with."""
    path = folder / DISTANCES
    if not path.is_file():
        return ""
    with readable(path, f"Score the run again: agsm-bench score {folder}"):
        return str(json.loads(path.read_text("utf-8"))[name].get("reference", ""))
