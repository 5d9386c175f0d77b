"""What the latents of COCO train2017 take, on the shapes of the full-size VAEs and on real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from agsm_bench.data.coco import CocoImage, picture_key
from agsm_bench.data.encode import HEADER, make_plan
from agsm_bench.data.latents import LatentsSpec, write
from agsm_bench.diffusion.image_encoder import ImageEncoder

COCO = [CocoImage(n, Path(), (), f"{n:064x}") for n in range(118_287)]
"""As many as train2017 has."""
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
SD3: dict[str, Any] = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
FULL = {"sd15": VAE | {"latent_channels": 4}, "sdxl": VAE | {"latent_channels": 4}, "sd3": VAE | SD3}
LIMITS = {"sd15": 0.02e12, "sdxl": 0.05e12, "sd3": 0.1e12}
"""Bytes that issue 4 allows."""


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("name", FULL)
def test_the_whole_of_coco_fits(name: str, dtype: str, tmp_path: Path) -> None:
    """Planned bytes against the limit, and measured bytes of a file of full-size latents against the planned ones."""
    type_ = getattr(torch, dtype)
    with torch.device("meta"):
        encoder = ImageEncoder(AutoencoderKL(**FULL[name]).to(type_), "meta")
        shape = encoder.means(torch.empty(1, 3, 512, 512)).shape[1:]
    plan = make_plan(encoder, LatentsSpec("0" * 64, dtype, 512), COCO)
    assert plan.shape == shape == ((16 if name == "sd3" else 4), 64, 64)
    assert plan.on_disk(len(COCO)) < LIMITS[name]
    few = plan.files["00000.safetensors"][:16]
    generator = torch.Generator().manual_seed(0)
    write(tmp_path / "few", {picture_key(i, 512): torch.randn(shape, generator=generator).to(type_) for i in few})
    measured = (tmp_path / "few").stat().st_size / len(few)
    assert plan.picture_bytes < measured <= plan.picture_bytes + HEADER
    assert measured * len(COCO) < LIMITS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd15", "sd3"])
def test_real_latents_of_the_full_size_vae(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(AutoencoderKL(**FULL[name]).eval(), "cpu")
    mean = encoder.mean(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)).half()
    write(tmp_path / "one", {"0" * 64 + "-512": mean})
    size = (tmp_path / "one").stat().st_size
    assert mean.isfinite().all()
    assert mean.nbytes < size <= mean.nbytes + HEADER
