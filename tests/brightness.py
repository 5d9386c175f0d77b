"""A third party's metric, small and exact: the brightness of a picture, and how far it is from its reference's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Picture, Variant

LOADED: list[tuple[str, ...]] = []
"""The names of every load."""
JUDGED: list[tuple[str, int]] = []
"""Metric and size of every batch."""


class Brightness:
    """Black is not a number, grey 100 fails in the network, and a batch of five or more is too large for it."""

    def prepare(self, name: str, picture: Picture) -> Any:
        value = float(np.asarray(picture.image).mean())
        if name == "bright/features":
            return np.array([value, len(picture.prompt or ""), value * value % 7], np.float32)
        other = np.asarray(picture.reference).mean() if picture.reference else 0.0
        return value - float(other)

    def judge(self, name: str, prepared: Sequence[Any]) -> np.ndarray:
        if len(prepared) >= 5:
            raise MemoryError("too many")
        JUDGED.append((name, len(prepared)))
        if name == "bright/features":
            return np.stack(prepared)
        if 100.0 in prepared:
            raise RuntimeError("no score for this grey\nsecond line")
        return np.array([np.nan if value == 0 else value for value in prepared])


def load(names: Sequence[str], files: Files, device: str) -> Brightness:
    LOADED.append(tuple(names))
    return Brightness()


METRIC = ImageMetric(
    variants={
        "bright": Variant("up", "grey levels", "none", table_scale=100),
        "bright/change": Variant("down", "grey levels", "none", needs=("reference",)),
        "bright/features": Variant("down", "distance", "none", needs=("prompt",), per="set"),
    },
    load=load,
)
