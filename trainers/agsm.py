"""Alignment-Guided Score Matching: psi+ and psi- trained on guided targets (the paper's method)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agsm_bench.contracts import Trainer, option

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Options:
    """Options of the AGSM objective."""

    gamma_positive: float = option(1.0, "Guidance scale gamma+ on matched pairs.", min=0)
    gamma_negative: float | None = option(
        None,
        "Guidance scale gamma- on mismatched pairs; 0 trains psi+ alone. (default: the backbone's)",
        min=0,
    )
    temperature: float = option(0.1, "Reward temperature; the paper's Algorithm 1 has none.", min=1e-6)
    reduction: Literal["mean", "sum"] = option(
        "mean", "Reward = minus the mean (released code) or the sum (paper) of squared errors."
    )


def objective(
    predictions: Tensor, ema_predictions: Tensor | None, target: Tensor, options: Options
) -> tuple[Tensor, dict[str, float]]:
    """Paper Algorithm 1, lines 8 to 12, with the released code's normalisation (method.md, steps 4 to 6).

    Args:
        predictions: [B, B, ...], image i under caption j: psi+ on the diagonal, psi- off it; carries the gradient.
        ema_predictions: the same with the EMA tokens, without gradient.
        target: [B, ...], eps (DDPM) or v (flow) of each image.
        options: its gamma_negative is a number.
    """
    import torch

    assert ema_predictions is not None
    assert options.gamma_negative is not None
    count = len(target)
    matched = torch.eye(count, dtype=torch.bool, device=target.device)
    weights = reward_weights(ema_predictions, target, options)
    mean = torch.einsum("ij,ij...->i...", weights, ema_predictions)
    guidance = ema_predictions - mean.unsqueeze(1)
    gamma = target.new_full((count, count), -options.gamma_negative).fill_diagonal_(options.gamma_positive)
    guided = target.unsqueeze(1) + _expand(gamma, guidance) * guidance
    errors = (predictions - guided.detach()).square().flatten(2).mean(-1)
    loss = errors[matched].mean()
    if options.gamma_negative > 0 and count > 1:
        loss = loss + errors[~matched].mean()
    diagnostics = {
        "weight_positive": weights[matched].mean().item(),
        "guidance_norm": guidance.flatten(2).square().mean(-1)[matched].sqrt().mean().item(),
    }
    return loss, diagnostics


def reward_weights(ema_predictions: Tensor, target: Tensor, options: Options) -> Tensor:
    """w_ij of Eq. 13: softmax over the captions j of the rewards of image i, [B, B]."""
    errors = (target.unsqueeze(1) - ema_predictions).square().flatten(2)
    rewards = -(errors.mean(-1) if options.reduction == "mean" else errors.sum(-1))
    return (rewards / options.temperature).softmax(dim=1)


def _expand(values: Tensor, like: Tensor) -> Tensor:
    return values.view(*values.shape, *[1] * (like.ndim - values.ndim))


TRAINER = Trainer(options=Options, objective=objective, polarities=2, uses_ema=True)
