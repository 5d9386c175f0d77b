"""A checked request: the run's settings, its samples, and what judges them, all before anything expensive starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agsm_bench import plugins
from agsm_bench.benchmark import Benchmark
from agsm_bench.contracts import Backbone, check_options, check_size
from agsm_bench.editor import EditorChoice
from agsm_bench.editor_choice import chosen_editor, editing_of
from agsm_bench.errors import UserError, all_missing
from agsm_bench.manifest import MANIFEST, Manifest, load_manifest
from agsm_bench.model_options import check_offload, configured
from agsm_bench.protocol import Polarity, unconditional_polarity
from agsm_bench.provenance import provenance
from agsm_bench.request import Request
from agsm_bench.score import Judging, judging_of
from agsm_bench.store import Run
from agsm_bench.tokens.header import TokensHeader, read_header
from agsm_bench.types import Prompt, RunSpec, Sample
from agsm_bench.unigenbench.of_run import check_judge
from agsm_bench.union import adopt_parts
from agsm_bench.variant import Variant, read_variant, weights_hash


@dataclass(frozen=True)
class Plan:
    """A checked request, and all samples of its run."""

    request: Request
    benchmark: Benchmark
    backbone: Backbone
    variant: Variant | None
    editor: EditorChoice | None
    """Of a benchmark that edits."""
    judging: Judging | None
    """None where images alone are made."""
    manifest: Manifest
    samples: Sequence[Sample]

    def opened(self) -> Run:
        """The run's folder, with what a killed command of several processes left there; raises as `Run.acquire`."""
        out = self.request.out
        if (out / MANIFEST).exists():
            load_manifest(out).resumed(self.manifest, out)  # another run's parts are not ours to take
        adopt_parts(out)
        return Run.acquire(out, self.manifest)


def planned(request: Request) -> Plan:
    """Checks a request.

    Raises:
        UserError: settings that make no sense, tokens of another backbone.
        MissingError: weights, tokens, data or what the images are judged by are absent or damaged: all that is missing.
    """
    check_options(request.options)
    check_options(request.model)
    check_offload(request.model, variant=request.backbone_weights is not None)
    benchmark: Benchmark = plugins.load("benchmarks", request.benchmark)
    backbone = configured(plugins.load("backbones", request.backbone), request.model)
    check_size(backbone, request.options.size)
    check_judge(benchmark.name, backbone.domain, request.judge, images_alone=request.scoring.nothing)
    editor = chosen_editor(request, benchmark, backbone)
    with all_missing() as checking:
        with checking():
            judging = None if request.scoring.nothing else judging_of(benchmark, backbone.domain, request.scoring)
        with checking():
            variant = read_variant(request.backbone_weights, backbone) if request.backbone_weights else None
            header = _checked_header(request, backbone, variant)
            spec = run_spec(request, benchmark, backbone, header, variant, editor)
        with checking():
            prompts = benchmark.prompts(backbone.domain)
    samples = samples_of(spread(prompts, request.options.limit), spec.images_per_prompt)
    tokens = {k: v for k, v in header.training.items() if k != "backbone"} if header else None
    described = variant.describe() if variant else None
    limited = _is_limited(request, prompts)
    made = provenance(backbone.device())
    manifest = Manifest(spec, len(samples), limited, request.shard, tokens, described, (made,))
    return Plan(request, benchmark, backbone, variant, editor, judging, manifest, samples)


def run_spec(
    request: Request,
    benchmark: Benchmark,
    backbone: Backbone,
    header: TokensHeader | None,
    variant: Variant | None,
    editor: EditorChoice | None = None,
) -> RunSpec:
    """The settings that the images depend on."""
    sampling = editor.options if editor else backbone.sampling
    return RunSpec(
        benchmark=benchmark.name,
        domain=backbone.domain,
        backbone=backbone.name,
        weights=weights_hash(backbone, variant),
        guidance_scale=float(_or(request.options.guidance_scale, sampling.guidance_scale)),
        steps=_or(request.options.steps, sampling.steps),
        size=_or(request.options.size, backbone.sampling.size),
        seed=request.options.seed,
        images_per_prompt=_or(request.options.images_per_prompt, benchmark.images_per_prompt),
        tokens=header.tokens_hash if header else None,
        unconditional=_unconditional(request, header),
        model=backbone.settings() if backbone.settings else None,
        editing=editing_of(editor, request.editing, header is not None),
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
