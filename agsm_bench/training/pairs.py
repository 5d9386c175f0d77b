"""All pairs of a batch: image i under caption j, with the polarity that the trainer gives the pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from agsm_bench.contracts import TrainingData
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.image_encoder import pixels_of
from agsm_bench.diffusion.text import CachedText, TextCondition
from agsm_bench.errors import UserError

if TYPE_CHECKING:
    from agsm_bench.data.latents import Latents
    from agsm_bench.tokens.attach import Attachment


@dataclass(frozen=True)
class Batch:
    """B images and their captions."""

    latents: Tensor
    """[B, c, h, w]."""
    text: TextCondition
    """B rows."""
    false_negatives: Tensor
    """bool [B, B]: mismatched pairs whose caption is true of the image all the same."""


def load_batch(
    data: TrainingData, indices: Sequence[int], denoiser: Denoiser, text: CachedText, kept: Latents | None = None
) -> Batch:
    """The pairs at `indices`, encoded, but for the pictures whose latents are kept."""
    latents = _latents(data, indices, denoiser, kept)
    captions = tuple(data.caption(index) for index in indices)
    false = torch.from_numpy(data.false_negatives(indices)).to(latents.device)
    return Batch(latents, text(captions), false)


def _latents(data: TrainingData, indices: Sequence[int], denoiser: Denoiser, kept: Latents | None) -> Tensor:
    """[B, c, h, w]; pictures that may be kept are encoded alone, for their bits not to depend on the batch."""
    keys = [data.picture_key(index) for index in indices]
    if None in keys:
        return denoiser.encode_images(pixels_of(np.stack([data.item(index)[0] for index in indices])))
    encoder = denoiser.encoder
    found = [kept.get(key) if kept and key else None for key in keys]
    means = [encoder.mean(data.item(i)[0]) if mean is None else mean for i, mean in zip(indices, found, strict=True)]
    latents = torch.stack([encoder.latents(mean) for mean in means])
    if not bool(latents.isfinite().all()):
        raise UserError(
            f"The VAE makes NaN or infinite latents in {str(encoder.vae.dtype).removeprefix('torch.')}.",
            "Use --dtype float32, or a --vae made for half precision (SDXL: madebyollin/sdxl-vae-fp16-fix).",
        )
    return latents


def predict_pairs(
    denoiser: Denoiser,
    attachment: Attachment | None,
    noised: Tensor,
    timestep: Tensor,
    text: TextCondition,
    polarities: int,
    rows_at_once: int | None = None,
) -> Tensor:
    """Predictions of all pairs, [B, B, ...]: image i under caption j.

    With two polarities psi+ goes to the diagonal and psi- elsewhere. Without an attachment there are no tokens.
    With `rows_at_once` the memory is that of so many pairs: each group's activations are forgotten after the forward
    and made again for the backward, which is to be called while the tokens are attached. The gradient is the same.
    """
    count = len(noised)
    image, caption = (
        index.flatten() for index in torch.meshgrid(torch.arange(count), torch.arange(count), indexing="ij")
    )
    polarity = (image != caption).long() if polarities == 2 else torch.zeros_like(image)
    tokens = attachment.tokens if attachment else None

    def predict(rows: Tensor) -> Tensor:
        if attachment is not None and tokens is not None:
            # at the backward others may be attached
            attachment.tokens, attachment.polarity = tokens, polarity[rows]
        return denoiser.predict(noised[image[rows]], timestep[image[rows]], text.rows(caption[rows]))

    if rows_at_once is None:
        predictions = predict(torch.arange(count**2))
    else:
        groups = torch.arange(count**2).split(rows_at_once)
        predictions = torch.cat([checkpoint(predict, rows, use_reentrant=False) for rows in groups])
    return predictions.unflatten(0, (count, count))
