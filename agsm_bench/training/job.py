"""A training run's settings, and what the loop asks of whatever it trains."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from agsm_bench.contracts import Backbone, PreferenceTrainer, Trainer, TrainingData
from agsm_bench.training.config import LoopOptions, PreferenceOptions, TrainingOptions
from agsm_bench.training.preferences import Preferences
from agsm_bench.variant import Variant, weights_hash

if TYPE_CHECKING:
    from torch import Tensor, nn

    from agsm_bench.data.latents import Latents
    from agsm_bench.diffusion.denoiser import Denoiser

BESIDES = ("keep_every", "rows_per_backward", "gradient_checkpointing", "tracker")
"""Options that change what a run keeps on the way, how much memory it takes or who is told, not what it ends with."""
LATER = {"mixed_precision": "auto", "size": None, "accumulate": 1}
"""Options that came later, with the value at which they are left out: earlier runs are still found and go on."""
TrainerT = TypeVar("TrainerT", bound=Trainer | PreferenceTrainer)
OptionsT = TypeVar("OptionsT", bound=LoopOptions)


@dataclass(frozen=True)
class Job(Generic[TrainerT, OptionsT]):
    """One training run, every option resolved."""

    trainer_name: str
    trainer: TrainerT
    backbone: Backbone
    options: OptionsT
    objective_options: Any
    out: Path
    variant: Variant | None = None
    """Fine-tuned weights of the backbone that tokens are trained on."""
    preferences: Preferences | None = None
    """The pairs of a preference trainer."""
    latents: Latents | None = None
    """Of the pictures that tokens are trained on, as far as they are kept; they change no bit."""

    def pairs(self, held_out: bool) -> TrainingData:
        """The stream that tokens are trained on, or the held-out pairs, which are the same for every run."""
        sized = {"size": self.options.size} if self.options.size else {}
        return self.backbone.training_data(0 if held_out else self.options.seed, held_out, **sized)

    @cached_property
    def weights(self) -> str:
        """Hash of the backbone's weight files; takes as long as reading them."""
        return weights_hash(self.backbone)

    @cached_property
    def data(self) -> str | None:
        """Hash of what tokens are trained on; None: it is drawn, or they are the preference pairs."""
        return None if self.preferences else self.pairs(held_out=False).version()

    def describe(self) -> dict[str, Any]:
        """What the run's files say of it: the trainer, the backbone, every option, and the data's and weights' hash."""
        pairs = self.preferences
        return {
            "trainer": self.trainer_name,
            "backbone": self.backbone.name,
            **{k: v for k, v in asdict(self.options).items() if k not in BESIDES and LATER.get(k, ...) != v},
            "objective": asdict(self.objective_options),
            **({"variant": self.variant.describe()} if self.variant else {}),
            **({"model": self.backbone.settings(), "weights": self.weights} if self.backbone.settings else {}),
            **({"data": self.data} if self.data else {}),
            **({"preferences": pairs.hash, "pairs": pairs.describe()} if pairs else {}),
        }


TokenJob = Job[Trainer, TrainingOptions]
PreferenceJob = Job[PreferenceTrainer, PreferenceOptions]


class Task(Protocol):
    """What is trained, and on what loss."""

    denoiser: Denoiser

    @property
    def job(self) -> TokenJob | PreferenceJob: ...

    @property
    def trained(self) -> Mapping[str, nn.Parameter]:
        """The parameters that the optimiser changes."""
        ...

    @property
    def averaged(self) -> Mapping[str, Tensor]:
        """Their running averages, which a checkpoint needs too; empty for a task without."""
        ...

    def active(self) -> AbstractContextManager[None]:
        """Around all steps; leaves the backbone as it was."""
        ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of the `step`-th batch (from 0), with gradient, and what the log says of it."""
        ...

    def after_step(self) -> dict[str, float]:
        """Updates the averages; more for the log."""
        ...

    def validate(self) -> dict[str, float]:
        """A point of the validation curve; empty where nothing is held out."""
        ...

    def save(self) -> Path:
        """Writes the result into the run's folder; called inside `active`."""
        ...

    def resumed(self, step: int) -> None:
        """Called before the first step; raises UserError where what the options ask for is no longer to be had."""
        ...

    def keep(self, step: int) -> None:
        """Called after every step: keeps what a run of that length would save, if the options ask for it."""
        ...


def positive(value: float | None) -> float:
    """A resolved option."""
    assert value is not None, "options are resolved before training"
    return value
