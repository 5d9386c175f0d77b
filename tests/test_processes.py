"""The noise processes against their closed forms and against diffusers' schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from agsm_bench.diffusion.processes import DDPM, Flow

TIMESTEPS = torch.tensor([0, 1, 500, 998, 999])
SD15 = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def schedule() -> DDPMScheduler:
    """SD1.5's."""
    return DDPMScheduler(**SD15)


def pair(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Latents and noise, one row a timestep of TIMESTEPS."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, len(TIMESTEPS), 4, 3, 5, generator=generator, dtype=dtype)
    return latents, noise


def test_ddpm_adds_noise_row_by_row() -> None:
    """abar_t is the running product of 1 - beta, computed here from SD1.5's published betas."""
    latents, noise = pair(torch.float64)
    found = DDPM(schedule().alphas_cumprod).add_noise(latents, noise, TIMESTEPS)
    betas = [(0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * t / 999) ** 2 for t in range(1000)]
    for row, t in enumerate(TIMESTEPS.tolist()):
        abar = math.prod(1 - b for b in betas[: t + 1])
        expected = math.sqrt(abar) * latents[row] + math.sqrt(1 - abar) * noise[row]
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)  # the schedule is float32


def test_flow_adds_noise_row_by_row() -> None:
    latents, noise = pair(torch.float64)
    found = Flow().add_noise(latents, noise, TIMESTEPS)
    for row, t in enumerate(TIMESTEPS.tolist()):
        torch.testing.assert_close(found[row], (1 - t / 1000) * latents[row] + t / 1000 * noise[row])


def test_targets() -> None:
    latents, noise = pair()
    torch.testing.assert_close(DDPM(schedule().alphas_cumprod).target(latents, noise), noise, atol=0, rtol=0)
    torch.testing.assert_close(Flow().target(latents, noise), noise - latents, atol=0, rtol=0)


def test_the_flow_target_is_the_derivative_of_the_path() -> None:
    """v = d x_sigma / d sigma, which pins down its sign."""
    latents, noise = pair(torch.float64)
    start, end = (Flow().add_noise(latents, noise, torch.full_like(TIMESTEPS, t)) for t in (400, 600))
    torch.testing.assert_close((end - start) / 0.2, Flow().target(latents, noise))


def test_ddpm_agrees_with_diffusers() -> None:
    latents, noise = pair()
    scheduler = schedule()
    found = DDPM(scheduler.alphas_cumprod).add_noise(latents, noise, TIMESTEPS)
    torch.testing.assert_close(found, scheduler.add_noise(latents, noise, TIMESTEPS), atol=0, rtol=0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_agrees_with_diffusers(shift: float) -> None:
    """A scheduler's timestep is 1000 sigma whatever its shift (SD3: 3): the network is told the truth."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    timesteps = scheduler.timesteps[[0, 1, 500, 998, 999]]
    latents, noise = pair()
    expected = scheduler.scale_noise(latents, timesteps, noise)
    torch.testing.assert_close(Flow().add_noise(latents, noise, timesteps), expected)


def test_the_ends_of_both_paths() -> None:
    """t = 0 is nearly the image, t = 999 nearly the noise; flow reaches the image exactly."""
    latents, noise = pair()
    first, last = torch.zeros_like(TIMESTEPS), torch.full_like(TIMESTEPS, 999)
    assert torch.equal(Flow().add_noise(latents, noise, first), latents)
    for process in (Flow(), DDPM(schedule().alphas_cumprod)):
        assert (process.add_noise(latents, noise, first) - latents).abs().max() < 0.15
        assert (process.add_noise(latents, noise, last) - noise).abs().max() < 0.4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_latents_keep_their_dtype(dtype: torch.dtype) -> None:
    """DDPM to the bit as diffusers, which rounds abar itself in half precision; flow to half's rounding."""
    latents, noise = (x.to(dtype) for x in pair())
    scheduler = schedule()
    noised = DDPM(scheduler.alphas_cumprod).add_noise(latents, noise, TIMESTEPS)
    assert noised.dtype == dtype
    assert torch.equal(noised, scheduler.add_noise(latents, noise, TIMESTEPS))
    flow = Flow().add_noise(latents, noise, TIMESTEPS)
    assert flow.dtype == dtype
    exact = Flow().add_noise(latents.double(), noise.double(), TIMESTEPS)
    assert (flow.double() - exact).abs().max() < 8 * torch.finfo(dtype).eps


def test_rows_of_any_number_of_dimensions() -> None:
    for size in ((), (7,), (4, 3, 5, 2)):
        latents = torch.ones(2, *size)
        noised = Flow().add_noise(latents, torch.zeros_like(latents), torch.tensor([250, 750]))
        torch.testing.assert_close(noised, torch.stack([torch.full(size, 0.75), torch.full(size, 0.25)]))
