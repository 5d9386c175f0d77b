"""Three lines for stock pipelines: also with a LoRA loaded, another scheduler, or from an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoPipelineForImage2Image, EulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler
from peft import LoraConfig
from photo_tiny import MAKERS, SIZE
from PIL import Image
from tokens_tiny import by_hand, mmdit_by_hand, unet_by_hand
from torch import Tensor

from agsm_bench import SoftTokens
from agsm_bench.tokens import TokensConfig

NAMES = tuple(MAKERS)


@pytest.fixture(params=NAMES)
def pipe(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    pipeline = MAKERS[request.param](tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def network_of(pipe: Any) -> Any:
    return pipe.transformer if hasattr(pipe, "transformer") else pipe.unet


def fitting(pipe: Any) -> SoftTokens:
    """Random tokens, large enough to matter."""
    config = network_of(pipe).config
    if hasattr(pipe, "transformer"):
        shape = TokensConfig(backbone="tiny", placement="mmdit", dim=config.caption_projection_dim, layers=2)
    else:
        shape = TokensConfig(backbone="tiny", placement="unet", dim=config.cross_attention_dim)
    tokens = SoftTokens.initialise(shape, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in tokens.parameters():
            parameter.mul_(50)
    return tokens


def latents(pipe: Any, **more: Any) -> Tensor:
    """What a pipeline makes of a prompt, without its VAE."""
    settings: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 4.0, "output_type": "latent"}
    if "image" not in more:
        settings |= {"height": SIZE, "width": SIZE}
    if hasattr(pipe, "transformer"):
        settings["max_sequence_length"] = 8
    images: Tensor = pipe("red", generator=torch.Generator().manual_seed(0), **settings | more).images
    return images


@contextmanager
def attached_by_hand(pipe: Any, tokens: SoftTokens) -> Iterator[None]:
    """psi+ in every forward of the pipeline's network, through the forwards of `tokens_tiny`."""
    network = network_of(pipe)
    original = network.forward

    def unet(sample: Tensor, t: Tensor, *arguments: Any, **more: Any) -> Any:
        extra = by_hand(tokens, [float(t)] * len(sample), [0] * len(sample))[:, 0]
        with unet_by_hand(network, extra, tokens.config.apply):
            return original(sample, t, *arguments, **more)

    def mmdit(
        hidden_states: Tensor, encoder_hidden_states: Tensor, pooled_projections: Tensor, timestep: Tensor, **_: Any
    ) -> Any:
        extra = by_hand(tokens, timestep.tolist(), [0] * len(timestep))
        return (mmdit_by_hand(network, extra, hidden_states, encoder_hidden_states, pooled_projections, timestep),)

    network.forward = mmdit if hasattr(pipe, "transformer") else unet
    try:
        yield
    finally:
        del network.forward


@torch.no_grad()
def check(pipe: Any, **more: Any) -> None:
    """Attached tokens are those of the reference, do something, and leave nothing behind."""
    tokens = fitting(pipe)
    plain = latents(pipe, **more)
    with tokens.attached(pipe):
        ours = latents(pipe, **more)
    with attached_by_hand(pipe, tokens):
        expected = latents(pipe, **more)
    size = expected.abs().max()
    torch.testing.assert_close(ours / size, expected / size, atol=1e-5, rtol=0)
    assert (ours - plain).abs().max() > 1e-3 * size
    assert torch.equal(latents(pipe, **more), plain)


def test_a_stock_pipeline(pipe: Any) -> None:
    check(pipe)


def test_the_three_lines_make_a_picture(pipe: Any) -> None:
    tokens = fitting(pipe)
    with tokens.attached(pipe):
        image = pipe("red", num_inference_steps=2, height=SIZE, width=SIZE).images[0]
    assert image.size == (SIZE, SIZE)


def test_another_scheduler(pipe: Any) -> None:
    """Euler's timesteps are no whole numbers; Heun's come twice."""
    kind = FlowMatchHeunDiscreteScheduler if hasattr(pipe, "transformer") else EulerDiscreteScheduler
    pipe.scheduler = kind.from_config(pipe.scheduler.config)
    check(pipe)


def test_from_an_image(pipe: Any) -> None:
    """The pipeline shares its network with the one it is made of."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    from_image = AutoPipelineForImage2Image.from_pipe(pipe)
    from_image.set_progress_bar_config(disable=True)
    check(from_image, image=Image.fromarray(pixels), strength=0.7)


def test_with_a_lora_loaded(pipe: Any, tmp_path: Path) -> None:
    """As an adapter beside the weights, and fused into them."""
    network, tokens = network_of(pipe), fitting(pipe)
    torch.manual_seed(0)
    network.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k"], init_lora_weights=False))
    from peft import get_peft_model_state_dict

    component = "transformer" if hasattr(pipe, "transformer") else "unet"
    pipe.save_lora_weights(tmp_path / "lora", **{f"{component}_lora_layers": get_peft_model_state_dict(network)})
    network.unload_lora()
    with torch.no_grad(), tokens.attached(pipe):
        without = latents(pipe)
    pipe.load_lora_weights(tmp_path / "lora")
    check(pipe)
    with torch.no_grad(), tokens.attached(pipe):
        beside = latents(pipe)
        pipe.fuse_lora()
        fused = latents(pipe)
    size = beside.abs().max()
    torch.testing.assert_close(fused / size, beside / size, atol=1e-4, rtol=0)
    assert (beside - without).abs().max() > 1e-3 * size


def test_attaching_to_the_bare_network_is_the_same(pipe: Any) -> None:
    tokens = fitting(pipe)
    with torch.no_grad():
        with tokens.attached(pipe):
            through_pipeline = latents(pipe)
        with tokens.attached(network_of(pipe)):
            assert torch.equal(latents(pipe), through_pipeline)
