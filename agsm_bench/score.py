"""Images to scores: lazy and resumable; an image that cannot be judged is unscored with its reason, never zero."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Progress, RunMetric
from agsm_bench.detecting import Detecting, Finder, detecting
from agsm_bench.detections import DetectionStore, Found
from agsm_bench.errors import UserError, all_missing
from agsm_bench.images import UNREADABLE, decode
from agsm_bench.jsonl import write_atomically
from agsm_bench.request import Scoring
from agsm_bench.scoring.runs import How, score_samples, stored_measures
from agsm_bench.scoring.selection import choose, default_names, known
from agsm_bench.scoring.settings import PassSettings, default_device
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import Domain, Sample, Score

RESULTS = "results.jsonl"
SHOWN = 3
"""Of the missing images that a warning names."""
BATCH = 16
"""Images whose objects are found before any is stored."""


@dataclass(frozen=True)
class Judging:
    """What a run's images are judged by, all of it at hand."""

    benchmark: Benchmark
    detecting: Detecting | None
    """None where the benchmark asks no detector."""
    names: tuple[str, ...]
    """Metrics of images, by full name."""
    how: How = field(default_factory=How)


def judging_of(benchmark: Benchmark, domain: Domain, scoring: Scoring | None = None) -> Judging:
    """The benchmark's detector and metrics on a domain, or those asked for.

    Raises:
        UserError: there is no such detector or metric, or weights are of none.
        MissingError: weights or packages are not there: all that is missing, with the commands that get it.
    """
    scoring = scoring or Scoring()
    _check_weights(scoring.weights)
    names = names_of(benchmark, domain) if scoring.metrics is None else scoring.metrics
    device = scoring.device or ("cpu" if domain == "shapes" else default_device())
    mine = {name: path for name, path in scoring.weights.items() if name in names}
    with all_missing() as checking:
        with checking():
            asked = benchmark.metrics(domain)
            found = detecting(domain, scoring.detector, scoring.weights, device) if asked else None
        with checking():
            choose(names, mine)
    return Judging(benchmark, found, tuple(names), How(mine, settings=PassSettings(device, scoring.batch_size)))


def _check_weights(given: Iterable[str]) -> None:
    everything = [*plugins.names("detectors"), *known()]
    for name in given:
        if name not in everything:
            close = get_close_matches(name, everything, 1)
            fix = f"Did you mean {close[0]}?" if close else "agsm-bench list metrics, or list detectors, shows all."
            raise UserError(f"--weights names {name}, which is no metric and no detector.", fix)


def names_of(benchmark: Benchmark, domain: Domain) -> tuple[str, ...]:
    """The metrics of images that every run of a benchmark has."""
    return tuple(dict.fromkeys([*default_names(domain), *benchmark.image_metrics(domain)]))


def score_by_detector(run: Run, judging: Judging, samples: Sequence[Sample]) -> Iterator[Sample]:
    """Scores every stored image that lacks a score, and yields each sample when it is done."""
    if judging.detecting is None:
        return
    version = judging.detecting.version
    store = DetectionStore(run.folder, version)
    finder: Finder | None = None
    metrics = judging.benchmark.metrics(run.manifest.spec.domain)
    waiting = run.images(run.unscored(samples, metrics, version))
    while batch := list(islice(waiting, BATCH)):
        new = [each for each in batch if _known(store, *each) is None]
        if new and finder is None:
            finder = judging.detecting.loaded()
        reasons = _find(new, judging.benchmark, finder, store, version) if finder else {}
        for sample, png in batch:
            scores = _scores(sample, _known(store, sample, png), reasons.get(sample.id), judging.benchmark, metrics)
            run.add_scores([replace(score, version=version) for score in scores])
            yield sample
    store.finalise()


def _known(store: DetectionStore, sample: Sample, png: bytes) -> Any:
    return store.get(sample.id, sha256(png).hexdigest())


def _find(
    batch: Sequence[tuple[Sample, bytes]], benchmark: Benchmark, finder: Finder, store: DetectionStore, version: str
) -> dict[str, str]:
    """Stores what is in the images; the reasons of those that are none, by sample id."""
    pictures: list[tuple[Sample, bytes, np.ndarray]] = []
    reasons: dict[str, str] = {}
    for sample, png in batch:
        try:
            pictures.append((sample, png, decode(png)))
        except UNREADABLE as error:
            reasons[sample.id] = f"{type(error).__name__}: {error}"
    prompts = [sample.prompt for sample, _, _ in pictures]
    found = finder.find(benchmark, prompts, [pixels for _, _, pixels in pictures]) if pictures else []
    for (sample, png, _), detections in zip(pictures, found, strict=True):
        store.add(Found(sample.id, sha256(png).hexdigest(), tuple(detections), version))
    return reasons


def _scores(
    sample: Sample, detections: Any, reason: str | None, benchmark: Benchmark, metrics: Sequence[str]
) -> list[Score]:
    if detections is None:
        return [Score(sample.id, metric, None, reason) for metric in metrics]
    return benchmark.score_sample(sample.prompt, sample.id, detections)


def measured(run: Run, judging: Judging, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """Scores the images by the metrics of images, and measures the run as a whole."""
    score_samples(run, samples, judging.names, progress, judging.how)
    return measured_as_whole(run, judging.benchmark, samples, progress)


def measured_as_whole(
    run: Run, benchmark: Benchmark, samples: Sequence[Sample], progress: Progress
) -> dict[str, Interval]:
    """What is of no single image, and not stored."""
    found: dict[str, Interval] = {}
    for metric in metrics_of(benchmark, run.manifest.spec.domain):
        found |= metric.measure(run, samples, progress)
    return found


def metrics_of(benchmark: Benchmark, domain: Domain) -> list[RunMetric]:
    """What `agsm_bench/metrics/` has that measures a run of the benchmark as a whole."""
    loaded: list[RunMetric] = [plugins.load("metrics", name) for name in benchmark.run_metrics(domain)]
    return loaded


def summarise(
    run: Run,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    measures: Mapping[str, Interval] | None = None,
) -> dict[str, Any]:
    """Writes the benchmark's own results file and the summary, with other measures; returns the summary.

    What `score --metrics` has stored is in it.
    """
    domain = run.manifest.spec.domain
    stored = stored_measures(run, samples)
    rows = ((s, run.records.scores_of(s.id)) for s in samples)
    own = benchmark.summarise(
        [(s.prompt, s.id, {name: score.value for name, score in row.items()}) for s, row in rows if row]
    )
    lines = _write_results(run, benchmark, samples)
    required = benchmark.metrics(domain)
    counted = {*required, *names_of(benchmark, domain)}
    doubts = [*benchmark.doubts(domain, own, lines), *_absent(run, samples)]
    warnings = [*doubts, *stored.warnings, *benchmark.problems(domain)]
    return run.finalise({**stored.metrics, **own, **(measures or {})}, warnings, counted, required)


def _absent(run: Run, samples: Sequence[Sample]) -> list[str]:
    """Which images a whole run lacks."""
    if run.manifest.limited or run.manifest.shard:
        return []
    lacking = [s.id for s in samples if s.id not in run.records.images and not run.records.scores_of(s.id)]
    some = ", ".join(lacking[:SHOWN])
    return [f"{len(lacking)} of {len(samples)} images are missing, first {some}."] if lacking else []


def _write_results(run: Run, benchmark: Benchmark, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """What the benchmark's own evaluator would write, of the images whose objects are known; returns its lines."""
    if not benchmark.metrics(run.manifest.spec.domain):
        return []
    store, lines = DetectionStore(run.folder, None), list[dict[str, Any]]()
    for sample, png in run.images(samples):
        detections = store.get(sample.id, sha256(png).hexdigest())
        name = str(run.image_path(sample.id).relative_to(run.folder))
        line = None if detections is None else benchmark.result_line(sample.prompt, name, detections)
        lines += [] if line is None else [line]
    if lines:
        write_atomically(run.folder / RESULTS, "".join(json.dumps(line) + "\n" for line in lines).encode())
    return lines
