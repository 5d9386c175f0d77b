"""HPSv2: human preference score v2.1 and v2.0 of image and prompt on CLIP ViT-H/14 (Wu et al. 2023).

open_clip's network with hpsv2's checkpoint and hpsv2's own resize. Their package pins protobuf<4, its wheel lacks the
vocabulary, and its `score()` loads the checkpoint for every call and defaults to v2.0: it is the `--reference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench.clip_encoder import PromptFeatures
from agsm_bench.errors import MissingError
from agsm_bench.identity import content_hash
from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.preprocessing import CLIP_MEAN, CLIP_STD
from agsm_bench.weight_files import WeightFile

REPO = "xswu/HPSv2"
FILES = {"hpsv2/v2.1": "HPS_v2.1_compressed.pt", "hpsv2/v2.0": "HPS_v2_compressed.pt"}
ARCHITECTURE = "ViT-H-14"
"""open_clip's name."""
SIDE = 224


class HpsJudge:
    """open_clip's model and tokenizer, float32."""

    def __init__(self, path: Path, device: str) -> None:
        import open_clip

        from agsm_bench.state_dicts import fill, read_state

        state = read_state(path)
        model = open_clip.create_model(ARCHITECTURE, pretrained=None)
        fill(model, state.get("state_dict", state), path)
        self._model, self._device = model.eval().to(device), device
        self._tokenizer = open_clip.get_tokenizer(ARCHITECTURE)
        self._prompts = PromptFeatures(self._encode)

    def prepare(self, name: str, picture: Picture) -> tuple[Any, str]:
        """Tensor [3, 224, 224] and the prompt."""
        return hps_pixels(np.asarray(picture.image)), picture.prompt or ""

    def judge(self, name: str, prepared: Sequence[tuple[Any, str]]) -> np.ndarray:
        """Cosines, float64 [n]."""
        import torch

        pixels, prompts = zip(*prepared, strict=True)
        with torch.inference_mode():
            images = self._model.encode_image(torch.stack(pixels).to(self._device), normalize=True)
            return (images * self._prompts.of(prompts)).sum(dim=-1).double().cpu().numpy()

    def tokens(self, prompt: str) -> tuple[int, int]:
        """See `metric.ReadsPrompts`."""
        count = len(self._tokenizer.encode(prompt)) + 2  # begin and end
        return count, min(count, self._tokenizer.context_length)

    def _encode(self, prompts: Sequence[str]) -> Any:
        return self._model.encode_text(self._tokenizer(list(prompts)).to(self._device), normalize=True)


def hps_pixels(image: np.ndarray) -> Any:
    """Tensor [3, 224, 224] of uint8 [height, width, 3]: the longest side to 224 (bicubic, on the tensor), zero padding.

    The padding is black before normalisation, and a picture of that longest side is taken as it is: one of another
    shape then fails, as upstream (hpsv2/src/open_clip/transform.py, ResizeMaxSize); here it is padded.
    """
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as transforms

    tensor = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    height, width = tensor.shape[1:]
    scale = SIDE / max(height, width)
    size = [max(1, round(side * scale)) for side in (height, width)]
    if scale != 1:
        tensor = transforms.resize(tensor, size, InterpolationMode.BICUBIC)
    down, right = SIDE - size[0], SIDE - size[1]
    tensor = transforms.pad(tensor, [right // 2, down // 2, right - right // 2, down - down // 2])
    return transforms.normalize(tensor, CLIP_MEAN, CLIP_STD)


def load(names: Sequence[str], files: Files, device: str) -> HpsJudge:
    """The model of one version; raises MissingError for the checkpoint of the other, or of another model."""
    return HpsJudge(checked_version(names[0], files), device)


def checked_version(name: str, files: Files) -> Path:
    """The checkpoint's path.

    Raises:
        MissingError: it is the other version's, by its own name or by its contents.
    """
    path = files[FILES[name]]
    (other,) = FILES.keys() - {name}
    known = METRIC.variants[other].weights[0].located()
    twin = known is not None and known != path and content_hash(known) == content_hash(path)
    if twin or FILES[other] in (path.name, path.resolve().name):
        raise MissingError(f"{path} is the checkpoint of {other}, not of {name}.", f"Ask for {other}, or name another.")
    return path


class UpstreamJudge:
    """The package hpsv2's model and preprocessing, picture by picture, in float32."""

    def __init__(self, path: Path, device: str) -> None:
        try:
            from hpsv2.src.open_clip import create_model_and_transforms, get_tokenizer
        except Exception as error:  # it imports turtle and tkinter, and its wheel lacks the vocabulary
            raise MissingError(
                f"The package hpsv2 does not import here ({type(error).__name__}: {error}).",
                'Use an environment of its own: pip install "agsm-bench[hpsv2]"',
            ) from error
        from agsm_bench.state_dicts import fill, read_state

        self._model, _, self._preprocess = create_model_and_transforms(
            ARCHITECTURE, None, device=device, light_augmentation=True, aug_cfg={}, output_dict=True
        )
        state = read_state(path)
        fill(self._model, state.get("state_dict", state), path)
        self._model.eval()
        self._tokenizer, self._device = get_tokenizer(ARCHITECTURE), device

    def prepare(self, name: str, picture: Picture) -> tuple[Any, str]:
        return self._preprocess(picture.image), picture.prompt or ""

    def judge(self, name: str, prepared: Sequence[tuple[Any, str]]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return np.array([self._score(*each) for each in prepared])

    def _score(self, pixels: Any, prompt: str) -> float:
        found = self._model(pixels[None].to(self._device), self._tokenizer([prompt]).to(self._device))
        return float((found["image_features"] @ found["text_features"].T)[0, 0])


def load_upstream(names: Sequence[str], files: Files, device: str) -> UpstreamJudge:
    """Raises MissingError where the package does not import."""
    return UpstreamJudge(checked_version(names[0], files), device)


def _variant(name: str) -> Variant:
    return Variant(
        "up",
        "cosine, -1 to 1",
        "longest side to 224 (bicubic, on the tensor), black padding, CLIP mean and deviation",
        100,
        needs=("prompt",),
        weights=(WeightFile(FILES[name], REPO),),
    )


METRIC = ImageMetric(
    variants={name: _variant(name) for name in FILES},
    load=load,
    extra="metrics",
    packages=("open_clip", "torchvision"),
    reference=load_upstream,
)
