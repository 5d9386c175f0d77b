"""OpenCV's bilinear resizing of 8-bit pictures, to the bit, without OpenCV.

mmdet resizes with `cv2.resize(..., INTER_LINEAR)`, which counts in whole numbers: weights are multiples of 1/2048,
and bits are dropped on the way. Nothing is smoothed where a picture shrinks.
"""

from __future__ import annotations

import numpy as np

ONE = 2048
"""The weight 1."""


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3] of uint8 [h, w, 3]; equal to OpenCV's (5.0, seven sizes up and down)."""
    old_height, old_width = image.shape[:2]
    rows = _across(image, *_taps(old_width, width)) >> 4
    first, near, far = _taps(old_height, height)
    top = (rows[first.clip(0, old_height - 1)] * near[:, None, None]) >> 16
    bottom = (rows[(first + 1).clip(0, old_height - 1)] * far[:, None, None]) >> 16
    return ((top + bottom + 2) >> 2).astype(np.uint8)


def _across(image: np.ndarray, first: np.ndarray, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """int32 [h, width, 3]: the columns mixed, times `ONE`.

    Beyond the left and right border the outermost pixel counts alone; beyond the upper and lower one it counts
    twice, with both weights, and loses more to rounding.
    """
    last = image.shape[1] - 1
    inside = (first >= 0) & (first < last)
    near, far = np.where(inside, near, ONE), np.where(inside, far, 0)
    pixels = image.astype(np.int32)
    return pixels[:, first.clip(0, last)] * near[:, None] + pixels[:, (first + 1).clip(0, last)] * far[:, None]


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each new pixel: the old one before it (-1: it lies outside), its weight, and that of the next one."""
    place = ((np.arange(new) + 0.5) * (old / new) - 0.5).astype(np.float32)
    first = np.floor(place)
    far = np.rint((place - first) * np.float32(ONE))
    near = np.rint((np.float32(1) - (place - first)) * np.float32(ONE))
    return first.astype(np.int64), near.astype(np.int32), far.astype(np.int32)
