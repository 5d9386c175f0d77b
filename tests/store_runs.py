"""A small run that the tests of the store make, without a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agsm_bench.stats import Interval, bootstrap_mean
from agsm_bench.store import Run
from agsm_bench.types import Prompt, RunSpec, Sample, Score

SPEC = RunSpec("geneval", "shapes", "shapes-unet", "w" * 64, 3.0, 20, 64, 0, 2)
METRICS = ("geneval/correct", "geneval/strict")
PROMPTS = [Prompt(f"{i:05d}", f"prompt {i}", "counting", {"tag": "counting", "prompt": f"{i}"}) for i in range(3)]
SAMPLES = [Sample(prompt, index) for prompt in PROMPTS for index in range(2)]
NOTE = {"command": "agsm-bench eval geneval", "started": "2026-01-01T00:00:00+00:00"}


def opened(folder: Path, **changes: Any) -> Run:
    settings: dict[str, Any] = {"spec": SPEC, "expected": len(SAMPLES), "limited": False, "provenance": NOTE}
    return Run.create_or_resume(folder, **(settings | changes))


def png_of(sample: Sample) -> bytes:
    return f"PNG of {sample.id}".encode()


def scores_of(sample: Sample) -> list[Score]:
    """One sample cannot be scored by the second metric."""
    strict = None if sample.id == "00001/0001" else sample.index / 3
    return [
        Score(sample.id, METRICS[0], float(sample.index), None if sample.index else "found 0"),
        Score(sample.id, METRICS[1], strict, "no detector" if strict is None else None),
    ]


def means(run: Run) -> dict[str, Interval]:
    rows = run.scores()
    columns = {m: [row[m].value for row in rows.values() if m in row] for m in METRICS}
    return {m: bootstrap_mean([v for v in column if v is not None]) for m, column in columns.items() if column}


def work(run: Run, samples: Iterable[Sample] = SAMPLES) -> None:
    """What the eval command does."""
    samples = list(samples)
    for sample in run.missing(samples):
        run.add_image(sample, png_of(sample))
    for sample, png in run.images(run.unscored(samples, METRICS)):
        assert png == png_of(sample)
        run.add_scores(scores_of(sample))


def evaluate(folder: Path, samples: Iterable[Sample] = SAMPLES, **changes: Any) -> dict[str, Any]:
    with opened(folder, **changes) as run:
        work(run, samples)
        return run.finalise(means(run))


def tree(folder: Path) -> dict[str, bytes]:
    """Everything but the manifest and the lock."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in names.items() if name != "manifest.json" and ".lock" not in name}
