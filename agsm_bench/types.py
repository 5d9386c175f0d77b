"""The plain data that every part of the bench exchanges. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

Domain = Literal["shapes", "photo"]
DOMAINS: tuple[Domain, ...] = ("shapes", "photo")


@dataclass(frozen=True)
class Prompt:
    """One prompt of a benchmark."""

    id: str
    """Unique in its benchmark; sorts in the benchmark's order, e.g. `00012`."""
    text: str
    tag: str = ""
    """The benchmark's category, e.g. `counting`."""
    requirement: Mapping[str, Any] = field(default_factory=dict)
    """What the benchmark asks of an image; GenEval: its metadata line."""


@dataclass(frozen=True)
class Sample:
    """One image to generate: the `index`-th of its prompt."""

    prompt: Prompt
    index: int

    @property
    def id(self) -> str:
        """Stable identity, `PROMPT/INDEX`; seeds and shards derive from it."""
        return f"{self.prompt.id}/{self.index:04d}"


@dataclass(frozen=True)
class Detection:
    """One object found in an image."""

    label: str
    """The class name."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels of the image, x to the right and y down."""
    score: float
    """Confidence in [0, 1]."""
    color: str | None = None
    """The colour name, where the detector or the colour classifier gave one."""
    mask: np.ndarray | None = field(default=None, compare=False, repr=False)
    """Boolean, height x width."""


@dataclass(frozen=True, slots=True)
class Score:
    """One metric's value for one sample; `value is None` means unscored, which is never zero."""

    sample_id: str
    metric: str
    value: float | None
    reason: str | None = None
    """Why it is unscored; of a score, the verdict's reason, or that its prompt was cut."""
    version: str = "1"
    """Of what judged it: a detector's version, or the hash of a model's weights."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that an image of a run depends on, besides its prompt and sample id."""

    benchmark: str
    domain: Domain
    backbone: str
    weights: str
    """Hash of the backbone's weights."""
    guidance_scale: float
    steps: int
    size: int
    """Side of the image in pixels."""
    seed: int
    images_per_prompt: int
    tokens: str | None = None
    """Hash of the soft tokens, None for the untouched backbone."""
    unconditional: Literal["positive", "negative"] = "positive"
    """The polarity of the soft tokens in the unconditional half of CFG (paper Table 5)."""
    model: Mapping[str, Any] | None = None
    """What images of photographs' backbones depend on besides the weights, e.g. dtype; None on shapes."""
    editing: Mapping[str, Any] | None = None
    """The editor of pictures that are there (`editor`), and its settings besides steps and scale; None: generated."""


@dataclass(frozen=True)
class Interval:
    """A mean with its percentile bootstrap interval."""

    value: float
    low: float
    """The lower end; nan, like `high`, where a single cluster leaves the spread unknown."""
    high: float
    n: int
    """Number of values."""
    clusters: int
    """Number of independent groups that were resampled (prompts, for GenEval)."""
    unscored: int = 0
    """Values that were expected but could not be scored; they are in neither the mean nor `n`."""
