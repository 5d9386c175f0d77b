"""Stable Diffusion 1.5: eps prediction, cross attention; 512 x 512 photographs."""

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

NAME = "sd15"
UNET = ("unet/*",)
"""Files of a repository that are needed of a variant."""


def denoiser(pipe: Any, options: ModelOptions) -> Denoiser:
    """The paper samples with DDIM; the pipeline comes with another scheduler."""
    from diffusers import DDIMScheduler

    from agsm_bench.diffusion.denoiser import UNetDenoiser

    # Stable Diffusion's own, which the settings of another scheduler may lack, and DDIM's defaults are not
    own = {"clip_sample": False, "set_alpha_to_one": False}
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **own)
    return UNetDenoiser(pipe)


FAMILY = Family(
    pipeline="StableDiffusionPipeline",
    network="unet",
    denoiser=denoiser,
    default=HubModel(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        gigabytes=4.3,
        include=(
            *("*.json", "*.txt", "unet/diffusion_pytorch_model.safetensors"),
            *("vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"),
        ),
    ),
    variants={
        "dpo": HubModel("mhdang/dpo-sd1.5-text2image-v1", gigabytes=3.44, include=UNET),
        "spo": HubModel("SPO-Diffusion-Models/SPO-SD-v1-5_4k-p_10ep", gigabytes=1.72, include=UNET),
        "inpo": HubModel("JaydenLu666/InPO-SD1.5", include=UNET),
    },
    # without it no image is blacked out; the feature extractor is the checker's
    fixed={"safety_checker": None, "requires_safety_checker": False, "feature_extractor": None},
)
BACKBONE = FAMILY.backbone(
    name=NAME,
    tokens=TokensConfig(backbone=NAME, placement="unet", dim=768),
    sampling=Sampling(size=512, steps=30, guidance_scale=7.0),
    training=TrainingDefaults(steps=100_000, gamma_negative=1.0, denoising_weight=10.0, size=512),
    token_init="empty",
    training_data=CocoPairs,
    batch_size=8,
)
