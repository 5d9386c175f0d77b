"""Miniature of SD3: flow matching, joint attention; 24 x 24 pictures of coloured shapes, ships in the package."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from agsm_bench.contracts import Backbone, Sampling, TrainingDefaults
from agsm_bench.shapes.shipped import weights_folder
from agsm_bench.tokens.header import TokensConfig

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser
    from agsm_bench.shapes.pairs import ShapesPairs

NAME = "shapes-mmdit"


def load() -> Denoiser:
    """The pipeline from the package, in float32 on the CPU."""
    from agsm_bench.diffusion.denoiser import MMDiTDenoiser
    from agsm_bench.diffusion.loading import load_pipeline

    pipe = load_pipeline("StableDiffusion3Pipeline", weights_folder(NAME), text_encoder_3=None, tokenizer_3=None)
    return MMDiTDenoiser(pipe, t5_length=0)


def training_data(seed: int, held_out: bool) -> ShapesPairs:
    """The world's own pairs, without NumPy as long as nobody asks for them."""
    from agsm_bench.shapes.pairs import ShapesPairs

    return ShapesPairs(seed, held_out)


BACKBONE = Backbone(
    name=NAME,
    domain="shapes",
    tokens=TokensConfig(backbone=NAME, placement="mmdit", dim=128, layers=3),
    sampling=Sampling(size=24, steps=12, guidance_scale=2.0),
    training=TrainingDefaults(
        steps=600,
        gamma_negative=0.1,
        denoising_weight=0.0,
        learning_rate=3e-3,
        ema_decay=0.99,
        validate_every=60,
        preference_learning_rate=3e-4,
        # a velocity's errors are ten times those of a noise
        beta=200.0,
    ),
    token_init="normal",
    weights=partial(weights_folder, NAME),
    load=load,
    training_data=training_data,
)
