"""DSPO: fine-tunes the backbone on the human-preferred score of the preferred images (Zhu et al., 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agsm_bench.contracts import PreferenceTrainer, option
from agsm_bench.training import implicit_reward

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Options:
    """Options of the DSPO objective."""

    reward_scale: float = option(
        0.001,
        "lambda of Eqs. 5 and 6, the same at every timestep (Diffusion-SDPO's code: 0.001, which with mean errors "
        "leaves next to nothing but fine-tuning on the preferred images).",
        min=0,
    )
    gamma: float = option(1.0, "Preference strength, gamma of Eq. 4.", min=0)


def objective(
    predictions: Tensor, references: Tensor, targets: Tensor, options: Options
) -> tuple[Tensor, dict[str, float]]:
    """Eq. 6, with Eq. 4's gamma: |eps_theta - eps - gamma lambda w (eps_theta - eps_ref)|^2 on the preferred images.

    The rejected ones count in w = 1 - sigmoid(r_w - r_l) only, through which no gradient flows.

    Args:
        predictions: [2, B, ...], preferred and rejected images; carries the gradient.
        references: the same from the untuned backbone, without gradient.
        targets: [2, B, ...], eps (DDPM) or v (flow).
        options: with a scale or gamma of 0 this is plain score matching.
    """
    import torch

    margin = implicit_reward.reward_margin(predictions.detach(), references, targets, options.reward_scale)
    weight = torch.sigmoid(-margin)
    strength = (options.gamma * options.reward_scale * weight).view(-1, *[1] * (targets.ndim - 2))
    residual = predictions[0] - targets[0] - strength * (predictions[0] - references[0])
    info = implicit_reward.diagnostics(predictions, references, targets, options.reward_scale)
    return residual.square().mean(), {"weight": weight.mean().item(), **info}


TRAINER = PreferenceTrainer(options=Options, objective=objective)
