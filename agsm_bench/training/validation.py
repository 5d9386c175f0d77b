"""The held-out denoising error of matched and mismatched pairs: the most sensitive measure of a token set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agsm_bench.contracts import TrainingData
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.text import CachedText
from agsm_bench.seeds import generator_for
from agsm_bench.tokens.attach import Attachment
from agsm_bench.training.pairs import Batch, load_batch, predict_pairs

GROUPS = 8
GROUP_SIZE = 4
TIMESTEPS = (300, 500, 700, 900)


@dataclass(frozen=True)
class ValidationSet:
    """Held-out pairs with fixed noises and timesteps, the same for every run of a backbone."""

    batches: tuple[Batch, ...]

    @staticmethod
    def load(denoiser: Denoiser, data: TrainingData, text: CachedText, groups: int = GROUPS) -> ValidationSet:
        """The first groups of four; those of a smaller set are also in a larger one."""
        indices = (range(g * GROUP_SIZE, (g + 1) * GROUP_SIZE) for g in range(groups))
        return ValidationSet(tuple(load_batch(data, group, denoiser, text) for group in indices))


@torch.no_grad()
def validate(denoiser: Denoiser, attachment: Attachment, data: ValidationSet) -> dict[str, float]:
    """With psi+ on every pair, as at sampling: mean squared errors of matched and mismatched pairs, their gap,
    and how often the matched caption has the least error of its image; without false negatives."""
    errors = torch.stack(
        [pair_errors(denoiser, attachment, batch, g, t) for g, batch in enumerate(data.batches) for t in TIMESTEPS]
    )
    matched = torch.eye(GROUP_SIZE, dtype=torch.bool).expand_as(errors)
    false = torch.stack([batch.false_negatives.cpu() for batch in data.batches for _ in TIMESTEPS])
    positive, negative = errors[matched].mean().item(), errors[~matched & ~false].mean().item()
    errors = errors.masked_fill(false, float("inf"))
    wins = (errors.argmin(-1) == torch.arange(GROUP_SIZE)).float().mean().item()
    return {"err_positive": positive, "err_negative": negative, "gap": negative - positive, "win_rate": wins}


@torch.no_grad()
def pair_errors(denoiser: Denoiser, attachment: Attachment | None, batch: Batch, group: int, timestep: int) -> Tensor:
    """Mean squared errors [B, B] of image i under caption j, psi+ on every pair, the noise the group's own."""
    noise = torch.randn(batch.latents.shape[1:], generator=generator_for("validation", group, timestep))
    noise = noise.to(batch.latents).expand_as(batch.latents)
    t = torch.full((len(batch.latents),), timestep, device=batch.latents.device)
    noised = denoiser.process.add_noise(batch.latents, noise, t)
    predictions = predict_pairs(denoiser, attachment, noised, t, batch.text, polarities=1)
    target = denoiser.process.target(batch.latents, noise)
    return (predictions - target.unsqueeze(1)).square().flatten(2).mean(-1).cpu()
