"""PSNR: peak signal-to-noise ratio of an image and its reference, pixels from 0 to 1; whole, or what is unedited.

`unedited` is PIE-Bench's background: what was to be edited is black in both, and stays in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.pixel_pairs import squared_error


class PsnrJudge:
    """No network."""

    def prepare(self, name: str, picture: Picture) -> float:
        """The mean squared error; raises ValueError where it is 0."""
        error = squared_error(picture, masked=name != "psnr")
        if error == 0:
            raise ValueError("the image equals its reference: PSNR is infinite")
        return error

    def judge(self, name: str, prepared: Sequence[float]) -> np.ndarray:
        """Decibels, float64 [n]."""
        return -10 * np.log10(np.array(prepared))


def load(names: Sequence[str], files: Files, device: str) -> PsnrJudge:
    """Needs nothing."""
    return PsnrJudge()


METRIC = ImageMetric(
    variants={
        "psnr": Variant("up", "dB", "pixels to [0, 1]", needs=("reference",)),
        "psnr/unedited": Variant("up", "dB", "pixels to [0, 1]", needs=("reference", "mask")),
    },
    load=load,
)
