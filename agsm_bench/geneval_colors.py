"""GenEval's colour classifier: the colour of a detected object, by OpenAI's CLIP ViT-L/14.

Pixels outside the mask become grey, the picture is cut to the box, and the crop is compared with ten colours. Each
colour is the mean of three sentences' features, as clip-benchmark makes it for GenEval (evaluate_images.py). Upstream
counts in half precision on the GPU and we in single precision: colours that tie within its rounding can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agsm_bench.geneval_prompts import COLORS
from agsm_bench.metric import Files
from agsm_bench.metrics.clip import WEIGHTS
from agsm_bench.preprocessing import clip_pixels
from agsm_bench.weight_files import find, version_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from agsm_bench.clip_encoder import ClipEncoder

VERSION = "1"
"""To be raised with every change of what is named with the same weights."""
METRIC = "clip/openai-l14"
"""The metric that has the same weights, for `agsm-bench metrics get`."""

TEMPLATES = ("a photo of a {color} {label}", "a photo of a {color}-colored {label}", "a photo of a {color} object")
GREY = 0x99
"""Of what is outside the mask."""
UNCLEAR = "unclear"
"""The name for a box without a pixel, of which upstream's preprocessing makes a division by zero. It is no colour that
a prompt asks for, so the object counts as one of another colour."""
CHUNK = 64
"""Crops that go through the network together."""


@dataclass(frozen=True)
class Crop:
    """An object to name the colour of."""

    image: np.ndarray
    """The whole picture, uint8 [height, width, 3], RGB."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 in pixels."""
    mask: np.ndarray | None
    """bool [height, width]; None: nothing is greyed."""
    label: str
    """The object's class, which is in the sentences."""


@dataclass(frozen=True)
class PreparedCrop:
    """What the network sees of a crop."""

    pixels: np.ndarray | None
    """float32 [3, side, side]; None: nothing is to be seen."""
    label: str


class ColorNamer:
    """Names colours, of a few crops or of those of many pictures."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self._encoder = encoder
        self._classifiers: dict[str, Tensor] = {}

    def names(self, crops: Sequence[Crop]) -> list[str]:
        """One of `COLORS` for each, the first of those that tie, or `UNCLEAR`."""
        chunks = [crops[start : start + CHUNK] for start in range(0, len(crops), CHUNK)]
        return [name for chunk in chunks for name in self.names_of([self.prepare(crop) for crop in chunk])]

    def prepare(self, crop: Crop) -> PreparedCrop:
        """The part that needs no network and can run in threads.

        A box is rounded to whole pixels as by Pillow; what lies outside the picture is black.

        Raises:
            ValueError: the mask is of another size than the picture.
        """
        from PIL import Image

        shown = crop.image
        if crop.mask is not None:
            if crop.mask.shape != shown.shape[:2]:
                raise ValueError(f"the mask is {crop.mask.shape}, and the picture {shown.shape[:2]}")
            shown = np.where(crop.mask[..., None], shown, np.uint8(GREY))
        left, top, right, bottom = (round(side) for side in crop.box)
        if left >= right or top >= bottom:
            return PreparedCrop(None, crop.label)
        part = Image.fromarray(shown).crop((left, top, right, bottom))
        return PreparedCrop(clip_pixels(part, self._encoder.size), crop.label)

    def names_of(self, prepared: Sequence[PreparedCrop]) -> list[str]:
        """As `names`."""
        seen = [each for each in prepared if each.pixels is not None]
        chunks = (seen[start : start + CHUNK] for start in range(0, len(seen), CHUNK))
        found = iter([COLORS[color] for chunk in chunks for color in self._best(chunk)])
        return [UNCLEAR if each.pixels is None else next(found) for each in prepared]

    def _best(self, prepared: Sequence[PreparedCrop]) -> list[int]:
        import torch

        with torch.inference_mode():
            images = self._encoder.images([each.pixels for each in prepared if each.pixels is not None])
            classifiers = torch.stack([self._classifier(each.label) for each in prepared])
            similar = (classifiers @ images[..., None])[..., 0].cpu().numpy()
        return similar.argmax(axis=1).tolist()

    def _classifier(self, label: str) -> Tensor:
        """[colours, d]: of each colour the mean of its sentences, of length 1."""
        from torch.nn.functional import normalize

        if label not in self._classifiers:
            sentences = [template.format(color=color, label=label) for color in COLORS for template in TEMPLATES]
            features = self._encoder.texts(sentences).unflatten(0, (len(COLORS), len(TEMPLATES)))
            self._classifiers[label] = normalize(features.mean(dim=1), dim=-1)
        return self._classifiers[label]


def found_files(given: Path | None = None) -> Files:
    """CLIP's files, from the hub's cache or a folder; raises MissingError with the command that gets them."""
    return find(METRIC, WEIGHTS, given)


def load(files: Files, device: str) -> ColorNamer:
    """Raises MissingError for files of another model."""
    from agsm_bench.clip_encoder import ClipEncoder

    return ColorNamer(ClipEncoder(files, device))


def version(files: Files) -> str:
    """For stored detections: of this file and of the weights."""
    return f"{VERSION} {version_of(files)}"
