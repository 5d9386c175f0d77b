"""Stable Diffusion 3 medium: flow matching, joint attention, three text encoders; 1024 x 1024 photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agsm_bench.contracts import Sampling, TrainingDefaults
from agsm_bench.data.coco import CocoPairs
from agsm_bench.diffusion.photo import Family
from agsm_bench.model_options import ModelOptions
from agsm_bench.tokens.header import TokensConfig
from agsm_bench.weights import HubModel

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser

NAME = "sd3"
T5_LENGTH = 512
"""Tokens of the T5 part of the text, as released; diffusers' default is 256."""


def denoiser(pipe: Any, options: ModelOptions) -> Denoiser:
    """With the pipeline's own flow-matching Euler scheduler, as the paper."""
    from agsm_bench.diffusion.denoiser import MMDiTDenoiser

    return MMDiTDenoiser(pipe, T5_LENGTH)


FAMILY = Family(
    pipeline="StableDiffusion3Pipeline",
    network="transformer",
    denoiser=denoiser,
    default=HubModel(
        "stabilityai/stable-diffusion-3-medium-diffusers",
        gigabytes=15.5,
        gated=True,
        include=(
            *("*.json", "*.txt", "*.model", "*/diffusion_pytorch_model.safetensors", "*/model.safetensors"),
            "text_encoder_3/model-*.safetensors",
        ),
    ),
    has_t5=True,
)
BACKBONE = FAMILY.backbone(
    name=NAME,
    tokens=TokensConfig(backbone=NAME, placement="mmdit", dim=1536, layers=5),
    sampling=Sampling(size=1024, steps=28, guidance_scale=4.0),
    training=TrainingDefaults(steps=100_000, gamma_negative=0.1, denoising_weight=0.0, size=512),
    token_init="normal",
    training_data=CocoPairs,
    batch_size=4,
)
