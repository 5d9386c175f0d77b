"""CLIP score: cosine of image and prompt under OpenAI's ViT-L/14, of the whole image or its edited part.

Preprocessing is OpenAI's, with torchvision's rounding of the crop; prompts are cut at 77 tokens; no clamp at 0. The
edited part is PIE-Bench's: the image times the mask, in its full frame (PnPInversion, matrics_calculator.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agsm_bench.clip_encoder import CLIP_FILES
from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.pixel_pairs import mask_of
from agsm_bench.preprocessing import clip_pixels, shared_clip_pixels
from agsm_bench.weight_files import WeightFile

if TYPE_CHECKING:
    from PIL import Image

    from agsm_bench.clip_encoder import ClipEncoder

EDITED = "clip/openai-l14-edited"
REPO = "openai/clip-vit-large-patch14"
WEIGHTS = tuple(WeightFile(file, REPO) for file in CLIP_FILES)


def edited_part(picture: Picture) -> Image.Image:
    """The image, black outside its mask; raises ValueError for an empty mask, or one of another size."""
    from PIL import Image

    mask = mask_of(picture)
    if not mask.any():
        raise ValueError("its mask is empty")
    return Image.fromarray(np.asarray(picture.image) * mask[..., None])


class ClipJudge:
    """One encoder for both variants."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self._encoder = encoder

    def prepare(self, name: str, picture: Picture) -> tuple[np.ndarray, str]:
        """float32 [3, side, side] and the prompt."""
        if name != EDITED:
            return shared_clip_pixels(picture, self._encoder.size), picture.prompt or ""
        return clip_pixels(edited_part(picture), self._encoder.size), picture.prompt or ""

    def judge(self, name: str, prepared: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
        """Cosines, float64 [n]."""
        pixels, prompts = zip(*prepared, strict=True)
        return self._encoder.cosines(pixels, prompts)

    def tokens(self, prompt: str) -> tuple[int, int]:
        """See `metric.ReadsPrompts`."""
        return self._encoder.tokens(prompt)


def load(names: Sequence[str], files: Files, device: str) -> ClipJudge:
    """The encoder from its files; raises MissingError for those of another model."""
    from agsm_bench.clip_encoder import ClipEncoder

    return ClipJudge(ClipEncoder(files, device))


UNIT = "cosine, -1 to 1"
PREPROCESSING = "shorter side to 224 (bicubic), centre crop, CLIP mean and deviation"
METRIC = ImageMetric(
    variants={
        "clip/openai-l14": Variant("up", UNIT, PREPROCESSING, 100, needs=("prompt",), weights=WEIGHTS),
        EDITED: Variant("up", UNIT, PREPROCESSING, 100, needs=("prompt", "mask"), weights=WEIGHTS),
    },
    load=load,
)
