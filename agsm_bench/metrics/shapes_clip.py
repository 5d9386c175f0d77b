"""shapes-clip, the shapes world's own encoder: cosine of image and prompt; LPIPS-like distance from a reference.

`shapes_clip/score` is the cosine, measured of every run. `shapes_clip/lpips` compares two pictures as LPIPS does
(Zhang et al. 2018, its unweighted form): the hidden states of every layer, normalised at every patch, and the squared
distances, averaged over patches and layers. `shapes_clip/lpips-unedited` is that of the background of an edit: what was
to be edited is black in both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.pixel_pairs import same_size, unedited

if TYPE_CHECKING:
    from agsm_bench.shapes.clip import ShapesClip

SCORE = "shapes_clip/score"
LPIPS = "shapes_clip/lpips"
UNEDITED = "shapes_clip/lpips-unedited"


class ShapesJudge:
    """The shipped encoder. Batches are filled up, so that a score is the same to the bit whatever the others are."""

    def __init__(self, clip: ShapesClip) -> None:
        self._clip = clip
        self._captions: OrderedDict[str, np.ndarray] = OrderedDict()

    def prepare(self, name: str, picture: Picture) -> tuple[np.ndarray, str | np.ndarray]:
        """uint8 [24, 24, 3] with the prompt, or with the reference alike."""
        from agsm_bench.shapes.vocabulary import IMAGE_SIZE

        if picture.image.size != (IMAGE_SIZE, IMAGE_SIZE):
            width, height = picture.image.size
            raise ValueError(f"the image is {width} x {height}, and pictures of the shapes world are {IMAGE_SIZE} wide")
        if name == SCORE:
            return np.asarray(picture.image), picture.prompt or ""
        return unedited(picture) if name == UNEDITED else same_size(picture)

    def judge(self, name: str, prepared: Sequence[tuple[np.ndarray, str | np.ndarray]]) -> np.ndarray:
        """Cosines, or distances (0 to 4), float64 [n]."""
        images, others = (list(each) for each in zip(*prepared, strict=True))
        if name != SCORE:
            return self._clip.distances(np.stack(images), np.stack(others))
        cosines = _unit(self._clip.image_features(np.stack(images), filled=True).numpy())
        return np.array([image @ self._caption(text) for image, text in zip(cosines, others, strict=True)])

    def _caption(self, text: str) -> np.ndarray:
        if text not in self._captions:
            self._captions[text] = _unit(self._clip.text_features([text], filled=True).numpy())[0]
        return self._captions[text]


def load(names: Sequence[str], files: Files, device: str) -> ShapesJudge:
    """The shipped encoder on the CPU, whatever the device: it is small, and its scores are the same to the bit."""
    from agsm_bench.shapes.clip import load_clip

    return ShapesJudge(load_clip())


def version() -> str:
    """Of the shipped weights."""
    from agsm_bench.shapes.clip import weights_version

    return weights_version()


def _unit(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


PREPROCESSING = "pixels to [-1, 1]"
METRIC = ImageMetric(
    variants={
        SCORE: Variant("up", "cosine, -1 to 1", PREPROCESSING, needs=("prompt",), decimals=4),
        LPIPS: Variant("down", "squared distance, 0 to 4", PREPROCESSING, needs=("reference",), decimals=6),
        UNEDITED: Variant("down", "squared distance, 0 to 4", PREPROCESSING, needs=("reference", "mask"), decimals=6),
    },
    load=load,
    domain="shapes",
    version=version,
    by_default=(SCORE,),
)
