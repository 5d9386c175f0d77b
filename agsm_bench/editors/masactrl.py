"""MasaCtrl: target queries look up the source's keys and values in self-attention (Cao et al. 2023); UNets.

Two branches are denoised by DDIM from the source's inverted noise, the source under the empty prompt, the target with
CFG under its own. From step S and self-attention layer L on, the target's self-attention in both halves of CFG is

    Attention(Q_target, K_source, V_source),

before that its own, so that the layout can form. With `inversion` `direct` the source branch keeps to the path of the
inversion (`agsm_bench.editing.ddim`). Upstream: github TencentARC/MasaCtrl, masactrl.py; PIE-Bench's copy:
github cure-lab/PnPInversion, run_editing_masactrl.py, which scales CFG by 7.5.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from agsm_bench.contracts import option
from agsm_bench.editor import Editor

if TYPE_CHECKING:
    from torch import Tensor

    from agsm_bench.editing.predictor import EditBatch, Predictor

SD15_LAYERS = 16
"""Self-attention layers of SD1.5, of which the paper's L = 10 is one; other UNets begin at the same share."""


@dataclass(frozen=True)
class MasaCtrlOptions:
    """Paper Appendix F."""

    inversion: Literal["ddim", "direct"] = option("ddim", "How the source's noise is found.")
    steps: int = option(50, "Steps of DDIM, in each direction.", min=1)
    guidance_scale: float = option(7.0, "Scale of CFG of the target.", min=0)
    start_step: int = option(4, "First step S (from 0) with control; as many as steps: none.", min=0)
    start_layer: int = option(10, "First self-attention layer L (from 0) with control, of 16.", min=0, max=SD15_LAYERS)


def edit(predict: Predictor, batch: EditBatch, options: MasaCtrlOptions) -> Tensor:
    """The target's latents."""
    from agsm_bench.editing.ddim import Ddim
    from agsm_bench.editing.exchange import Exchange

    ddim = Ddim(predict.denoiser.pipe.scheduler, options.steps)
    nothing = [""] * len(batch.target)
    text = predict.condition(nothing, "source")
    toward = predict.condition(batch.target, "target")
    away = predict.condition(nothing, "target", unconditional=True)
    path = ddim.invert(batch.latents, partial(predict, condition=text))
    shared = Exchange(keys_and_values(predict.denoiser.network, options.start_layer))
    direct = options.inversion == "direct"
    source, latents = path[0], path[0]
    for step, timestep in enumerate(ddim.timesteps):
        controlled = step >= options.start_step
        if controlled or not direct:
            with shared.recording():
                source_noise = predict(source, timestep, text)
        with shared.replacing() if controlled else nullcontext():
            noise = predict.guided(latents, timestep, toward, away, options.guidance_scale)
        latents = ddim.denoised(latents, noise, step)
        source = path[step + 1] if direct else ddim.denoised(source, source_noise, step)
    return latents


def keys_and_values(unet: Any, start_layer: int) -> list[Any]:
    """The projections to keys and values of the self-attention layers with control."""
    from agsm_bench.editing.exchange import self_attentions

    layers = self_attentions(unet)
    return [part for layer in layers[start_layer * len(layers) // SD15_LAYERS :] for part in (layer.to_k, layer.to_v)]


EDITOR = Editor(
    family="unet",
    options=MasaCtrlOptions,
    edit=edit,
    presets={
        "upstream": {"guidance_scale": 7.5},
        # control over half of the steps: less is a little better there, and would be none
        "shapes": {"steps": 16, "guidance_scale": 6.0, "start_step": 8},
    },
)
