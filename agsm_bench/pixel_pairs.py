"""An image and its reference, pixel by pixel, for the metrics that compare the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from agsm_bench.metric import Picture


def same_size(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [height, width, 3] of the image and its reference.

    Raises:
        ValueError: they are of different sizes.
    """
    if picture.reference is None:
        raise ValueError("it has no reference")
    if picture.image.size != picture.reference.size:
        (width, height), (other_width, other_height) = picture.image.size, picture.reference.size
        raise ValueError(f"the image is {width} x {height} and its reference {other_width} x {other_height}")
    return np.asarray(picture.image), np.asarray(picture.reference)


def unedited(picture: Picture) -> tuple[np.ndarray, np.ndarray]:
    """As `same_size`, with what was to be edited black in both (PIE-Bench's background, which stays in the means).

    Raises:
        ValueError: sizes differ, or the whole picture was to be edited.
    """
    image, reference = same_size(picture)
    mask = mask_of(picture)
    if mask.all():
        raise ValueError("nothing of the picture is outside its mask")
    kept = ~mask[..., None]
    return image * kept, reference * kept


def mask_of(picture: Picture) -> np.ndarray:
    """bool [height, width]; raises ValueError where it is of another size than the image, or not there."""
    if picture.mask is None:
        raise ValueError("it has no mask")
    (height, width), size = picture.mask.shape, picture.image.size
    if (width, height) != size:
        raise ValueError(f"the mask is {width} x {height}, and the image {size[0]} x {size[1]}")
    return picture.mask


def by_size(arrays: Sequence[np.ndarray], judge: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """float64 [n]: `judge` of the arrays of each shape stacked, in the order given."""
    found = np.empty(len(arrays))
    for shape in {array.shape for array in arrays}:
        own = [index for index, array in enumerate(arrays) if array.shape == shape]
        found[own] = judge(np.stack([arrays[index] for index in own]))
    return found


def squared_error(picture: Picture, *, masked: bool) -> float:
    """Mean over pixels and channels, of values from 0 to 1; raises as `same_size`, or where masked as `unedited`."""
    image, reference = unedited(picture) if masked else same_size(picture)
    return float(np.square((image.astype(np.float64) - reference) / 255).mean())
