"""Stable Diffusion XL: eps prediction, two text encoders, size conditions; 1024 x 1024 photographs."""

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

NAME = "sdxl"
UNET = ("unet/*",)
"""Files of a repository that are needed of a variant."""


def denoiser(pipe: Any, options: ModelOptions) -> Denoiser:
    """The paper samples with DDIM; the pipeline comes with another scheduler."""
    from diffusers import DDIMScheduler

    from agsm_bench.diffusion.denoiser import SDXLDenoiser

    # Stable Diffusion's own, which the settings of another scheduler may lack, and DDIM's defaults are not
    own = {"clip_sample": False, "set_alpha_to_one": False}
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **own)
    return SDXLDenoiser(pipe)


FAMILY = Family(
    pipeline="StableDiffusionXLPipeline",
    network="unet",
    denoiser=denoiser,
    default=HubModel(
        "stabilityai/stable-diffusion-xl-base-1.0",
        gigabytes=13.5,
        include=(
            *("*.json", "*.txt", "unet/diffusion_pytorch_model.safetensors"),
            *("text_encoder/model.safetensors", "text_encoder_2/model.safetensors"),
        ),
    ),
    # the pipeline's own overflows in half precision
    vae=HubModel(
        "madebyollin/sdxl-vae-fp16-fix", gigabytes=0.33, include=("*.json", "diffusion_pytorch_model.safetensors")
    ),
    variants={
        "dpo": HubModel("mhdang/dpo-sdxl-text2image-v1", gigabytes=10.3, include=UNET),
        "spo": HubModel("SPO-Diffusion-Models/SPO-SDXL_4k-p_10ep", gigabytes=5.14, include=UNET),
        "inpo": HubModel("JaydenLu666/InPO-SDXL", include=UNET),
    },
    # no watermark where its package happens to be there; zeroed null embeddings whatever the pipeline says
    fixed={"add_watermarker": False, "force_zeros_for_empty_prompt": True},
)
BACKBONE = FAMILY.backbone(
    name=NAME,
    tokens=TokensConfig(backbone=NAME, placement="unet", dim=2048),
    sampling=Sampling(size=1024, steps=30, guidance_scale=7.0),
    # the paper's gamma-; the released code's default is 0.1
    training=TrainingDefaults(
        steps=1_000, gamma_negative=1.0, denoising_weight=10.0, validate_every=100, beta=5000.0, size=512
    ),
    token_init="normal",
    training_data=CocoPairs,
    batch_size=4,
)
