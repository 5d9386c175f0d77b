"""Files of pictures to pixels, upright, RGB, 8 bits; and back."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from agsm_bench.damage import DAMAGED

UNREADABLE = (*DAMAGED, struct.error, Image.DecompressionBombError)
"""What the functions here, and Pillow's, raise for bytes that are no picture."""
SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
"""Pillow's modes of grey pictures whose values go to 65,535; its own conversion would clip them at 255."""


def open_rgb(data: bytes) -> Image.Image:
    """The picture as its EXIF entry turns it, without transparency: what is hidden counts, as in upstream's metrics.

    Raises:
        UNREADABLE: no picture, a part of one, or one of floating point numbers.
    """
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in SIXTEEN_BITS:
            upright = Image.fromarray((np.asarray(upright).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
        if upright.mode == "F":
            raise ValueError("its pixels are floating point numbers, of a scale that nobody knows")
        return upright.convert("RGBA").convert("RGB") if upright.mode in ("P", "PA") else upright.convert("RGB")


def decode(png: bytes) -> np.ndarray:
    """uint8 [height, width, 3]; raises as `open_rgb`."""
    return np.array(open_rgb(png))


def open_mask(data: bytes) -> np.ndarray:
    """bool [height, width]: True where the mask's picture is brighter than half. Raises as `open_rgb`."""
    return np.asarray(open_rgb(data).convert("L")) > 127


def to_png(image: Image.Image) -> bytes:
    """The picture as PNG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def reason(error: Exception) -> str:
    """Why a picture is unscored, in one line."""
    said = str(error).partition("\n")[0].replace("<_io.BytesIO object", "<bytes")
    if isinstance(error, UnidentifiedImageError):
        return "it is no picture"
    return said if type(error) is ValueError and said else f"{type(error).__name__}: {said}"
