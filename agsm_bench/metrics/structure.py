"""Structure distance of an image and its reference: DINO ViT-B/8 keys and how they resemble each other.

Mean squared difference of the two matrices of cosines between the keys of the last layer, all heads together and the
class token included (Splice, Tumanyan et al. 2022; PnPInversion, evaluation/matrics_calculator.py). PnPInversion takes
ImageNet's mean from pixels that go to 255, not to 1; so do we, as published distances were measured that way. The
tables of PIE-Bench show them times 1,000.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.pixel_pairs import by_size, same_size
from agsm_bench.weight_files import WeightFile

NAME, REPO = "structure/dino-b8", "facebook/dino-vitb8"
WEIGHTS = (WeightFile("config.json", REPO), WeightFile("pytorch_model.bin", REPO))
LONGEST = 480
"""Side in pixels to which a picture is cut down that is longer once its shorter side has the network's size."""
EPSILON = 1e-6
"""Of layer norms, as in DINO's code, whatever the config says; 1e-12, as it says, shows in the scores."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of pixels from 0 to 1."""


class StructureJudge:
    """transformers' ViT, read at the keys of its last layer."""

    def __init__(self, network: Any, device: str) -> None:
        self._network, self._device = network, device
        self._keys: list[Any] = []
        names = ("k_proj", "attention.key")  # of newer transformers, of 5.0
        *_, last = (module for name, module in network.named_modules() if name.endswith(names))
        last.register_forward_hook(lambda *call: self._keys.append(call[-1]))

    def prepare(self, name: str, picture: Picture) -> np.ndarray:
        """float32 [2, 3, height, width]: image and reference, the shorter side of the network's size.

        Raises ValueError for sizes that differ, and for a strip that is narrower than a patch once it is cut down.
        """
        pair = same_size(picture)
        (width, height), patch = picture.image.size, int(self._network.config.patch_size)
        if LONGEST * min(width, height) // max(width, height) < patch:
            raise ValueError(f"it is {width} x {height}, a strip of less than {patch} pixels in {LONGEST}")
        return np.stack([self._pixels(array) for array in pair])

    def judge(self, name: str, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Distances, float64 [n]."""
        return by_size(prepared, self._distances)

    def _pixels(self, array: np.ndarray) -> np.ndarray:
        import torch
        from torchvision.transforms import functional as transforms

        tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float()  # to 255, as PnPInversion
        size = int(self._network.config.image_size)
        tensor = transforms.resize(tensor, [size], max_size=max(LONGEST, size + 1))
        return transforms.normalize(tensor, MEAN, STD).numpy()

    def _distances(self, pairs: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            one, other = (self._similarities(torch.from_numpy(pairs[:, i]).to(self._device)) for i in (0, 1))
            return (one - other).square().mean(dim=(1, 2)).cpu().double().numpy()

    def _similarities(self, pixels: Any) -> Any:
        """[n, tokens, tokens]."""
        import torch

        self._keys.clear()
        self._network(pixels, interpolate_pos_encoding=pixels.shape[2] != pixels.shape[3])
        keys = torch.nn.functional.normalize(self._keys.pop(), dim=-1)
        return keys @ keys.transpose(1, 2)


def load(names: Sequence[str], files: Files, device: str) -> StructureJudge:
    """The network from its files; raises MissingError for those of another model."""
    from transformers import ViTConfig, ViTModel

    from agsm_bench.state_dicts import read_state

    path, config = files["pytorch_model.bin"], ViTConfig.from_json_file(files["config.json"])
    config.layer_norm_eps = EPSILON
    try:  # it renames the layers from what they were when this checkpoint was made
        network, info = ViTModel.from_pretrained(
            None, config=config, state_dict=read_state(path), add_pooling_layer=False, output_loading_info=True
        )
    except RuntimeError as error:
        raise _another_models(path, str(error).strip().partition("\n")[0]) from error
    if missing := sorted(info["missing_keys"]):
        raise _another_models(path, f"it lacks {missing[0]}")
    if left := sorted(key for key in info["unexpected_keys"] if not key.startswith("pooler.")):
        raise _another_models(path, f"it has {left[0]}, which the model has not")
    return StructureJudge(network.eval().to(device), device)


def _another_models(path: Path, wrong: str) -> MissingError:
    return MissingError(f"{path.name} is the checkpoint of another model: {wrong}.", f"Get {path} again.")


METRIC = ImageMetric(
    variants={
        NAME: Variant(
            "down",
            "squared difference of cosines, 0 to 4",
            "shorter side to 224 (bilinear, antialiased, on the tensor), ImageNet mean and deviation of pixels to 255",
            1000,
            needs=("reference",),
            weights=WEIGHTS,
            decimals=8,
        )
    },
    load=load,
    extra="metrics",
    packages=("torchvision",),
)
