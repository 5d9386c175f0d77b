"""FlowAlign: FlowEdit's path, held to the source by a term on its end points (Kim et al. 2025); MMDiTs.

From z = x, the source, with fresh noise eps at every step:

    q = (1 - sigma) x + sigma eps,   p = z + q - x
    v_p = v(p, source) + w [v(p, target) - v(p, source)],   v_q = v(q, source)
    z += (sigma' - sigma) (v_p - v_q) + zeta [(q - sigma v_q) - (p - sigma v_p)]

so CFG leads away from the source's prompt, not from the empty one. Upstream: github FlowAlign/FlowAlign, sd3_edit.py,
33 steps from pure noise on, w 7.5 by default.
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
class FlowAlignOptions:
    """Paper Appendix F."""

    steps: int = option(33, "Steps from noise to picture.", min=1)
    guidance_scale: float = option(13.5, "Scale w of CFG of the target.", min=0)
    zeta: float = option(0.01, "Weight of the term that holds to the source.", min=0)


def edit(predict: Predictor, batch: EditBatch, options: FlowAlignOptions) -> Tensor:
    """The target's latents."""
    from agsm_bench.editing.flow import sigmas_of, timestep_of

    source, target = predict.condition(batch.source, "source"), predict.condition(batch.target, "target")
    latents = batch.latents
    for sigma, following in pairwise(sigmas_of(predict.denoiser.pipe.scheduler, options.steps)):
        q = (1 - sigma) * batch.latents + sigma * batch.noise()
        p = latents + q - batch.latents
        away, toward, v_q = predict.each([p, p, q], timestep_of(sigma), [source, target, source])
        v_p = away + options.guidance_scale * (toward - away)
        held = (q - sigma * v_q) - (p - sigma * v_p)
        latents = latents + (following - sigma) * (v_p - v_q) + options.zeta * held
    return latents


EDITOR = Editor(
    family="mmdit",
    options=FlowAlignOptions,
    edit=edit,
    presets={"upstream": {"guidance_scale": 7.5}, "shapes": {"steps": 12, "guidance_scale": 4.0}},
)
