"""UniGenBench++'s own score: the verdicts of a vision-language judge, where `--judge-url` has asked for them."""

from __future__ import annotations

from collections.abc import Sequence

from agsm_bench.contracts import Progress, RunMetric
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import Sample


def measure(run: Run, samples: Sequence[Sample], progress: Progress) -> dict[str, Interval]:
    """Accuracies by kind of test point, over all samples of the run; nothing where no judge was asked."""
    from agsm_bench.unigenbench.of_run import judged_model, judgements_of
    from agsm_bench.unigenbench.prompts import points_of
    from agsm_bench.unigenbench.summary import summarise

    if judged_model(run.folder) is None:
        return {}
    expected = {sample.id: points_of(sample.prompt) for sample in samples}
    return summarise(expected, judgements_of(run, samples))


METRIC = RunMetric(domain="photo", better={"unigenbench/mean": "up", "unigenbench/points": "up"}, measure=measure)
