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
from agsm_bench.diffusion.denoiser import Denoiser, TextCondition

if TYPE_CHECKING:
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


class CachedText:
    """Text conditions, each caption encoded once, and alone: in a batch its rounding would depend on the others,
    which after a resume are not the same."""

    def __init__(self, denoiser: Denoiser, limit: int = 20_000) -> None:
        self._denoiser, self._limit = denoiser, limit
        self._known: dict[str, TextCondition] = {}

    def __call__(self, captions: Sequence[str]) -> TextCondition:
        """The conditions of the captions, as rows in their order."""
        fresh = [c for c in dict.fromkeys(captions) if c not in self._known]
        if len(self._known) + len(fresh) > self._limit:
            self._known.clear()
            fresh = list(dict.fromkeys(captions))
        self._known |= {caption: self._denoiser.encode_text([caption]) for caption in fresh}
        rows = [self._known[c] for c in captions]
        pooled = [r.pooled for r in rows if r.pooled is not None]
        return TextCondition(torch.cat([r.context for r in rows]), torch.cat(pooled) if pooled else None)


def load_batch(data: TrainingData, indices: Sequence[int], denoiser: Denoiser, text: CachedText) -> Batch:
    """The pairs at `indices`, encoded."""
    items = [data.item(index) for index in indices]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in items]))
    latents = denoiser.encode_images(pictures.permute(0, 3, 1, 2).float().div(127.5).sub(1))
    captions = tuple(caption for _, caption in items)
    false = torch.from_numpy(data.false_negatives(indices)).to(latents.device)
    return Batch(latents, text(captions), false)


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
