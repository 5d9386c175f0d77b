"""MasaCtrl and PnP on SDXL's architecture."""

from __future__ import annotations

import pytest
import torch
from editing_tiny import Soft, batch_of, edited, exact, traces
from photo_tiny import tiny_sdxl
from test_editors_unet import OFF, ON, SHORTER, STEPS
from tokens_tiny import tokens_for

from agsm_bench.diffusion.denoiser import Denoiser, SDXLDenoiser
from agsm_bench.editing.ddim import Ddim
from agsm_bench.editing.predictor import Predictor


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Denoiser:
    """Transformers of several layers, and the first up block attends."""
    return exact(SDXLDenoiser(tiny_sdxl(tmp_path_factory.mktemp("sdxl"))))


@pytest.mark.parametrize(("name", "inversion"), [("masactrl", "ddim"), ("pnp", "direct")])
def test_sdxl(sdxl: Denoiser, name: str, inversion: str) -> None:
    tokens, before = tokens_for("unet", dim=64), traces(sdxl.network)
    ways = [(ON, None), (OFF, None), (ON, Soft(tokens, "both", 1)), (ON, Soft(tokens, "source"))]
    found = [edited(name, sdxl, soft=soft, inversion=inversion, **SHORTER, **way[name]) for way, soft in ways]
    assert traces(sdxl.network) == before
    for i, one in enumerate(found):
        assert one.shape == (2, 4, 8, 8)
        assert one.isfinite().all()
        assert all((one - other).abs().max() > 1e-4 for other in found[:i])


def test_sdxl_without_control_is_the_stock_pipeline(sdxl: Denoiser) -> None:
    """With its condition on the size, and zeros in place of the empty prompt that CFG leads away from."""
    batch = batch_of()
    found = edited("masactrl", sdxl, steps=STEPS, guidance_scale=3.0, start_step=STEPS)
    predict = Predictor(sdxl)
    text = predict.condition([""] * 2, "source")
    start = Ddim(sdxl.pipe.scheduler, STEPS).invert(batch.latents.double(), lambda z, t: predict(z, t, text))[0]
    stock = sdxl.pipe(
        list(batch.target),
        latents=start,
        num_inference_steps=STEPS,
        guidance_scale=3.0,
        height=16,
        width=16,
        output_type="latent",
    ).images
    assert torch.allclose(found, stock, atol=1e-5)
