"""Fréchet distance of the images from scenes that are exactly what their prompts ask, in shapes-clip; down is better.

FID's formula (Heusel et al. 2017, Eq. 6) on other features and another reference: the pictures that the benchmark gives
with its prompts (COCO-val5K), or else the run's prompts, each drawn `REFERENCES` times by the renderer. Like FID it is
too large in small samples: two draws of the reference for GenEval's 553 prompts are 0.14 apart, where 0 is the truth.
Compare runs of the same number of images.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Progress, RunMetric
from agsm_bench.frechet import frechet_distance
from agsm_bench.images import UNREADABLE, decode
from agsm_bench.scoring.features import OF_REFERENCES, FeatureStore
from agsm_bench.shapes.reference import reference_scene
from agsm_bench.shapes.render import render
from agsm_bench.stats import Floats, Interval, bootstrap_statistic
from agsm_bench.store import Run
from agsm_bench.types import Prompt, Sample

DISTANCE = "shapes_frechet"
REFERENCES = 4
"""Rendered scenes a prompt, however many images the run has of it."""
RESAMPLES = 200


def measure(run: Run, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """The distance, with an interval over prompts: each is drawn with its images and its reference scenes.

    Both's features are kept in the run, for the comparison with another.
    """
    pictures, shown, unreadable = [], list[Sample](), 0
    for sample, png in run.images(samples):
        try:
            pictures.append(decode(png))
            shown.append(sample)
        except UNREADABLE:
            unreadable += 1
    if len(pictures) < 2:
        return {}
    from agsm_bench.shapes.clip import load_clip

    clip = load_clip()
    asked = {sample.prompt.id: sample.prompt for sample in shown}
    images = clip.image_features(np.stack(pictures), filled=True).numpy()
    progress("reference scenes", 1, 2)
    references, each = _references(run, list(asked.values()))
    scenes = clip.image_features(references, filled=True).numpy()
    progress("reference scenes", 2, 2)
    _keep(run, DISTANCE, [sample.id for sample in shown], pictures, images)
    _keep(run, DISTANCE + OF_REFERENCES, [f"{p}/{i:04d}" for p in asked for i in range(each)], references, scenes)
    index = {prompt_id: i for i, prompt_id in enumerate(asked)}
    own = np.array([index[sample.prompt.id] for sample in shown])
    wide = images.astype(np.float64), scenes.astype(np.float64)
    found = distance_by_cluster(wide[0], own, wide[1], np.repeat(np.arange(len(asked)), each))
    return {DISTANCE: replace(found, unscored=unreadable)}


def _keep(run: Run, name: str, ids: Sequence[str], pictures: Iterable[np.ndarray], features: np.ndarray) -> None:
    from agsm_bench.shapes.clip import weights_version

    version = weights_version()
    with run.changing():
        store = FeatureStore(run.folder, name)
        store.add(ids, [(sha256(picture.tobytes()).hexdigest(), version) for picture in pictures], features)
        store.finalise()


def _references(run: Run, prompts: Sequence[Prompt]) -> tuple[np.ndarray, int]:
    """The pictures to compare with, those of a prompt together, and how many each has."""
    benchmark: Benchmark = plugins.load("benchmarks", run.manifest.spec.benchmark)
    given = [benchmark.given("shapes", prompt, run.manifest.spec.size) for prompt in prompts]
    own = [decode(each.picture()) for each in given if each]
    return (np.stack(own), 1) if own else (reference_pictures(prompts), REFERENCES)


def reference_pictures(prompts: Sequence[Prompt]) -> np.ndarray:
    """uint8 [prompts * REFERENCES, 24, 24, 3], those of a prompt together."""
    return np.stack([render(reference_scene(p.text, p.id, i)) for p in prompts for i in range(REFERENCES)])


def distance_by_cluster(
    images: Floats, image_clusters: np.ndarray, scenes: Floats, scene_clusters: np.ndarray
) -> Interval:
    """The distance between features [n, d] and [m, d], with an interval over the clusters 0, 1, ... of both."""
    clusters = int(image_clusters.max()) + 1
    center = scenes.mean(axis=0)  # sums of squares far from 0 would lose digits
    first = Moments.of(images - center, image_clusters, clusters)
    second = Moments.of(scenes - center, scene_clusters, clusters)

    def statistic(weights: Floats) -> Floats:
        return frechet_distance(*first.gaussian(weights), *second.gaussian(weights))

    found = bootstrap_statistic(statistic, clusters, len(images), biased=True, resamples=RESAMPLES)
    return replace(found, low=max(found.low, 0.0)) if clusters > 1 else found


@dataclass(frozen=True)
class Moments:
    """What a Gaussian fit of weighted clusters needs."""

    counts: Floats
    """[clusters]."""
    sums: Floats
    """[clusters, d]."""
    products: Floats
    """[clusters, d, d], sums of outer products."""

    @staticmethod
    def of(features: Floats, labels: np.ndarray, clusters: int) -> Moments:
        """Of features [n, d], each in a cluster."""
        counts, width = np.bincount(labels, minlength=clusters), features.shape[1]
        groups = np.split(features[np.argsort(labels, kind="stable")], np.cumsum(counts)[:-1])
        products = np.empty((clusters, width, width))  # 33 KB a prompt: a list of them first would take it twice
        for product, group in zip(products, groups, strict=True):
            product[:] = group.T @ group
        return Moments(counts.astype(np.float64), np.stack([group.sum(axis=0) for group in groups]), products)

    def gaussian(self, weights: Floats) -> tuple[Floats, Floats]:
        """Means [draws, d] and covariances [draws, d, d] with the clusters weighted [draws, clusters]."""
        total = (weights @ self.counts)[:, None]
        mean = weights @ self.sums / total
        products = np.tensordot(weights, self.products, axes=1)
        outer = mean[:, :, None] * mean[:, None, :]
        return mean, (products - total[..., None] * outer) / (total[..., None] - 1)


METRIC = RunMetric(domain="shapes", better={DISTANCE: "down"}, measure=measure)
