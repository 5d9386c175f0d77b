"""Draws scenes: antialiased, deterministic, NumPy only."""

from __future__ import annotations

from functools import cache

import numpy as np

from agsm_bench.shapes.scene import Scene, SceneObject
from agsm_bench.shapes.vocabulary import BACKGROUND, IMAGE_SIZE, RGB

OVERSAMPLING = 4
"""Sub-pixels along each side of a pixel."""


def render(scene: Scene, size: int = IMAGE_SIZE) -> np.ndarray:
    """The picture of a scene, uint8 [size, size, 3]."""
    image = np.empty((size, size, 3))
    image[:] = BACKGROUND
    for item in scene.objects:
        alpha = coverage(item.shape, item.x, item.y, item.size, size)[..., None]
        image = image * (1 - alpha) + alpha * np.asarray(RGB[item.color])
    return np.rint(image).astype(np.uint8)


def coverage(shape: str, x: float, y: float, side: float, size: int = IMAGE_SIZE) -> np.ndarray:
    """Share of each pixel that a shape covers, [size, size] in [0, 1]."""
    u, v = _grid(size)
    inside = _inside(shape, (u - x) / (side / 2), (v - y) / (side / 2))
    blocks = inside.reshape(size, OVERSAMPLING, size, OVERSAMPLING)
    return np.asarray(blocks.mean(axis=(1, 3)))


def object_mask(item: SceneObject, size: int = IMAGE_SIZE) -> np.ndarray:
    """Boolean [size, size]: the pixels that the object covers by half or more."""
    return coverage(item.shape, item.x, item.y, item.size, size) >= 0.5


@cache
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    centers = (np.arange(size * OVERSAMPLING) + 0.5) / OVERSAMPLING
    return centers[None, :], centers[:, None]


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Membership of points in a shape whose box is [-1, 1] x [-1, 1]."""
    if shape == "circle":
        return u**2 + v**2 <= 1
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) <= 0.9
    if shape == "triangle":
        return (np.abs(u) <= (v + 1) / 2) & (v <= 0.9)
    arm = 0.36
    narrow = np.minimum(np.abs(u), np.abs(v)) <= arm
    return narrow & (np.maximum(np.abs(u), np.abs(v)) <= 1)
