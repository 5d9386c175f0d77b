"""Cosine of each image and its prompt under shapes-clip, the shapes world's own encoder; -1 to 1, up is better."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from agsm_bench.contracts import Metric, Progress
from agsm_bench.images import UNREADABLE, decode
from agsm_bench.stats import Interval, bootstrap_mean
from agsm_bench.store import Run
from agsm_bench.types import Sample, Score

if TYPE_CHECKING:
    from agsm_bench.shapes.clip import ShapesClip

SCORE = "shapes_clip/score"
DECIMALS = 4
"""Of a stored score. Features are the same whatever the batch; the cosine is taken in float64."""
BATCH = 256
"""Images scored between two writes."""


def measure(run: Run, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """Scores the images that lack a score of the present weights; the mean, clustered by prompt."""
    from agsm_bench.shapes.clip import load_clip, weights_version

    version = weights_version()
    lacking = list(run.unscored(samples, [SCORE], version))
    if lacking:
        clip, done = load_clip(), len(samples) - len(lacking)
        texts = sorted({sample.prompt.text for sample in lacking})
        captions = dict(zip(texts, _unit(clip.text_features(texts, filled=True).numpy()), strict=True))
        remaining = run.images(lacking)
        while batch := list(islice(remaining, BATCH)):
            run.add_scores([replace(score, version=version) for score in _scores(clip, captions, batch)])
            done += len(batch)
            progress("shapes-clip", done, len(samples))
    return _mean(run, samples)


def _scores(
    clip: ShapesClip, captions: Mapping[str, np.ndarray], batch: Sequence[tuple[Sample, bytes]]
) -> Iterator[Score]:
    pictures, shown = [], []
    for sample, png in batch:
        try:
            pictures.append(decode(png))
            shown.append(sample)
        except UNREADABLE as error:
            yield Score(sample.id, SCORE, None, f"{type(error).__name__}: {error}")
    if shown:
        cosines = _unit(clip.image_features(np.stack(pictures), filled=True).numpy())
        for sample, image in zip(shown, cosines, strict=True):
            yield Score(sample.id, SCORE, round(float(image @ captions[sample.prompt.text]), DECIMALS))


def _mean(run: Run, samples: Sequence[Sample]) -> dict[str, Interval]:
    scores = run.scores()
    found = [(scores[s.id][SCORE].value, s.prompt.id) for s in samples if s.id in scores]
    known = [(value, prompt) for value, prompt in found if value is not None]
    if not known:
        return {}
    values, prompts = zip(*known, strict=True)
    return {SCORE: replace(bootstrap_mean(values, prompts), unscored=len(found) - len(known))}


def _unit(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


METRIC = Metric(domain="shapes", measure=measure)
