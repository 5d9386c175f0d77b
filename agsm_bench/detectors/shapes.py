"""The exact detector of the shapes world: colour segmentation and templates, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agsm_bench.detector import Detector
from agsm_bench.metric import Files
from agsm_bench.types import Detection

if TYPE_CHECKING:
    import numpy as np


class ShapesDetector:
    """`agsm_bench.shapes.detector` on each picture."""

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Detection]]:
        """See `LoadedDetector`."""
        from agsm_bench.shapes.detector import detect

        return [detect(image) for image in images]


def load(files: Files, device: str) -> ShapesDetector:
    """It has no network: neither argument plays a part."""
    return ShapesDetector()


def version(files: Files) -> str:
    """The detector's own."""
    from agsm_bench.shapes.detector import VERSION

    return VERSION


DETECTOR = Detector("shapes", (), load, version, names_colors=True)
