"""Images to scores: lazy and resumable; an image that cannot be judged is unscored with its reason, never zero."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from agsm_bench.contracts import Benchmark
from agsm_bench.detections import DetectionStore, Found
from agsm_bench.errors import MissingError
from agsm_bench.jsonl import write_atomically
from agsm_bench.store import Run
from agsm_bench.types import Detection, Domain, Sample, Score

RESULTS = "results.jsonl"
Detector = Callable[[np.ndarray], Sequence[Detection]]


def detector_of(domain: Domain) -> Detector:
    """The detector of a domain.

    Raises:
        MissingError: the photo domain's is not part of this release.
    """
    if domain == "photo":
        raise MissingError(
            "GenEval's photo detector (Mask2Former) is not part of this release.", "Use a shapes backbone."
        )
    from agsm_bench.shapes.detector import detect

    return detect


def score_images(run: Run, benchmark: Benchmark, samples: Sequence[Sample], detector: Detector) -> Iterator[Sample]:
    """Scores every stored image that lacks a score, and yields each sample when it is done."""
    store = DetectionStore(run.folder)
    metrics = benchmark.metrics(run.manifest.spec.domain)
    for sample, png in run.images(run.unscored(samples, metrics)):
        run.add_scores(_scores(sample, png, benchmark, metrics, detector, store))
        yield sample
    store.finalise()


def _scores(
    sample: Sample,
    png: bytes,
    benchmark: Benchmark,
    metrics: Sequence[str],
    detector: Detector,
    store: DetectionStore,
) -> list[Score]:
    digest = sha256(png).hexdigest()
    detections = store.get(sample.id, digest)
    if detections is None:
        try:
            detections = tuple(detector(decode(png)))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            return [Score(sample.id, metric, None, f"{type(error).__name__}: {error}") for metric in metrics]
        store.add(Found(sample.id, digest, detections))
    return benchmark.score_sample(sample.prompt, sample.id, detections)


def decode(png: bytes) -> np.ndarray:
    """uint8 [height, width, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB"))


def summarise(run: Run, benchmark: Benchmark, samples: Sequence[Sample]) -> dict[str, Any]:
    """Writes the benchmark's own results file and the summary; returns the summary."""
    scores = run.scores()
    rows = [
        (sample.prompt, sample.id, {name: score.value for name, score in scores[sample.id].items()})
        for sample in samples
        if sample.id in scores
    ]
    _write_results(run, benchmark, samples)
    return run.finalise(benchmark.summarise(rows))


def _write_results(run: Run, benchmark: Benchmark, samples: Sequence[Sample]) -> None:
    store, lines = DetectionStore(run.folder), []
    for sample, png in run.images(samples):
        detections = store.get(sample.id, sha256(png).hexdigest())
        if detections is not None:
            name = str(run.image_path(sample.id).relative_to(run.folder))
            lines.append(json.dumps(benchmark.result_line(sample.prompt, name, detections)) + "\n")
    write_atomically(run.folder / RESULTS, "".join(lines).encode())
