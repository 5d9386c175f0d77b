"""Pictures to network inputs, in Pillow and NumPy alone; tests hold them equal to torchvision's and transformers'."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(image: Image.Image, size: int = 224, crop: Literal["round", "floor"] = "round") -> np.ndarray:
    """OpenAI's CLIP preprocessing: shorter side to `size` (bicubic), centre crop, normalised; float32 [3, size, size].

    Args:
        image: RGB.
        size: side in pixels.
        crop: how half a pixel is rounded: `round` as torchvision (OpenAI's CLIP, image-reward), `floor` as
            transformers (PickScore).
    """
    width, height = image.size
    short = min(width, height)
    if short != size:
        width, height = (size if side == short else int(size * side / short) for side in (width, height))
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (round(side / 2) if crop == "round" else side // 2 for side in (width - size, height - size))
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / np.float32(255)
    normalised = (pixels - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))
