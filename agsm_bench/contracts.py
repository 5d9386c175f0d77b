"""What a plugin file exposes. Nothing here imports torch: `--help` and `list` read plugins through these."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args, get_origin, get_type_hints

from agsm_bench.types import Domain, Sample

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from agsm_bench.diffusion.denoiser import Denoiser
    from agsm_bench.diffusion.image_encoder import ImageEncoder
    from agsm_bench.model_options import ModelOptions
    from agsm_bench.stats import Interval
    from agsm_bench.store import Run
    from agsm_bench.tokens.header import TokensConfig
    from agsm_bench.tokens.soft_tokens import SoftTokens
    from agsm_bench.weights import Part


def option(default: Any, help: str, **limits: float) -> Any:
    """A field of an options dataclass: its default, its line in `--help`, and its bounds `min` and `max`."""
    return field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True)
class PairInfo:
    """What an objective is told of a step's pairs besides their predictions."""

    excluded: Tensor | None = None
    """bool [B, B]: mismatched pairs to leave out, as their caption is true of the image; None: no pair."""
    guidance_coefficient: float = 1.0
    """A~(t) of paper Eq. 15 with lambda_t = 1, at the step's timestep."""


PLAIN_PAIRS = PairInfo()

Objective = Callable[["Tensor", "Tensor | None", "Tensor", Any, PairInfo], "tuple[Tensor, dict[str, float]]"]
"""(predictions [B, B, ...], EMA predictions alike or None, targets [B, ...], options, info) -> (loss, diagnostics).

Row i is the image, column j the caption; the diagonal holds the matched pairs.
"""


@dataclass(frozen=True)
class Trainer:
    """TRAINER of a file in `trainers/`."""

    options: type
    """Frozen dataclass of the objective's own options, each field made by `option`."""
    objective: Objective
    polarities: Literal[1, 2]
    """2: psi+ on matched and psi- on mismatched pairs. 1: one set of tokens on all."""
    uses_ema: bool
    """Whether the objective reads the EMA tokens' predictions."""
    check: Callable[[Any, Backbone], None] = lambda options, backbone: None
    """Raises UserError for resolved options that the backbone has no use for."""


PreferenceObjective = Callable[["Tensor", "Tensor", "Tensor", Any], "tuple[Tensor, dict[str, float]]"]
"""(predictions [2, B, ...], those of the reference, targets [2, B, ...], options) -> (loss, diagnostics).

Index 0 is the preferred image of each of the B pairs, 1 the rejected one.
"""


@dataclass(frozen=True)
class PreferenceTrainer:
    """TRAINER of a file in `trainers/` that fine-tunes the backbone on pairs of images, not soft tokens."""

    options: type
    """Frozen dataclass of the objective's own options, each field made by `option`."""
    objective: PreferenceObjective


@dataclass(frozen=True)
class Sampling:
    """How the paper samples from a backbone (method.md, Sampling)."""

    size: int
    """Side of the image in pixels."""
    steps: int
    guidance_scale: float


@dataclass(frozen=True)
class TrainingDefaults:
    """Per-backbone values of the training options (paper Table 11)."""

    steps: int
    gamma_negative: float
    denoising_weight: float
    """SoftREPA's weight of the plain denoising error (released: SD3 0, SD1.5 and SDXL 10)."""
    learning_rate: float = 1e-3
    ema_decay: float = 0.9999
    validate_every: int = 1000
    preference_learning_rate: float = 1e-4
    """Of the trainers that fine-tune the backbone."""
    beta: float = 2000.0
    """Diffusion-DPO's beta (released: SD1.5 2000, SDXL 5000)."""
    size: int | None = None
    """Side of the training images in pixels (released: 512 for every backbone); None: the world has one size."""


class TrainingData(Protocol):
    """Image and caption pairs by index, so that a resumed run sees what an unbroken one would."""

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """uint8 picture [h, w, 3] and a caption."""
        ...

    def caption(self, index: int) -> str:
        """The caption of `item`, without the work of its picture."""
        ...

    def picture_key(self, index: int) -> str | None:
        """What the picture's latents are kept under: equal pictures have equal keys. None: it is drawn, not read."""
        ...

    def version(self) -> str | None:
        """Hash of what is read; None: it is drawn."""
        ...

    def false_negatives(self, indices: Sequence[int]) -> np.ndarray:
        """bool [n, n]: whether the caption of item j is true of the picture of item i all the same; False for i = j."""
        ...


@dataclass(frozen=True)
class Backbone:
    """BACKBONE of a file in `agsm_bench/backbones/`."""

    name: str
    domain: Domain
    tokens: TokensConfig
    """The paper's soft tokens for it; flags change single fields."""
    sampling: Sampling
    training: TrainingDefaults
    token_init: Literal["empty", "normal"]
    """`empty`: the BOS embedding of the empty prompt (SD1.5); `normal`: N(0, 0.02)."""
    weights: Callable[[], Path]
    """The folder with the weights; raises MissingError with the command that gets them."""
    load: Callable[[], Denoiser]
    training_data: Callable[..., TrainingData]
    """(seed, held out) -> the pairs that tokens are trained on, or the held-out ones for validation; of photographs
    with `size=`, their side in pixels."""
    weight_parts: Callable[[], Mapping[str, Sequence[Path]]] | None = None
    """The files that a result depends on, by component; None: all safetensors below `weights`. Raises as that does."""
    settings: Callable[[], Mapping[str, Any]] | None = None
    """What images depend on besides the weights, e.g. {"dtype": "float16"}, and what the weights are called."""
    named: Callable[[], Mapping[str, str]] | None = None
    """What its models are called, by component, whether they are on this machine or not: hub ids, folders, files."""
    load_encoder: Callable[[], ImageEncoder] | None = None
    """The VAE alone, as `load` has it; None where pictures are drawn, and their latents not kept."""
    batch_size: int = 32
    """Images at once, a choice of ours: it changes the speed and the memory, not the images."""
    device: Callable[[], str] = lambda: "cpu"
    """Where it runs, for a run's record."""
    survey: Callable[[], Sequence[Part]] | None = None
    """Every component of the model as it is on this machine, for `doctor`; None: as `weights` says."""
    configure: Callable[[Backbone, ModelOptions], Backbone] | None = None
    """This backbone with a user's `ModelOptions`; None where it takes none."""


Progress = Callable[[str, int, int], None]
"""(what is done, how many, of how many)."""


@dataclass(frozen=True)
class ModelMeasure:
    """What a metric needs of the model itself: measured by `eval` while the weights are there, kept in the run."""

    is_there: Callable[[Path], bool]
    """Whether a run's folder has it."""
    write: Callable[[Run, Denoiser, SoftTokens | None, TrainingData, Progress], None]
    """(run open for writing, the backbone, its tokens or None, held-out pairs, progress): writes it."""
    adopt: Callable[[Run, Sequence[Path]], None]
    """(run, its shards' folders): takes it over from those that have it; raises UserError where they differ."""


@dataclass(frozen=True)
class RunMetric:
    """METRIC of a file in `agsm_bench/metrics/` that measures a run as a whole (`metric.ImageMetric`: its images)."""

    domain: Domain
    """Of the runs that it measures."""
    better: Mapping[str, Literal["up", "down", "neither"]]
    """By name in summary.json."""
    measure: Callable[[Run, Sequence[Sample], Progress], dict[str, Interval]]
    """(run open for writing, its samples, progress) -> means or distances with intervals, by name in summary.json.

    Scores of single images are stored in the run. Nothing where the run lacks what the metric needs."""
    model: ModelMeasure | None = None
    """What `measure` reads of the run's folder that only the model can tell; None: images and scores are enough."""
    by_group: Callable[[Path], Mapping[str, Mapping[str, float]]] = lambda folder: {}
    """(run's folder) -> by metric, values of independent groups whose mean it is, for the comparison of two runs."""


def flag_of(name: str) -> str:
    """How an option is typed."""
    return "--" + name.replace("_", "-")


@cache
def hints_of(options: type) -> Mapping[str, Any]:
    """The types of a dataclass's fields; reading them from their text takes a millisecond."""
    return get_type_hints(options)


def check_options(options: Any, typed: Callable[[str], str] = flag_of) -> None:
    """Raises UserError for the first field outside its `Literal` or the bounds that its `option` states.

    `typed`: how a field is typed on the command line.
    """
    from agsm_bench.errors import UserError

    kind: type = type(options)
    hints = hints_of(kind)
    for item in fields(options):
        value, limits = getattr(options, item.name), item.metadata
        flag = typed(item.name)
        choices = get_args(hints[item.name]) if get_origin(hints[item.name]) is Literal else ()
        if choices and value not in choices:
            raise UserError(f"{flag} is {value!r}.", f"Use one of: {', '.join(map(str, choices))}.")
        if value is None or isinstance(value, bool | str):
            continue
        if value != value or value in (float("inf"), float("-inf")):
            raise UserError(f"{flag} is {value}.", "Use a finite number.")
        for bound, wrong in (("min", operator.lt), ("max", operator.gt)):
            if bound in limits and wrong(value, limits[bound]):
                word = "at least" if bound == "min" else "at most"
                raise UserError(f"{flag} is {value}.", f"Use {word} {limits[bound]:g}.")


def check_size(backbone: Backbone, size: int | None) -> None:
    """Raises UserError for a side that the latents of photographs, or pictures of the shapes world, cannot have."""
    from agsm_bench.errors import UserError

    own = backbone.sampling.size
    if backbone.domain == "shapes" and size not in (None, own):
        raise UserError(f"--size is {size}; {backbone.name} has pictures of one size, {own}.", "Leave it out.")
    step = 16 if backbone.tokens.placement == "mmdit" else 8
    if backbone.domain == "photo" and size and size % step:
        raise UserError(f"--size is {size}.", f"Use a multiple of {step}, e.g. {own}.")


def default_of(item: Any) -> Any:
    """A dataclass field's default, None where it has none."""
    return None if item.default is MISSING else item.default
