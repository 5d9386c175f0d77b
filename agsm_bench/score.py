"""Images to scores: lazy and resumable; an image that cannot be judged is unscored with its reason, never zero."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from agsm_bench import plugins
from agsm_bench.contracts import Benchmark, Progress, RunMetric
from agsm_bench.detections import DetectionStore, Found
from agsm_bench.errors import MissingError
from agsm_bench.images import UNREADABLE, decode
from agsm_bench.jsonl import write_atomically
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import Detection, Domain, Sample, Score

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Detector:
    """Finds the objects of a picture."""

    version: str
    """Detections of another version are not used, nor the scores made from them."""
    detect: Callable[[np.ndarray], Sequence[Detection]]


def has_detector(domain: Domain) -> bool:
    """Whether `detector_of` has one."""
    return domain == "shapes"


def detector_of(domain: Domain) -> Detector:
    """The detector of a domain.

    Raises:
        MissingError: the photo domain's is not part of this release.
    """
    if not has_detector(domain):
        raise MissingError(
            "GenEval's detector of photographs (Mask2Former) is not part of this version.",
            "GenEval's own evaluator (github.com/djghosh13/geneval) reads the run's folder `images`.",
        )
    from agsm_bench.shapes import detector

    return Detector(detector.VERSION, detector.detect)


def score_by_detector(
    run: Run, benchmark: Benchmark, samples: Sequence[Sample], detector: Detector
) -> Iterator[Sample]:
    """Scores every stored image that lacks a score, and yields each sample when it is done."""
    store = DetectionStore(run.folder, detector.version)
    metrics = benchmark.metrics(run.manifest.spec.domain)
    for sample, png in run.images(run.unscored(samples, metrics, detector.version)):
        scores = _scores(sample, png, benchmark, metrics, detector, store)
        run.add_scores([replace(score, version=detector.version) for score in scores])
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
            detections = tuple(detector.detect(decode(png)))
        except UNREADABLE as error:
            return [Score(sample.id, metric, None, f"{type(error).__name__}: {error}") for metric in metrics]
        store.add(Found(sample.id, digest, detections, detector.version))
    return benchmark.score_sample(sample.prompt, sample.id, detections)


def measured(run: Run, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """Scores the images by the domain's own metrics, and measures the run as a whole."""
    from agsm_bench.scoring.runs import score_samples
    from agsm_bench.scoring.selection import default_names

    score_samples(run, samples, default_names(run.manifest.spec.domain), progress)
    return measured_as_whole(run, samples, progress)


def measured_as_whole(run: Run, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """What is of no single image, and not stored."""
    found: dict[str, Interval] = {}
    for metric in metrics_of(run.manifest.spec.domain):
        found |= metric.measure(run, samples, progress)
    return found


def metrics_of(domain: Domain) -> list[RunMetric]:
    """What `agsm_bench/metrics/` has that measures a run of the domain as a whole."""
    loaded: list[Any] = [plugins.load("metrics", name) for name in plugins.names("metrics")]
    return [metric for metric in loaded if isinstance(metric, RunMetric) and metric.domain == domain]


def summarise(
    run: Run,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    measures: Mapping[str, Interval] | None = None,
) -> dict[str, Any]:
    """Writes the benchmark's own results file and the summary, with other measures; returns the summary.

    What `score --metrics` has stored is in it. Where there is no detector the
    benchmark's verdicts are left out.
    """
    from agsm_bench.scoring.runs import stored_measures

    stored = stored_measures(run, samples)
    found = dict(stored.metrics)
    if has_detector(run.manifest.spec.domain):
        scores = run.scores()
        values = {key: {name: score.value for name, score in row.items()} for key, row in scores.items()}
        found |= benchmark.summarise([(s.prompt, s.id, values[s.id]) for s in samples if s.id in values])
        _write_results(run, benchmark, samples)
    counted = counted_metrics(benchmark, run.manifest.spec.domain)
    return run.finalise(found | dict(measures or {}), stored.warnings, counted)


def counted_metrics(benchmark: Benchmark, domain: Domain) -> set[str] | None:
    """The metrics without which a sample is unscored: what every evaluation has, not what was added to a run.

    None where there is no detector: all that a run has.
    """
    from agsm_bench.scoring.selection import default_names

    return {*benchmark.metrics(domain), *default_names(domain)} if has_detector(domain) else None


def _write_results(run: Run, benchmark: Benchmark, samples: Sequence[Sample]) -> None:
    store, lines = DetectionStore(run.folder, detector_of(run.manifest.spec.domain).version), []
    for sample, png in run.images(samples):
        detections = store.get(sample.id, sha256(png).hexdigest())
        if detections is not None:
            name = str(run.image_path(sample.id).relative_to(run.folder))
            lines.append(json.dumps(benchmark.result_line(sample.prompt, name, detections)) + "\n")
    write_atomically(run.folder / RESULTS, "".join(lines).encode())
