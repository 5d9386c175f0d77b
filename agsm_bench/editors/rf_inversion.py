"""RF-Inversion: rectified flow to noise and back, both steered (Rout et al. 2024, Algorithms 1 and 2); MMDiTs.

With sigma from 0 (picture y0) to 1 (noise y1 ~ N(0, I)), u the network's velocity and t the way that is behind:

    forward   Y += dsigma [u + gamma ((y1 - Y) / (1 - t) - u)],   u under the empty prompt, t = sigma
    reverse   X += |dsigma| [v + eta ((y0 - X) / (1 - t) - v)],   v = -u under CFG, t = 1 - sigma

the reverse steered in its steps s <= step / steps < tau alone. Upstream: github LituRout/RF-Inversion, 28 steps, eta
0.9 until step 7; it runs on FLUX without CFG.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from agsm_bench.contracts import option
from agsm_bench.editor import Editor

if TYPE_CHECKING:
    from torch import Tensor

    from agsm_bench.editing.predictor import EditBatch, Predictor


@dataclass(frozen=True)
class RfInversionOptions:
    """Paper Appendix F, which leaves the number of steps open: upstream's."""

    steps: int = option(28, "Steps in each direction.", min=1)
    guidance_scale: float = option(13.5, "Scale of CFG of the target.", min=0)
    gamma: float = option(0.5, "How far the way to noise is drawn to one drawn at random, 0 to 1.", min=0, max=1)
    eta: float = option(0.9, "How far the way back is drawn to the picture, 0 to 1.", min=0, max=1)
    start: float = option(0.0, "Share s of the way back where that begins.", min=0, max=1)
    stop: float = option(0.25, "Share tau of the way back where that ends.", min=0, max=1)


def edit(predict: Predictor, batch: EditBatch, options: RfInversionOptions) -> Tensor:
    """The target's latents."""
    from agsm_bench.editing.flow import sigmas_of, timestep_of

    sigmas = sigmas_of(predict.denoiser.pipe.scheduler, options.steps)
    nothing = [""] * len(batch.target)
    toward = predict.condition(batch.target, "target")
    away = predict.condition(nothing, "target", unconditional=True)
    latents = invert(predict, batch, options, sigmas)
    for step, (sigma, following) in enumerate(pairwise(sigmas)):
        velocity = -predict.guided(latents, timestep_of(sigma), toward, away, options.guidance_scale)
        if options.start <= step / options.steps < options.stop:
            velocity = velocity + options.eta * ((batch.latents - latents) / sigma - velocity)
        latents = latents + (sigma - following) * velocity
    return latents


def invert(predict: Predictor, batch: EditBatch, options: RfInversionOptions, sigmas: list[float]) -> Tensor:
    """The noise that the picture becomes."""
    from agsm_bench.editing.flow import timestep_of

    source = predict.condition([""] * len(batch.source), "source")
    noise, latents = batch.noise(), batch.latents
    for sigma, following in pairwise(reversed(sigmas)):
        velocity = predict(latents, timestep_of(sigma), source)
        steered = velocity + options.gamma * ((noise - latents) / (1 - sigma) - velocity)
        latents = latents + (following - sigma) * steered
    return latents


EDITOR = Editor(
    family="mmdit",
    options=RfInversionOptions,
    edit=edit,
    presets={
        "upstream": {"guidance_scale": 1.0},
        "shapes": {"steps": 12, "guidance_scale": 4.0, "stop": 0.4},
    },
)
