"""PickScore v1: what people prefer of two images for a prompt (Kirstain et al. 2023); CLIP ViT-H/14, tuned.

exp(logit_scale) times the cosine, as in the authors' README, here as it is, about 16 to 26; only the difference of
two images means something. The processor is the one of the model that it was tuned from, laion's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.preprocessing import shared_clip_pixels
from agsm_bench.weight_files import WeightFile

if TYPE_CHECKING:
    from agsm_bench.clip_encoder import ClipEncoder

REPO, PROCESSOR = "yuvalkirstain/PickScore_v1", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
WEIGHTS = (
    WeightFile("config.json", REPO),
    WeightFile("model.safetensors", REPO),
    WeightFile("vocab.json", PROCESSOR),
    WeightFile("merges.txt", PROCESSOR),
)


class PickScoreJudge:
    """The tuned encoder."""

    def __init__(self, encoder: ClipEncoder) -> None:
        self._encoder = encoder

    def prepare(self, name: str, picture: Picture) -> tuple[np.ndarray, str]:
        """float32 [3, side, side] and the prompt."""
        return shared_clip_pixels(picture, self._encoder.size, crop="floor"), picture.prompt or ""

    def judge(self, name: str, prepared: Sequence[tuple[np.ndarray, str]]) -> np.ndarray:
        """Scores, float64 [n]."""
        pixels, prompts = zip(*prepared, strict=True)
        return self._encoder.scale * self._encoder.cosines(pixels, prompts)

    def tokens(self, prompt: str) -> tuple[int, int]:
        """See `metric.ReadsPrompts`."""
        return self._encoder.tokens(prompt)


def load(names: Sequence[str], files: Files, device: str) -> PickScoreJudge:
    """The encoder from its files; raises MissingError for those of another model."""
    from agsm_bench.clip_encoder import ClipEncoder

    return PickScoreJudge(ClipEncoder(files, device))


METRIC = ImageMetric(
    variants={
        "pickscore/v1": Variant(
            "up",
            "scaled cosine, -100 to 100",
            "shorter side to 224 (bicubic), centre crop as transformers rounds it, CLIP mean and deviation",
            needs=("prompt",),
            weights=WEIGHTS,
            decimals=5,
        )
    },
    load=load,
)
