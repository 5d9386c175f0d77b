"""Scoring an existing run again, or the union of its shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Progress
from agsm_bench.errors import UserError
from agsm_bench.evaluate import ask_judge, score_run
from agsm_bench.planning import samples_of, spread
from agsm_bench.provenance import provenance
from agsm_bench.request import Scoring
from agsm_bench.score import judging_of, measured_as_whole, summarise
from agsm_bench.scoring.runs import How, score_samples
from agsm_bench.store import Run
from agsm_bench.types import Sample
from agsm_bench.unigenbench.of_run import check_judge
from agsm_bench.unigenbench.options import JudgeOptions
from agsm_bench.union import union


def rescore(
    runs: Sequence[Path],
    out: Path | None,
    progress: Progress,
    metrics: Sequence[str] = (),
    how: How | None = None,
    scoring: Scoring | None = None,
    judge: JudgeOptions | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Scores what lacks a score and writes the summary; returns the folder and the summary.

    With `metrics` these alone are scored, by full name, as `how` says, and what the run has of others is left as it
    is. Without, the benchmark's own are, as `scoring` says.

    Raises:
        UserError: several runs without a folder for their union, or runs that are no shards of one run.
        MissingError: a folder is no run, or is damaged; what the images are judged by is absent.
    """
    if len(runs) > 1 and out is None:
        raise UserError("Several shards need a folder for their union.", "Add --out DIR.")
    with _opened(runs, out) as run:
        spec = run.manifest.spec
        benchmark: Benchmark = plugins.load("benchmarks", spec.benchmark)
        judge = judge or JudgeOptions()
        check_judge(benchmark.name, spec.domain, judge)
        samples = _samples(run, benchmark)
        if metrics:
            score_samples(run, samples, metrics, progress, how)
            ask_judge(run, samples, judge, progress)
            return run.folder, summarise(run, benchmark, samples, measured_as_whole(run, benchmark, samples, progress))
        judging = judging_of(benchmark, spec.domain, scoring)
        return run.folder, score_run(run, judging, samples, progress, judge)


def _samples(run: Run, benchmark: Benchmark) -> list[Sample]:
    """All samples of the run: of a limited one, those of its prompts."""
    spec, prompts = run.manifest.spec, benchmark.prompts(run.manifest.spec.domain)
    limit = run.manifest.expected // spec.images_per_prompt if run.manifest.limited else None
    return samples_of(spread(prompts, limit), spec.images_per_prompt)


def _opened(runs: Sequence[Path], out: Path | None) -> Run:
    return Run.reopen(runs[0], provenance("cpu")) if out is None else union(runs, out)
