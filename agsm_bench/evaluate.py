"""An evaluation from checked settings to its summary: generate, then score, both resumable."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agsm_bench import plugins
from agsm_bench.contracts import Backbone, Benchmark, Progress, check_options, check_size, option
from agsm_bench.errors import MissingError, UserError
from agsm_bench.manifest import MANIFEST, Manifest, load_manifest
from agsm_bench.model_options import ModelOptions, check_offload, configured
from agsm_bench.parallel import ALONE, Processes
from agsm_bench.protocol import Polarity, forgets_time_embedding, unconditional_polarity
from agsm_bench.provenance import provenance
from agsm_bench.score import has_detector
from agsm_bench.shards import in_shard
from agsm_bench.store import Run
from agsm_bench.tokens.header import TokensHeader, read_header
from agsm_bench.types import Prompt, RunSpec, Sample
from agsm_bench.union import adopt_parts, part
from agsm_bench.variant import Variant, read_variant, weights_hash

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser
    from agsm_bench.tokens.soft_tokens import SoftTokens


@dataclass(frozen=True)
class EvaluationOptions:
    """Settings with a flag each; None means the backbone's or the benchmark's default."""

    limit: int | None = option(None, "Only so many prompts, spread over the benchmark; stamped as limited.", min=1)
    images_per_prompt: int | None = option(None, "Images a prompt. (default: the benchmark's)", min=1)
    guidance_scale: float | None = option(None, "Scale of CFG. (default: the backbone's)", min=0)
    steps: int | None = option(None, "Sampling steps. (default: the backbone's)", min=1)
    size: int | None = option(None, "Side of the images in pixels. (default: the backbone's)", min=8)
    seed: int = option(0, "Seed of all samples' noise.", min=0)
    batch_size: int | None = option(
        None, "Images at once; changes the speed, not the images. (default: the backbone's)", min=1
    )
    unconditional: Literal["positive", "negative"] | None = option(
        None, "Soft tokens in the unconditional half of CFG (paper Table 5). (default: positive, the protocol's)"
    )


@dataclass(frozen=True)
class Request:
    """What to evaluate."""

    benchmark: str
    backbone: str
    out: Path
    tokens: Path | None = None
    options: EvaluationOptions = field(default_factory=EvaluationOptions)
    shard: tuple[int, int] | None = None
    """(index, count), index from 0."""
    backbone_weights: Path | None = None
    """Folder of a variant of the backbone."""
    model: ModelOptions = field(default_factory=ModelOptions)
    """Of backbones of photographs."""


@dataclass(frozen=True)
class Plan:
    """A checked request, and all samples of its run."""

    request: Request
    benchmark: Benchmark
    backbone: Backbone
    variant: Variant | None
    manifest: Manifest
    samples: Sequence[Sample]

    def opened(self) -> Run:
        """The run's folder, with what a killed command of several processes left there; raises as `Run.acquire`."""
        out = self.request.out
        if (out / MANIFEST).exists():
            load_manifest(out).resumed(self.manifest, out)  # another run's parts are not ours to take
        adopt_parts(out)
        return Run.acquire(out, self.manifest)


def evaluate(request: Request, progress: Progress, processes: Processes = ALONE) -> dict[str, Any]:
    """Runs what is missing of an evaluation and returns its summary.

    Several processes share the samples, and the first one writes what one process alone would have.

    Raises:
        UserError: settings that make no sense, tokens of another backbone, a folder of another run.
        MissingError: weights or tokens are absent or damaged.
    """
    plan = planned(request)
    if processes.count > 1:
        _share(plan, processes, progress)
    return processes.on_first(lambda: _finish(plan, progress))


def planned(request: Request) -> Plan:
    """Checks a request; raises as `evaluate`."""
    check_options(request.options)
    check_options(request.model)
    check_offload(request.model, variant=request.backbone_weights is not None)
    benchmark: Benchmark = plugins.load("benchmarks", request.benchmark)
    backbone = configured(plugins.load("backbones", request.backbone), request.model)
    check_size(backbone, request.options.size)
    variant = read_variant(request.backbone_weights, backbone) if request.backbone_weights else None
    header = _checked_header(request, backbone, variant)
    spec = run_spec(request, benchmark, backbone, header, variant)
    prompts = benchmark.prompts(backbone.domain)
    samples = samples_of(spread(prompts, request.options.limit), spec.images_per_prompt)
    tokens = {k: v for k, v in header.training.items() if k != "backbone"} if header else None
    described = variant.describe() if variant else None
    limited = _is_limited(request, prompts)
    made = provenance(backbone.device())
    manifest = Manifest(spec, len(samples), limited, request.shard, tokens, described, (made,))
    return Plan(request, benchmark, backbone, variant, manifest, samples)


def _finish(plan: Plan, progress: Progress) -> dict[str, Any]:
    """All that is missing, by this process, and the summary."""
    shard = plan.request.shard
    mine = [s for s in plan.samples if shard is None or in_shard(s.id, *shard)]
    with plan.opened() as run:
        _run_model(run, plan, mine, progress)
        return score_run(run, plan.benchmark, mine, progress)


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
                if has_detector(plan.backbone.domain):
                    score_all(run, plan.benchmark, mine, progress)
        processes.gather(None)  # all have finished


def run_spec(
    request: Request,
    benchmark: Benchmark,
    backbone: Backbone,
    header: TokensHeader | None,
    variant: Variant | None,
) -> RunSpec:
    """The settings that the images depend on."""
    return RunSpec(
        benchmark=benchmark.name,
        domain=backbone.domain,
        backbone=backbone.name,
        weights=weights_hash(backbone, variant),
        guidance_scale=_or(request.options.guidance_scale, backbone.sampling.guidance_scale),
        steps=_or(request.options.steps, backbone.sampling.steps),
        size=_or(request.options.size, backbone.sampling.size),
        seed=request.options.seed,
        images_per_prompt=_or(request.options.images_per_prompt, benchmark.images_per_prompt),
        tokens=header.tokens_hash if header else None,
        unconditional=_unconditional(request, header),
        model=backbone.settings() if backbone.settings else None,
    )


def _unconditional(request: Request, header: TokensHeader | None) -> Polarity:
    """What is asked, or the protocol's; without tokens it is `positive` by name."""
    if request.options.unconditional or header is None:
        return request.options.unconditional or "positive"
    return unconditional_polarity(request.model.protocol, request.backbone, header.config.polarities)


def spread(prompts: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """`limit` prompts, evenly spaced, so that a limited run still meets every category."""
    if limit is None or limit >= len(prompts):
        return list(prompts)
    return [prompts[i * len(prompts) // limit] for i in range(limit)]


def samples_of(prompts: Sequence[Prompt], images_per_prompt: int) -> list[Sample]:
    """Every image of the run, in order."""
    return [Sample(prompt, index) for prompt in prompts for index in range(images_per_prompt)]


def score_run(run: Run, benchmark: Benchmark, samples: Sequence[Sample], progress: Progress) -> dict[str, Any]:
    """Scores what lacks a score, and writes the summary; raises as `score_all`."""
    from agsm_bench.score import measured, summarise

    score_all(run, benchmark, samples, progress)
    return summarise(run, benchmark, samples, measured(run, samples, progress))


def score_all(run: Run, benchmark: Benchmark, samples: Sequence[Sample], progress: Progress) -> None:
    """Scores what lacks a score.

    Raises:
        MissingError: the detector is absent; it says that the images are kept.
    """
    from agsm_bench.score import detector_of, score_by_detector

    try:
        detector = detector_of(run.manifest.spec.domain)
    except MissingError as error:
        kept = sum(1 for sample in samples if sample.id in run.records.images)
        raise MissingError(
            f"{error.message} Nothing is scored; {kept} images are made and kept in {run.folder / 'images'}.", error.fix
        ) from error
    for done, _ in enumerate(score_by_detector(run, benchmark, samples, detector), 1):
        progress("score", done, len(samples))


def _run_model(run: Run, plan: Plan, samples: Sequence[Sample], progress: Progress, measuring: bool = True) -> None:
    """All that needs the weights: the missing images, and what metrics measure of the model itself."""
    from agsm_bench.score import metrics_of

    request, backbone = plan.request, plan.backbone
    missing = list(run.missing(samples))
    metrics = metrics_of(backbone.domain) if measuring else []
    measures = [m.model for m in metrics if m.model and not m.model.is_there(run.folder)]
    if not missing and not measures:
        return
    from agsm_bench.diffusion.variants import load_denoiser

    denoiser, tokens = load_denoiser(backbone, plan.variant), _load_tokens(request, backbone)
    if missing:
        batch_size = request.options.batch_size or backbone.batch_size
        _generate(run, denoiser, tokens, batch_size, missing, len(samples), progress)
    for measure in measures:
        measure.write(run, denoiser, tokens, backbone.training_data(0, True), progress)


def _generate(
    run: Run,
    denoiser: Denoiser,
    tokens: SoftTokens | None,
    batch_size: int,
    missing: Sequence[Sample],
    total: int,
    progress: Progress,
) -> None:
    from agsm_bench.generate import generate

    negative = 1 if run.manifest.spec.unconditional == "negative" else None
    attached = tokens.attached(denoiser.pipe, unconditional_polarity=negative) if tokens else nullcontext()
    with attached:
        images = generate(denoiser, run.manifest.spec, missing, batch_size)
        for done, (sample, png) in enumerate(images, total - len(missing) + 1):
            run.add_image(sample, png)
            progress("generate", done, total)


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


def _checked_header(request: Request, backbone: Backbone, variant: Variant | None) -> TokensHeader | None:
    if request.tokens is None:
        if request.options.unconditional == "negative":
            raise UserError("--unconditional negative needs soft tokens.", "Add --tokens DIR.")
        return None
    header = read_header(request.tokens)
    if header.config.backbone != backbone.name:
        raise UserError(
            f"The soft tokens in {request.tokens} were trained on {header.config.backbone}, not on {backbone.name}.",
            f"Use --backbone {header.config.backbone}, or train tokens on {backbone.name}.",
        )
    trained_on = header.training.get("variant")
    if trained_on and trained_on["hash"] != (variant.hash if variant else None):
        raise UserError(
            f"The soft tokens in {request.tokens} were trained on a {trained_on['trainer']} variant.",
            "Add --backbone-weights with its folder; tokens trained on the plain backbone fit every variant.",
        )
    if request.options.unconditional == "negative" and header.config.polarities == 1:
        raise UserError("These soft tokens have no negative polarity.", "Leave out --unconditional negative.")
    return header


def _is_limited(request: Request, prompts: Sequence[Prompt]) -> bool:
    return request.options.limit is not None and request.options.limit < len(prompts)


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
