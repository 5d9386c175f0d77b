"""What to evaluate, as a user asks for it: settings, tokens, an editor, and what images are scored by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agsm_bench.contracts import option
from agsm_bench.editor import Preset
from agsm_bench.model_options import ModelOptions
from agsm_bench.unigenbench.options import JudgeOptions


@dataclass(frozen=True)
class EvaluationOptions:
    """Settings with a flag each; None means the backbone's, the editor's or the benchmark's default."""

    limit: int | None = option(None, "Only so many prompts, spread over the benchmark; stamped as limited.", min=1)
    images_per_prompt: int | None = option(None, "Images a prompt. (default: the benchmark's)", min=1)
    guidance_scale: float | None = option(None, "Scale of CFG. (default: the backbone's, or the editor's)", min=0)
    steps: int | None = option(None, "Sampling steps. (default: the backbone's, or the editor's)", min=1)
    size: int | None = option(None, "Side of the images in pixels. (default: the backbone's)", min=8)
    seed: int = option(0, "Seed of all samples' noise.", min=0)
    batch_size: int | None = option(
        None, "Images at once; changes the speed, not the images. (default: the backbone's)", min=1
    )
    unconditional: Literal["positive", "negative"] | None = option(
        None, "Soft tokens in the unconditional half of CFG (paper Table 5). (default: positive, the protocol's)"
    )


@dataclass(frozen=True)
class Editing:
    """Which editor, and how; None means its default."""

    editor: str | None = None
    """By name; None: masactrl of a UNet, flowedit of an MMDiT."""
    inversion: str | None = None
    """`ddim` or `direct`, of editors that have the choice."""
    preset: Preset | None = None
    tokens_on: Literal["both", "target", "source"] = "both"
    """The branches with soft tokens. Both: as the released code plugs them into the denoiser."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other options of the editor, as values or as typed."""

    @property
    def asked(self) -> bool:
        """Whether it says anything."""
        return self != Editing()


@dataclass(frozen=True)
class Scoring:
    """What images are scored by."""

    metrics: tuple[str, ...] | None = None
    """Metrics of images in place of the benchmark's, by full name; None: the benchmark's."""
    nothing: bool = False
    """Images alone are made, to be scored later."""
    weights: Mapping[str, Path] = field(default_factory=dict)
    """In place of the caches, by the name of a metric or detector."""
    detector: str | None = None
    """By name; None: the domain's."""
    device: str | None = None
    """Torch's name of it; None: CUDA where there is any, and the CPU for shapes."""
    batch_size: int = 32
    """Images at once."""


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
    editing: Editing = field(default_factory=Editing)
    """Of benchmarks that edit."""
    scoring: Scoring = field(default_factory=Scoring)
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    """Of UniGenBench++ on photographs: nobody is asked without a `judge_url`."""
