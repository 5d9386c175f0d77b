"""LPIPS: learned distance of an image from its reference (Zhang et al. 2018); AlexNet, VGG or SqueezeNet.

The package lpips, with torchvision's backbones from torch's folder of checkpoints. `squeeze-unedited` is PIE-Bench's:
what was to be edited is black in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from agsm_bench.metric import Files, ImageMetric, Need, Picture, Variant
from agsm_bench.pixel_pairs import by_size, same_size, unedited
from agsm_bench.weight_files import WeightFile

UNEDITED = "lpips/squeeze-unedited"
BACKBONES = {
    net: WeightFile(f"{name}.pth", url=f"https://download.pytorch.org/models/{name}.pth", sha256=digest)
    for net, name, digest in (
        ("alex", "alexnet-owt-7be5be79", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
        ("vgg", "vgg16-397923af", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
        ("squeeze", "squeezenet1_1-b8a52dc0", "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b"),
    )
}
SMALLEST = {"alex": 31, "vgg": 16, "squeeze": 17}
"""Side in pixels below which the pooling of the network leaves nothing."""


class LpipsJudge:
    """One backbone with its heads."""

    def __init__(self, network: Any, smallest: int, device: str) -> None:
        self._network, self._smallest, self._device = network, smallest, device

    def prepare(self, name: str, picture: Picture) -> np.ndarray:
        """uint8 [2, height, width, 3]: image and reference."""
        if min(picture.image.size) < self._smallest:
            raise ValueError(f"its shorter side is {min(picture.image.size)} pixels, and {self._smallest} are needed")
        return np.stack(unedited(picture) if name == UNEDITED else same_size(picture))

    def judge(self, name: str, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Distances, float64 [n]."""
        return by_size(prepared, self._distances)

    def _distances(self, pairs: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(pairs).to(self._device).permute(1, 0, 4, 2, 3).float() / 127.5 - 1
            return self._network(*pixels).flatten().cpu().double().numpy()


def load(names: Sequence[str], files: Files, device: str) -> LpipsJudge:
    """A backbone from torchvision's checkpoint; raises MissingError for one of another network."""
    import lpips
    import torch

    from agsm_bench.one_kernel import use_one_kernel
    from agsm_bench.state_dicts import fill, read_state

    net = names[0].partition("/")[2].partition("-")[0]
    path = files[BACKBONES[net].file]
    network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    # lpips numbers the layers as torchvision does, below slices of its own
    own = {key: f"features.{key.partition('.')[2]}" for key in network.net.state_dict()}
    state = read_state(path)
    renamed = {key: state[name] for key, name in own.items() if name in state}
    fill(network.net, renamed, path)
    use_one_kernel(network)
    return LpipsJudge(network.to(torch.device(device)), SMALLEST[net], device)


def _variant(net: str, *needs: Need) -> Variant:
    return Variant("down", "distance, from 0", "pixels to [-1, 1]", 100, needs=needs, weights=(BACKBONES[net],))


METRIC = ImageMetric(
    variants={
        **{f"lpips/{net}": _variant(net, "reference") for net in BACKBONES},
        UNEDITED: _variant("squeeze", "reference", "mask"),
    },
    load=load,
    extra="metrics",
    packages=("lpips", "torchvision"),
)
