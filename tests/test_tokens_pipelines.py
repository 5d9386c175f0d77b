"""Soft tokens in stock pipelines: classifier-free guidance, compared with sampling loops written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokens_tiny import by_hand, mmdit_by_hand, tiny_sd3, tiny_sd15, tokens_for, unet_by_hand
from torch import Tensor

from agsm_bench.errors import UserError

STEPS = 3


def _sample(pipe: Any, scale: float = 4.0, **more: Any) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    length = {"max_sequence_length": 6} if hasattr(pipe, "transformer") else {}
    out: Tensor = pipe(
        ["a red ball", "two cats"],
        guidance_scale=scale,
        num_inference_steps=STEPS,
        height=16,
        width=16,
        generator=generator,
        output_type="latent",
        **length,
        **more,
    ).images
    return out


def _guided(both: Tensor, scale: float) -> Tensor:
    unconditional, conditional = both.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def _noise(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def _sd15_by_hand(pipe: Any, tokens: Any, polarities: list[int]) -> Tensor:
    text, empty = pipe.encode_prompt(["a red ball", "two cats"], "cpu", 1, True)
    latents, context = _noise((2, 4, 8, 8)), torch.cat([empty, text])
    pipe.scheduler.set_timesteps(STEPS)
    for t in pipe.scheduler.timesteps:
        extra = by_hand(tokens, [float(t)] * 4, polarities)[:, 0]
        with unet_by_hand(pipe.unet, extra, tokens.config.apply):
            both = pipe.unet(torch.cat([latents] * 2), t, context).sample
        latents = pipe.scheduler.step(_guided(both, 4.0), t, latents).prev_sample
    return latents


@torch.no_grad()
def _sd3_by_hand(pipe: Any, tokens: Any, polarities: list[int]) -> Tensor:
    prompts = ["a red ball", "two cats"]
    text, empty, pooled, empty_pooled = pipe.encode_prompt(prompts, None, None, device="cpu", max_sequence_length=6)
    latents = _noise((2, 4, 8, 8))
    pipe.scheduler.set_timesteps(STEPS)
    for t in pipe.scheduler.timesteps:
        both = mmdit_by_hand(
            pipe.transformer,
            by_hand(tokens, [float(t)] * 4, polarities),
            torch.cat([latents] * 2),
            torch.cat([empty, text]),
            torch.cat([empty_pooled, pooled]),
            t.expand(4),
        )
        latents = pipe.scheduler.step(_guided(both, 4.0), t, latents).prev_sample
    return latents


BACKBONES = [("unet", tiny_sd15, _sd15_by_hand), ("mmdit", tiny_sd3, _sd3_by_hand)]


@pytest.mark.parametrize(("placement", "build", "reference"), BACKBONES)
@pytest.mark.parametrize(
    ("settings", "polarities"),
    [
        ({}, [0, 0, 0, 0]),
        ({"polarity": 1}, [1, 1, 1, 1]),
        ({"unconditional_polarity": 1}, [1, 1, 0, 0]),
        ({"polarity": torch.tensor([1, 0, 0, 1])}, [1, 0, 0, 1]),
    ],
)
def test_guided_sampling_equals_a_loop_by_hand(
    placement: str, build: Any, reference: Any, settings: Any, polarities: list[int], tmp_path: Path
) -> None:
    pipe, tokens = build(tmp_path), tokens_for(placement)
    plain = _sample(pipe)
    with tokens.attached(pipe, **settings):
        ours = _sample(pipe)
    expected = reference(pipe, tokens, polarities)
    size = expected.abs().max()
    assert torch.allclose(ours / size, expected / size, atol=1e-5)
    assert (ours - plain).abs().max() > 1e-3
    assert torch.equal(_sample(pipe), plain)


@pytest.mark.parametrize(("placement", "build", "_"), BACKBONES)
def test_without_guidance_every_row_is_conditional(placement: str, build: Any, _: Any, tmp_path: Path) -> None:
    pipe, tokens = build(tmp_path), tokens_for(placement)
    with tokens.attached(pipe):
        expected = _sample(pipe, scale=1.0)
    with tokens.attached(pipe, unconditional_polarity=1):
        assert torch.equal(_sample(pipe, scale=1.0), expected)


def test_skip_layer_guidance_runs_conditional_rows_alone(tmp_path: Path) -> None:
    pipe, tokens = tiny_sd3(tmp_path), tokens_for("mmdit")
    seen: list[Tensor] = []
    tokens.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    skip: dict[str, Any] = {
        "skip_guidance_layers": [1],
        "skip_layer_guidance_start": -1.0,
        "skip_layer_guidance_stop": 1.0,
    }
    with tokens.attached(pipe, unconditional_polarity=1):
        _sample(pipe, **skip)
    assert [rows.tolist() for rows in seen] == [[1, 1, 0, 0], [0, 0]] * STEPS


def test_one_polarity_has_no_unconditional_one(tmp_path: Path) -> None:
    pipe, tokens = tiny_sd15(tmp_path), tokens_for("unet", polarities=1)
    with pytest.raises(UserError, match="one polarity"), tokens.attached(pipe, unconditional_polarity=1):
        pass
    rows = torch.tensor([0, 0, 0, 0])
    with pytest.raises(UserError), tokens_for("unet").attached(pipe, polarity=rows, unconditional_polarity=1):
        pass
