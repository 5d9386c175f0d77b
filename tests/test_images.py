"""Every kind of picture file becomes the same pixels, and what is none says why."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from agsm_bench.images import UNREADABLE, decode, open_mask, open_rgb, reason

PIXELS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]], [[7, 7, 7], [255, 255, 255]]], np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=format, **options)
    return stream.getvalue()


def test_modes_and_formats() -> None:
    image = Image.fromarray(PIXELS)
    hidden = image.convert("RGBA")
    hidden.putalpha(0)
    for data in (
        encoded(image),
        encoded(image, "BMP"),
        encoded(image, "WEBP", lossless=True),
        encoded(hidden),  # transparency is dropped, as upstream's convert("RGB") does
        encoded(image.quantize(16)),
        encoded(image.quantize(16), transparency=0),
    ):
        np.testing.assert_array_equal(decode(data), PIXELS)


def test_grey_of_eight_and_sixteen_bits() -> None:
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    sixteen = Image.fromarray((grey.astype(np.uint16) << 8) + 17)
    for image in (Image.fromarray(grey), sixteen):
        np.testing.assert_array_equal(decode(encoded(image)), np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(
        decode(encoded(Image.fromarray(grey > 150))), 255 * (grey[..., None] > 150).repeat(3, 2)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(orientation: int) -> None:
    """Each EXIF entry undoes the turn that the camera made."""
    upright = Image.fromarray(PIXELS)
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(turn) if turn is not None else upright
    np.testing.assert_array_equal(decode(encoded(stored, exif=exif)), PIXELS)


def test_what_is_no_picture_says_why(tmp_path: Path) -> None:
    whole = encoded(Image.effect_noise((64, 64), 60))
    for data, word in ((b"hello", "no picture"), (b"", "no picture"), (whole[:900], "truncated"), (whole[:20], "")):
        with pytest.raises(UNREADABLE) as caught:
            open_rgb(data)
        assert word in reason(caught.value)
        assert "\n" not in reason(caught.value)
    floats = encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF")
    with pytest.raises(ValueError, match="floating point"):
        open_rgb(floats)


def test_masks() -> None:
    grey = np.array([[0, 127], [128, 255]], np.uint8)
    np.testing.assert_array_equal(open_mask(encoded(Image.fromarray(grey))), grey > 127)
