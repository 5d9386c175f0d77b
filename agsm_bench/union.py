"""The union of shards with all that they hold: images, scores, detections, and what metrics measured of the model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.detections import DetectionStore
from agsm_bench.manifest import MANIFEST
from agsm_bench.score import metrics_of
from agsm_bench.shards import merge
from agsm_bench.store import Run

PARTS = ".shards"
"""Folder in a run's folder where the processes of one command have their shards while they work."""


def union(shards: Sequence[Path], into: Path) -> Run:
    """`merge` with the stores of detector and metrics; open for writing. Raises as that does."""
    run = merge(shards, into)
    try:
        benchmark: Benchmark = plugins.load("benchmarks", run.manifest.spec.benchmark)
        DetectionStore(into, None).copy_from([DetectionStore(shard, None) for shard in shards])
        for metric in metrics_of(benchmark, run.manifest.spec.domain):
            if metric.model:
                metric.model.adopt(run, shards)
    except BaseException:
        run.close()
        raise
    return run


def part(folder: Path, rank: int, count: int) -> Path:
    """Where one of several processes works."""
    return folder / PARTS / f"{rank}-of-{count}"


def adopt_parts(folder: Path) -> None:
    """Takes over what processes made in their shards, however many there were, also if they were killed."""
    parts = sorted(path.parent for path in (folder / PARTS).glob(f"*/{MANIFEST}"))
    if parts:
        with union(parts, folder):  # locked, so that nobody is at work there
            shutil.rmtree(folder / PARTS, ignore_errors=True)
