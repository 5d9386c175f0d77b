"""Alignment-Guided Score Matching: psi+ and psi- trained on guided targets (the paper's method)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agsm_bench.contracts import PLAIN_PAIRS, Backbone, PairInfo, Trainer, option
from agsm_bench.errors import UserError
from agsm_bench.training import guided

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Options(guided.DualOptions):
    """Options of the AGSM objective."""

    negative_guidance: Literal["surrogate", "bayes"] = option(
        "surrogate", "On mismatched pairs: the paper's inverse weighting, or Bayes' p(z=0) (Appendix A, Eq. 21)."
    )
    guidance_coefficient: Literal["one", "ddpm"] = option(
        "one",
        "A~(t) of the guidance: 1 as in the paper's experiments, or Eq. 15's with lambda_t = 1 (eps backbones only). "
        "The reward, Eq. 14, stays as it is.",
    )


def objective(
    predictions: Tensor,
    ema_predictions: Tensor | None,
    target: Tensor,
    options: Options,
    info: PairInfo = PLAIN_PAIRS,
) -> tuple[Tensor, dict[str, float]]:
    """Paper Algorithm 1, lines 8 to 12, with the released code's normalisation (method.md, steps 4 to 6).

    Args:
        predictions: [B, B, ...], image i under caption j: psi+ on the diagonal, psi- off it; carries the gradient.
        ema_predictions: the same with the EMA tokens, without gradient.
        target: [B, ...], eps (DDPM) or v (flow) of each image.
        options: its gamma_negative is a number.
        info: excluded pairs are no candidates and train nothing.
    """
    assert ema_predictions is not None
    reward = guided.rewards(ema_predictions, target, options, info)
    guidance = guided.plackett_luce(ema_predictions, reward)
    if options.negative_guidance == "bayes":
        guidance = bayes(ema_predictions, reward, guidance)
    if options.guidance_coefficient == "ddpm":
        guidance = guidance * info.guidance_coefficient
    loss = guided.guided_loss(predictions, target, guidance, options.gammas(), info)
    return loss, guided.diagnostics(reward, guidance)


def bayes(ema_predictions: Tensor, reward: Tensor, surrogate: Tensor) -> Tensor:
    """Eq. 21's guidance off the diagonal, [B, B, ...], and the surrogate's, Eq. 23, on it.

    Eq. 21 has w_ij / (1 - w_ij) times the surrogate. That is w_ij times e_ij minus the mean of the other candidates,
    which stays finite where w_ij rounds to 1.
    """
    import torch

    own = torch.eye(len(reward), dtype=torch.bool, device=reward.device)
    others = reward.unsqueeze(1).masked_fill(own, -float("inf")).softmax(dim=-1)
    rivals = torch.einsum("ijk,ik...->ij...", others, ema_predictions)
    guidance = guided.expand(reward.softmax(dim=1), surrogate) * (ema_predictions - rivals)
    return torch.where(guided.expand(own, surrogate), surrogate, guidance)


def check(options: Options, backbone: Backbone) -> None:
    """Raises UserError for options that the backbone has no use for."""
    if options.guidance_coefficient == "ddpm" and backbone.tokens.placement == "mmdit":
        raise UserError(
            f"--guidance-coefficient ddpm is for backbones that predict eps; {backbone.name} predicts a velocity.",
            "Leave it out, or use a UNet backbone.",
        )


TRAINER = Trainer(options=Options, objective=objective, polarities=2, uses_ema=True, check=check)
