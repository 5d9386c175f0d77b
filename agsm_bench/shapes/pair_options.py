"""Options of making preference pairs, and what the pairs depend on; reports read both without the detector."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from agsm_bench.contracts import Backbone, option
from agsm_bench.variant import weights_hash


@dataclass(frozen=True)
class PairOptions:
    """Options of making pairs."""

    pairs: int = option(500, "Pairs to train on.", min=1)
    held_out: int = option(32, "Pairs for the validation curve.", min=0)
    images: int = option(4, "Images of each caption; it needs a right and a wrong one.", min=2)
    seed: int = option(0, "Seed of captions and noise.", min=0)


@dataclass(frozen=True)
class PairRecipe:
    """What the pairs depend on, besides how many there are."""

    backbone: str
    weights: str
    size: int
    steps: int
    guidance_scale: float
    images: int
    """Images of each caption."""
    seed: int


def recipe_of(backbone: Backbone, options: PairOptions, weights: str | None = None) -> PairRecipe:
    """What the pairs of a backbone and these options depend on; `weights`: their hash where it is known."""
    sampling = asdict(backbone.sampling)
    return PairRecipe(
        backbone.name, weights or weights_hash(backbone), **sampling, images=options.images, seed=options.seed
    )
