"""Scenes and masks as PNG files."""

from __future__ import annotations

import numpy as np

from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene


def scene_png(scene: Scene) -> bytes:
    """The picture of a scene."""
    return _png(render(scene))


def mask_png(mask: np.ndarray) -> bytes:
    """bool [height, width] as a picture, white where it is True."""
    return _png(mask.astype(np.uint8) * 255)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    from agsm_bench.images import to_png

    return to_png(Image.fromarray(pixels))
