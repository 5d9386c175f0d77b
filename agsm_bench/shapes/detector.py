"""The exact detector: a picture in, `Detection`s out, by colour segmentation and template matching.

Every pixel is read as a mixture of the background and one of the six colours. Connected pixels of a colour
are an object if their coverage map matches that of a shape, at some size and sub-pixel position.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import ndimage

from agsm_bench.shapes.render import coverage
from agsm_bench.shapes.vocabulary import BACKGROUND, COLORS, RGB, SHAPES
from agsm_bench.types import Detection

VERSION = "1"
"""To be raised with every change of what `detect` finds: runs are then judged again by `agsm-bench score`."""

COVERED = 0.45
"""Coverage from which a pixel belongs to an object."""
MIN_PIXELS = 14
"""Smaller components are specks; the smallest triangle of the world covers 18 pixels."""
WINDOW = 15
"""Side in pixels of the templates."""
IOU_RANGE = (0.705, 0.7883)
"""Template overlap that maps to scores 0 and 1: 0.73 gives GenEval's threshold 0.3, and 0.78 its 0.9.

Rendered objects reach 0.85 and more, those of trained backbones mostly; formless blobs seldom reach 0.73."""
FRAGMENT = 0.2
"""A colour that covers less than this share of a component is noise on it, not an object of its own."""


def detect(image: np.ndarray) -> list[Detection]:
    """The objects of a picture, best first; class, box, score, colour and mask.

    Args:
        image: uint8 or float [height, width, 3] in 0..255.
    """
    share, color = unmix(image)
    found = []
    for mask in _components(share, color):
        detection = _classify(mask, share, color)
        if detection is not None:
            found.append(detection)
    return sorted(found, key=lambda d: -d.score)


def unmix(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel: how much of it is covered, in [0, 1], and by which colour (an index into COLORS)."""
    difference = image.astype(np.float64) - BACKGROUND
    axes = np.array([RGB[c] for c in COLORS]) - np.array(BACKGROUND)
    lengths = (axes**2).sum(1)
    shares = np.clip(difference @ axes.T / lengths, 0, 1.2)
    residual = np.linalg.norm(difference[..., None, :] - shares[..., None] * axes, axis=-1)
    best = residual.argmin(-1)
    share = np.take_along_axis(shares, best[..., None], -1)[..., 0]
    return np.clip(share, 0, 1), best


def _components(share: np.ndarray, color: np.ndarray) -> list[np.ndarray]:
    """Masks of connected pixels; a component of several colours is cut into them."""
    labels, count = ndimage.label(share >= COVERED)
    masks: list[np.ndarray] = []
    for index in range(1, count + 1):
        mask = labels == index
        parts = np.bincount(color[mask], weights=share[mask], minlength=len(COLORS))
        large = np.flatnonzero((parts >= FRAGMENT * parts.sum()) & (parts >= MIN_PIXELS))
        masks += [mask] if len(large) < 2 else _split(mask, color, large)
    return [m for m in masks if m.sum() >= MIN_PIXELS]


def _split(mask: np.ndarray, color: np.ndarray, large: np.ndarray) -> list[np.ndarray]:
    masks = []
    for index in large:
        labels, count = ndimage.label(mask & (color == index))
        masks += [labels == i for i in range(1, count + 1)]
    return masks


def _classify(mask: np.ndarray, share: np.ndarray, color: np.ndarray) -> Detection | None:
    near = ndimage.binary_dilation(mask, np.ones((3, 3)))
    # what touches the object counts against it, whatever its colour: objects of the world stand apart
    match = _best_template(np.where(near, share, 0))
    low, high = IOU_RANGE
    score = float(np.clip((match.iou - low) / (high - low), 0, 1))
    if score == 0:
        return None
    name = COLORS[np.bincount(color[mask], weights=share[mask]).argmax()]
    half = match.size / 2
    box = (match.x - half, match.y - half, match.x + half, match.y + half)
    return Detection(match.shape, box, score, name, mask)


@dataclass(frozen=True)
class _Match:
    shape: str
    x: float
    y: float
    size: float
    iou: float


@dataclass(frozen=True)
class _Templates:
    maps: np.ndarray
    """[n, WINDOW * WINDOW] coverage."""
    areas: np.ndarray
    """Ascending, so that templates of a like area are one slice."""
    labels: list[tuple[str, float]]
    """Shape and size of each map."""
    offsets: np.ndarray
    """[n, 2]: centre minus centre of mass, as templates are aligned by the latter."""


def _best_template(blob: np.ndarray) -> _Match:
    """The template with the largest soft intersection over union, aligned by the centre of mass."""
    bank = _templates()
    total = blob.sum()
    ys, xs = np.mgrid[: blob.shape[0], : blob.shape[1]] + 0.5
    center = np.array([(blob * xs).sum(), (blob * ys).sum()]) / total
    corner = np.floor(center - WINDOW / 2 + 0.5).astype(int)
    window = _crop(blob, corner).ravel()
    outside = total - window.sum()
    slack = 0.35 * total + 4
    likely = slice(*np.searchsorted(bank.areas, (total - slack, total + slack)))
    if likely.start == likely.stop:
        return _Match(SHAPES[0], 0, 0, 1, 0)
    both = np.minimum(bank.maps[likely], window).sum(1)
    iou = both / (bank.areas[likely] + window.sum() - both + outside)
    best = int(likely.start + iou.argmax())
    shape, size = bank.labels[best]
    x, y = corner + bank.offsets[best]
    return _Match(shape, float(x), float(y), size, float(iou.max()))


def _crop(blob: np.ndarray, corner: np.ndarray) -> np.ndarray:
    padded = np.pad(blob, WINDOW)
    x, y = corner + WINDOW
    return padded[y : y + WINDOW, x : x + WINDOW]


@cache
def _templates() -> _Templates:
    """Every shape at sizes 4 to 12, on a grid of a third of a pixel around the window's centre."""
    maps, labels, offsets = [], [], []
    shifts = np.arange(-4, 5) / 3
    for shape in SHAPES:
        for size in np.arange(4.0, 12.01, 0.5):
            for dy in shifts:
                for dx in shifts:
                    x, y = WINDOW / 2 + dx, WINDOW / 2 + dy
                    maps.append(coverage(shape, x, y, float(size), WINDOW).ravel())
                    labels.append((shape, float(size)))
                    offsets.append((x, y))
    stacked = np.stack(maps)
    areas = stacked.sum(1)
    order = areas.argsort(kind="stable")
    return _Templates(stacked[order], areas[order], [labels[i] for i in order], np.array(offsets)[order])
