"""Plug-and-Play: the source's self-attention maps and features in the target's decoder (Tumanyan et al. 2023); UNets.

The target is denoised by DDIM from the source's inverted noise, with CFG between its own prompt and a negative one.
Meanwhile the source branch (inverted, and in `ddim` sampled again, under its own prompt) passes the network under the
empty prompt, and in both halves of the target's CFG

    A = softmax(Q_source K_source^T / sqrt(d))   in the decoder's self-attentions but the first, steps < tau_A
    f = f_source                                 in one residual layer of the decoder, steps < tau_f

with f the layer's output before it is added to its input: SD1.5's up_blocks[1].resnets[1], of any UNet the second
layer of the first up block with attention. Upstream: github MichalGeyer/pnp-diffusers; PIE-Bench's copy: github
cure-lab/PnPInversion, run_editing_pnp.py, which scales CFG by 7.5, and whose `ddim` branch lags a step behind.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from agsm_bench.contracts import option
from agsm_bench.editor import Editor

if TYPE_CHECKING:
    from torch import Tensor

    from agsm_bench.editing.predictor import EditBatch, Predictor

NEGATIVE = "ugly, blurry, black, low res, unrealistic"


@dataclass(frozen=True)
class PnpOptions:
    """Paper Appendix F."""

    inversion: Literal["ddim", "direct"] = option("ddim", "How the source's noise is found.")
    steps: int = option(50, "Steps of DDIM, in each direction.", min=1)
    guidance_scale: float = option(7.0, "Scale of CFG of the target.", min=0)
    attention_steps: int = option(25, "First steps, tau_A, with the source's self-attention maps.", min=0)
    feature_steps: int = option(40, "First steps, tau_f, with the source's features.", min=0)
    negative_prompt: str = option(NEGATIVE, "What CFG leads away from.")


def edit(predict: Predictor, batch: EditBatch, options: PnpOptions) -> Tensor:
    """The target's latents."""
    from agsm_bench.editing.ddim import Ddim

    ddim, rows = Ddim(predict.denoiser.pipe.scheduler, options.steps), len(batch.target)
    source = predict.condition(batch.source, "source")
    recorded = predict.condition([""] * rows, "source")
    toward = predict.condition(batch.target, "target")
    away = predict.condition([options.negative_prompt] * rows, "target", unconditional=True)
    path = ddim.invert(batch.latents, partial(predict, condition=source))
    if options.inversion == "ddim":
        path = ddim.sample(path[0], partial(predict, condition=source))
    exchanges = _exchanges(predict.denoiser.network, options)
    latents = path[0]
    for step, timestep in enumerate(ddim.timesteps):
        active = [exchange for exchange, until in exchanges if step < until]
        if active:
            with ExitStack() as stack:
                for exchange in active:
                    stack.enter_context(exchange.recording())
                predict(path[step], timestep, recorded)
        with ExitStack() as stack:
            for exchange in active:
                stack.enter_context(exchange.replacing())
            noise = predict.guided(latents, timestep, toward, away, options.guidance_scale)
        latents = ddim.denoised(latents, noise, step)
    return latents


def _exchanges(unet: Any, options: PnpOptions) -> list[tuple[Any, int]]:
    """Self-attention maps and features, each with the step before which they are injected."""
    from agsm_bench.editing.exchange import Exchange

    return [
        (Exchange(queries_and_keys(unet)), options.attention_steps),
        (Exchange([feature_layer(unet)]), options.feature_steps),
    ]


def queries_and_keys(unet: Any) -> list[Any]:
    """The projections to queries and keys of the decoder's self-attentions but those of its first transformer."""
    from agsm_bench.editing.exchange import decoder_self_attentions

    layers = [layer for transformer in decoder_self_attentions(unet)[1:] for layer in transformer]
    return [part for layer in layers for part in (layer.to_q, layer.to_k)]


def feature_layer(unet: Any) -> Any:
    """The last convolution of the residual layer whose features are injected."""
    block = next(block for block in unet.up_blocks if getattr(block, "attentions", ()))
    return block.resnets[1].conv2


EDITOR = Editor(
    family="unet",
    options=PnpOptions,
    edit=edit,
    presets={
        "upstream": {"guidance_scale": 7.5},
        # the shapes world has no words for what a picture should not be
        "shapes": {
            "steps": 16,
            "guidance_scale": 4.0,
            "attention_steps": 8,
            "feature_steps": 6,
            "negative_prompt": "",
        },
    },
)
