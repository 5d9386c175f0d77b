"""MSE: mean squared error of an image and its reference, pixels from 0 to 1; whole, or what is unedited.

`unedited` is PIE-Bench's background: what was to be edited is black in both, and stays in the mean. The tables of
PIE-Bench show it times 10,000.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.pixel_pairs import squared_error


class MseJudge:
    """No network."""

    def prepare(self, name: str, picture: Picture) -> float:
        """The error."""
        return squared_error(picture, masked=name != "mse")

    def judge(self, name: str, prepared: Sequence[float]) -> np.ndarray:
        """Errors, float64 [n]."""
        return np.array(prepared)


def load(names: Sequence[str], files: Files, device: str) -> MseJudge:
    """Needs nothing."""
    return MseJudge()


METRIC = ImageMetric(
    variants={
        "mse": Variant("down", "0 to 1", "pixels to [0, 1]", 1e4, needs=("reference",), decimals=9),
        "mse/unedited": Variant("down", "0 to 1", "pixels to [0, 1]", 1e4, needs=("reference", "mask"), decimals=9),
    },
    load=load,
)
