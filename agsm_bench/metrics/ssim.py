"""SSIM: structural similarity of an image and its reference (Wang et al. 2004); whole, or what is unedited.

torchmetrics, with its Gaussian window of 11 pixels, values from 0 to 1. `unedited` is PIE-Bench's background: what was
to be edited is black in both, and stays in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.pixel_pairs import by_size, same_size, unedited

SMALLEST = 11
"""Side in pixels: the window's."""


class SsimJudge:
    """No network."""

    def __init__(self, device: str) -> None:
        self._device = device

    def prepare(self, name: str, picture: Picture) -> np.ndarray:
        """uint8 [2, height, width, 3]: image and reference."""
        if min(picture.image.size) < SMALLEST:
            raise ValueError(f"its shorter side is {min(picture.image.size)} pixels, and the window's {SMALLEST}")
        return np.stack(same_size(picture) if name == "ssim" else unedited(picture))

    def judge(self, name: str, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Similarities, float64 [n]."""
        return by_size(prepared, self._similarities)

    def _similarities(self, pairs: np.ndarray) -> np.ndarray:
        import torch
        from torchmetrics.functional.image import structural_similarity_index_measure

        pixels = torch.from_numpy(pairs).to(self._device).permute(1, 0, 4, 2, 3).float() / 255
        image, reference = pixels
        found = structural_similarity_index_measure(image, reference, data_range=1.0, reduction="none")
        return torch.atleast_1d(torch.as_tensor(found)).cpu().double().numpy()


def load(names: Sequence[str], files: Files, device: str) -> SsimJudge:
    """Needs no files."""
    return SsimJudge(device)


UNIT = "-1 to 1"
METRIC = ImageMetric(
    variants={
        "ssim": Variant("up", UNIT, "pixels to [0, 1]", 100, needs=("reference",)),
        "ssim/unedited": Variant("up", UNIT, "pixels to [0, 1]", 100, needs=("reference", "mask")),
    },
    load=load,
)
