"""Miniature of SD1.5: eps prediction, cross attention; 24 x 24 pictures of coloured shapes, ships in the package."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agsm_bench.contracts import Backbone, Sampling, TrainingDefaults
from agsm_bench.shapes.shipped import weights_folder
from agsm_bench.tokens.header import TokensConfig

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser
    from agsm_bench.shapes.pairs import ShapesPairs

NAME = "shapes-unet"


def load() -> Denoiser:
    """The pipeline from the package, in float32 on the CPU."""
    from agsm_bench.diffusion.denoiser import UNetDenoiser
    from agsm_bench.diffusion.loading import load_pipeline

    pipe = load_pipeline("StableDiffusionPipeline", weights_folder(NAME))
    return UNetDenoiser(pipe)


def training_data(seed: int, held_out: bool) -> ShapesPairs:
    """The world's own pairs, without NumPy as long as nobody asks for them."""
    from agsm_bench.shapes.pairs import ShapesPairs

    return ShapesPairs(seed, held_out)


BACKBONE = Backbone(
    name=NAME,
    domain="shapes",
    tokens=TokensConfig(backbone=NAME, placement="unet", dim=128),
    sampling=Sampling(size=24, steps=16, guidance_scale=2.0),
    training=TrainingDefaults(
        steps=600,
        gamma_negative=1.0,
        denoising_weight=10.0,
        learning_rate=3e-3,
        ema_decay=0.99,
        validate_every=60,
        preference_learning_rate=3e-4,
    ),
    token_init="empty",
    weights=partial(weights_folder, NAME),
    load=load,
    training_data=training_data,
)
