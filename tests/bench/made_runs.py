"""Run folders with generated scores, written through the store as `agsm-bench eval` would: no model, no detector."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.columns import means
from agsm_bench.images import to_png
from agsm_bench.scoring.features import OF_REFERENCES, FeatureStore
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import RunSpec, Sample, Score

SPEC = RunSpec("coco_val5k", "shapes", "shapes-mmdit", "w" * 64, 2.0, 12, 24, 0, 1)
SCENE, SCORE, DISTANCE = "coco_val5k/scene", "shapes_clip/score", "shapes_frechet"
PROMPTS, FEATURES = 5000, 64


def scratch() -> TemporaryDirectory[str]:
    """A folder in memory where there is a file system for that: what a disk takes is not measured."""
    return TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


def made_run(folder: Path, seed: int, *, prompts: int = PROMPTS, images: int = 1, files: bool = False) -> Path:
    """A complete run of COCO-val5K, of a training seed.

    Args:
        folder: a new one.
        seed: of the training, and of the scores.
        prompts: the first ones; fewer than all make it a limited run.
        images: of each prompt.
        files: whether PNGs, metadata and features are there, as the comparison of two runs reads them.
    """
    benchmark: Benchmark = plugins.load("benchmarks", SPEC.benchmark)
    samples = [Sample(p, i) for p in benchmark.prompts("shapes")[:prompts] for i in range(images)]
    tokens = {"trainer": "agsm", "seed": seed, "steps": 600}
    spec = replace(SPEC, images_per_prompt=images, tokens=sha256(str(seed).encode()).hexdigest())
    with Run.create_or_resume(folder, spec, len(samples), prompts < PROMPTS, {"seed": seed}, tokens=tokens) as run:
        fill(run, samples, seed, files=files)
        distance = {DISTANCE: Interval(0.3 + seed / 1000, 0.2, 0.4, len(samples), prompts)} if files else {}
        if files:
            _keep_features(run, samples, seed)
        finish(run, samples, distance)
    return folder


def finish(run: Run, samples: Iterable[Sample], further: Mapping[str, Interval] | None = None) -> None:
    """Sums up, as `score.summarise` does where there are images."""
    benchmark: Benchmark = plugins.load("benchmarks", SPEC.benchmark)
    rows = ((s, run.records.scores_of(s.id)) for s in samples)
    scored = [(s.prompt, s.id, {name: score.value for name, score in row.items()}) for s, row in rows]
    run.finalise({**benchmark.summarise(scored), **means(scored, (SCORE,)), **(further or {})})


def fill(run: Run, samples: Iterable[Sample], seed: int, *, files: bool = False) -> None:
    """Records an image of each sample, and two random scores."""
    rng, png = np.random.default_rng(seed), to_png(Image.new("RGB", (24, 24)))
    for sample in samples:
        if files:
            run.add_image(sample, png)
        else:
            run.records.add_image(sample.id, sha256(sample.id.encode()).hexdigest())
        right, cosine = float(rng.random() < 0.7), round(rng.random(), 4)
        run.add_scores([Score(sample.id, SCENE, right), Score(sample.id, SCORE, cosine)])


def _keep_features(run: Run, samples: Sequence[Sample], seed: int) -> None:
    ids = [sample.id for sample in samples]
    for name, own in ((DISTANCE, seed), (DISTANCE + OF_REFERENCES, -1)):
        rows = np.random.default_rng(own + 1).standard_normal((len(ids), FEATURES))
        FeatureStore(run.folder, name).add(ids, [(each, "1") for each in ids], rows)
