"""An evaluation from a checked request to its summary: generate or edit, then score, both resumable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agsm_bench.contracts import Backbone, Progress
from agsm_bench.errors import UserError
from agsm_bench.parallel import ALONE, Processes
from agsm_bench.planning import Plan, planned
from agsm_bench.protocol import forgets_time_embedding
from agsm_bench.request import Request
from agsm_bench.score import Judging, measured, metrics_of, names_of, score_by_detector, summarise
from agsm_bench.shards import in_shard
from agsm_bench.store import Run
from agsm_bench.tokens.header import read_header
from agsm_bench.types import Sample, Score
from agsm_bench.unigenbench.options import JudgeOptions
from agsm_bench.union import part

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser
    from agsm_bench.tokens.soft_tokens import SoftTokens


def evaluate(request: Request, progress: Progress, processes: Processes = ALONE) -> dict[str, Any]:
    """Runs what is missing of an evaluation and returns its summary.

    Several processes share the samples, and the first one writes what one process alone would have.

    Raises:
        UserError: settings that make no sense, tokens of another backbone, a folder of another run.
        MissingError: weights, tokens, data or what the images are judged by are absent or damaged.
    """
    plan = planned(request)
    if processes.count > 1:
        _share(plan, processes, progress)
    return processes.on_first(lambda: _finish(plan, progress))


def _finish(plan: Plan, progress: Progress) -> dict[str, Any]:
    """All that is missing, by this process, and the summary."""
    shard = plan.request.shard
    mine = [s for s in plan.samples if shard is None or in_shard(s.id, *shard)]
    with plan.opened() as run:
        _run_model(run, plan, mine, progress)
        if plan.judging is None:
            return summarise(run, plan.benchmark, mine)
        return score_run(run, plan.judging, mine, progress, plan.request.judge)


def _share(plan: Plan, processes: Processes, progress: Progress) -> None:
    """What is missing, by all processes, each in a folder of its own below the run's, which stays locked meanwhile."""
    if plan.request.shard:
        raise UserError("Several processes share the samples by themselves.", "Leave out --shard.")
    with ExitStack() as stack:

        def missing() -> set[str]:
            run = stack.enter_context(plan.opened())
            return {sample.id for sample in run.missing(plan.samples)}

        todo = processes.on_first(missing)
        mine = [s for s in plan.samples if s.id in todo and in_shard(s.id, processes.rank, processes.count)]
        if mine:
            shard = (processes.rank, processes.count)
            with Run.acquire(part(plan.request.out, *shard), replace(plan.manifest, shard=shard)) as run:
                _run_model(run, plan, mine, progress, measuring=processes.first)
                if plan.judging:
                    score_all(run, plan.judging, mine, progress)
        processes.gather(None)  # all have finished


def score_run(
    run: Run, judging: Judging, samples: Sequence[Sample], progress: Progress, judge: JudgeOptions | None = None
) -> dict[str, Any]:
    """Scores what lacks a score, and writes the summary; with an address in `judge` the judge is asked, too."""
    score_all(run, judging, samples, progress)
    ask_judge(run, samples, judge, progress)
    return summarise(run, judging.benchmark, samples, measured(run, judging, samples, progress))


def ask_judge(run: Run, samples: Sequence[Sample], judge: JudgeOptions | None, progress: Progress) -> None:
    """Asks the judge, where there is one, about every image that lacks verdicts; raises as `judge_run`."""
    if judge and judge.judge_url:
        from agsm_bench.unigenbench.of_run import judge_run

        judge_run(run, samples, judge, progress)


def score_all(run: Run, judging: Judging, samples: Sequence[Sample], progress: Progress) -> None:
    """Asks the detector of what lacks a score."""
    there = sum(sample.id in run.records.images for sample in samples)
    for done, _ in enumerate(score_by_detector(run, judging, samples), 1):
        progress("score", done, there)


def _run_model(run: Run, plan: Plan, samples: Sequence[Sample], progress: Progress, measuring: bool = True) -> None:
    """All that needs the weights: the missing images, and what metrics measure of the model itself."""
    backbone = plan.backbone
    missing = list(run.missing(samples))
    metrics = metrics_of(plan.benchmark, backbone.domain) if measuring else []
    measures = [m.model for m in metrics if m.model and not m.model.is_there(run.folder)]
    if not missing and not measures:
        return
    from agsm_bench.diffusion.variants import load_denoiser

    denoiser, tokens = load_denoiser(backbone, plan.variant), _load_tokens(plan.request, backbone)
    images = _edited if plan.editor else _generated
    for done, (sample, made) in enumerate(
        images(run, plan, denoiser, tokens, missing), len(samples) - len(missing) + 1
    ):
        if isinstance(made, bytes):
            run.add_image(sample, made)
        else:
            run.add_scores(made)
        progress("edit" if plan.editor else "generate", done, len(samples))
    for measure in measures:
        measure.write(run, denoiser, tokens, backbone.training_data(0, True), progress)


def _generated(
    run: Run, plan: Plan, denoiser: Denoiser, tokens: SoftTokens | None, missing: Sequence[Sample]
) -> Iterator[tuple[Sample, bytes]]:
    from agsm_bench.generate import generate

    spec = run.manifest.spec
    negative = 1 if spec.unconditional == "negative" else None
    with tokens.attached(denoiser.pipe, unconditional_polarity=negative) if tokens else nullcontext():
        yield from generate(denoiser, spec, missing, plan.request.options.batch_size or plan.backbone.batch_size)


def _edited(
    run: Run, plan: Plan, denoiser: Denoiser, tokens: SoftTokens | None, missing: Sequence[Sample]
) -> Iterator[tuple[Sample, bytes | list[Score]]]:
    """The edits; of pictures that cannot be read why all their metrics are unscored."""
    from agsm_bench.editing.edit import Unreadable, edit
    from agsm_bench.editing.predictor import Predictor

    assert plan.editor
    spec = run.manifest.spec
    negative = 1 if spec.unconditional == "negative" else 0
    predict = Predictor(denoiser, tokens, plan.request.editing.tokens_on, negative)
    batch_size = plan.request.options.batch_size or plan.backbone.batch_size
    names = plan.judging.names if plan.judging else names_of(plan.benchmark, spec.domain)
    metrics = (*plan.benchmark.metrics(spec.domain), *names)
    for sample, made in edit(predict, plan.editor, plan.benchmark, spec, missing, batch_size):
        if isinstance(made, Unreadable):
            yield sample, [Score(sample.id, metric, None, made.reason) for metric in metrics]
        else:
            yield sample, made


def _load_tokens(request: Request, backbone: Backbone) -> SoftTokens | None:
    if request.tokens is None:
        return None
    from agsm_bench.seeds import generator_for
    from agsm_bench.tokens.checkpoint import load_tokens

    tokens = load_tokens(request.tokens, backbone.name)
    trainer = read_header(request.tokens).training["trainer"]
    if forgets_time_embedding(request.model.protocol, trainer, backbone.name):
        tokens.forget_time(generator_for("forgotten time embedding", request.options.seed))
    return tokens
