"""Pictures to network inputs, in Pillow and NumPy alone; tests hold them equal to torchvision's and transformers'."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

from agsm_bench.metric import Picture

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
Crop = Literal["round", "floor"]


def shared_clip_pixels(picture: Picture, size: int, crop: Crop = "round") -> np.ndarray:
    """`clip_pixels` of a picture, made once for all metrics that ask for the same."""
    key = ("clip", size, *_corner(*_resized(picture.image, size), size, crop))
    if key not in picture.shared:
        picture.shared[key] = clip_pixels(picture.image, size, crop)
    found: np.ndarray = picture.shared[key]
    return found


def clip_pixels(image: Image.Image, size: int = 224, crop: Crop = "round") -> np.ndarray:
    """OpenAI's CLIP preprocessing: shorter side to `size` (bicubic), centre crop, normalised; float32 [3, size, size].

    Args:
        image: RGB.
        size: side in pixels.
        crop: how half a pixel is rounded: `round` as torchvision (OpenAI's CLIP, image-reward), `floor` as
            transformers (PickScore).
    """
    width, height = _resized(image, size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = _corner(width, height, size, crop)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / np.float32(255)
    normalised = (pixels - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def _resized(image: Image.Image, size: int) -> tuple[int, int]:
    """Width and height once the shorter side is `size`."""
    width, height = image.size
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _corner(width: int, height: int, size: int, crop: Crop) -> tuple[int, int]:
    """Left and top of the centre crop."""
    left, top = ((side - size) / 2 for side in (width, height))
    return (round(left), round(top)) if crop == "round" else (int(left), int(top))
