"""FlowEdit: no inversion; the difference of two velocities leads from picture to picture (Kulikov et al. 2024); MMDiTs.

From the source x, for the last `n_max` of the steps but the very last `n_min`, with fresh noise eps at every step:

    z_s = (1 - sigma) x + sigma eps,   z_t = z + z_s - x
    z += (sigma' - sigma) [v_target(z_t) - v_source(z_s)]

each velocity with CFG of its own scale, averaged over `averages` draws of eps. The last `n_min` steps then sample
plainly from z_t under the target's prompt. Upstream: github fallenshock/FlowEdit (Algorithm 1). The released copy in
SoftREPA's code scales the target's CFG by w + 1; here it is w.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from agsm_bench.contracts import option
from agsm_bench.editor import Editor

if TYPE_CHECKING:
    from torch import Tensor

    from agsm_bench.editing.predictor import Condition, EditBatch, Predictor


@dataclass(frozen=True)
class FlowEditOptions:
    """Paper Appendix F, and upstream's for SD3: the same."""

    steps: int = option(50, "Steps from noise to picture.", min=1)
    n_max: int = option(33, "Last steps that are taken.", min=0)
    n_min: int = option(0, "Last steps that sample plainly.", min=0)
    averages: int = option(1, "Draws of noise a step.", min=1)
    guidance_scale: float = option(13.5, "Scale of CFG of the target.", min=0)
    source_guidance_scale: float = option(3.5, "Scale of CFG of the source.", min=0)


def edit(predict: Predictor, batch: EditBatch, options: FlowEditOptions) -> Tensor:
    """The target's latents."""
    from agsm_bench.editing.flow import sigmas_of, timestep_of

    sigmas = sigmas_of(predict.denoiser.pipe.scheduler, options.steps)
    levels = list(pairwise(sigmas))[max(0, options.steps - options.n_max) :]
    plain = min(options.n_min, len(levels))
    texts = _texts(predict, batch)
    latents = batch.latents
    for sigma, following in levels[: len(levels) - plain]:
        moves = [_difference(predict, batch, texts, latents, sigma, options) for _ in range(options.averages)]
        latents = latents + (following - sigma) * sum(moves) / options.averages
    if plain:
        sigma = levels[-plain][0]
        latents = latents + sigma * (batch.noise() - batch.latents)
    for sigma, following in levels[len(levels) - plain :]:
        velocity = predict.guided(latents, timestep_of(sigma), texts[2], texts[3], options.guidance_scale)
        latents = latents + (following - sigma) * velocity
    return latents


def _texts(predict: Predictor, batch: EditBatch) -> tuple[Condition, Condition, Condition, Condition]:
    """Source, its empty prompt, target, its empty prompt."""
    nothing = [""] * len(batch.target)
    return (
        predict.condition(batch.source, "source"),
        predict.condition(nothing, "source", unconditional=True),
        predict.condition(batch.target, "target"),
        predict.condition(nothing, "target", unconditional=True),
    )


def _difference(
    predict: Predictor,
    batch: EditBatch,
    texts: tuple[Condition, Condition, Condition, Condition],
    latents: Tensor,
    sigma: float,
    options: FlowEditOptions,
) -> Tensor:
    """v_target(z_t) - v_source(z_s)."""
    from agsm_bench.editing.flow import timestep_of

    source, source_empty, target, target_empty = texts
    noised = (1 - sigma) * batch.latents + sigma * batch.noise()
    own = latents + noised - batch.latents
    parts = predict.each([own, own, noised, noised], timestep_of(sigma), [target_empty, target, source_empty, source])
    towards = parts[0] + options.guidance_scale * (parts[1] - parts[0])
    return towards - (parts[2] + options.source_guidance_scale * (parts[3] - parts[2]))


EDITOR = Editor(
    family="mmdit",
    options=FlowEditOptions,
    edit=edit,
    presets={
        "upstream": {},
        "shapes": {"steps": 16, "n_max": 11, "guidance_scale": 6.0, "source_guidance_scale": 2.0},
    },
)
