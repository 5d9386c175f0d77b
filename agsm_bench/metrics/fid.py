"""FID: Fréchet distance of two sets of images in Inception features; `clean` (clean-fid) or `legacy_pytorch`.

Modes as in clean-fid (Parmar et al. 2022): `clean` resizes with Pillow, bicubic, in floating point; `legacy_pytorch`
is pytorch-fid's: torch, bilinear, without antialiasing, and other weights. They differ: a table names its mode.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.identity import read_hash
from agsm_bench.metric import Files, ImageMetric, Picture, Variant
from agsm_bench.weight_files import WeightFile

CLEAN, LEGACY = "fid/clean", "fid/legacy_pytorch"
WEIGHTS = {
    CLEAN: WeightFile(
        "inception-2015-12-05.pt",
        url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        sha256="f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    ),
    LEGACY: WeightFile(
        "pt_inception-2015-12-05-6726825d.pth",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
}
FEATURES = 2048


class FidJudge:
    """clean-fid's resize and one of its networks."""

    def __init__(self, mode: str, network: Callable[[Any], Any], device: str) -> None:
        from cleanfid.resize import build_resizer

        with warnings.catch_warnings():  # it silences those of the whole process
            self._resize = build_resizer(mode)
        self._network, self._device = network, device

    def prepare(self, name: str, picture: Picture) -> np.ndarray:
        """float32 [3, 299, 299] from 0 to 255."""
        resized = self._resize(np.asarray(picture.image))
        return np.ascontiguousarray(resized.transpose(2, 0, 1), np.float32)

    def judge(self, name: str, prepared: Sequence[np.ndarray]) -> np.ndarray:
        """Features, float32 [n, 2048]; raises MissingError for a network that gives others."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(prepared)).to(self._device)
            features: np.ndarray = self._network(batch).flatten(1).cpu().numpy()
        if features.shape[1] != FEATURES:
            raise MissingError(
                f"The network gives {features.shape[1]} features, and Inception has {FEATURES}.",
                f"Get its file again: agsm-bench metrics get {name}",
            )
        return features


def load(names: Sequence[str], files: Files, device: str) -> FidJudge:
    """The network of one mode; raises MissingError for a file of another model."""
    path = files[WEIGHTS[names[0]].file]
    network = _clean(path, device) if names[0] == CLEAN else _legacy(path, device)
    return FidJudge(names[0].partition("/")[2], network, device)


def _clean(path: Path, device: str) -> Callable[[Any], Any]:
    """NVIDIA's TorchScript of the original network, without the resize that is in it.

    TorchScript is code, so no other file than that of the hash above is loaded.
    """
    import torch

    if read_hash(path) != WEIGHTS[CLEAN].sha256:
        raise MissingError(
            f"{path} is not NVIDIA's Inception network, and code of another is not run.",
            f"Get it: agsm-bench metrics get {CLEAN}",
        )
    try:
        layers = torch.jit.load(str(path), map_location=device).eval().layers
    except (RuntimeError, AttributeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise MissingError(
            f"{path} is no Inception network ({reason}).", f"Get it: agsm-bench metrics get {CLEAN}"
        ) from error
    return lambda pixels: layers.forward((pixels - 128) / 128)


def _legacy(path: Path, device: str) -> Callable[[Any], Any]:
    """pytorch-fid's: torchvision's network with the blocks that clean-fid has patched as TensorFlow's are."""
    import torch
    from cleanfid import inception_pytorch as upstream
    from torchvision.models import inception_v3

    from agsm_bench.one_kernel import use_one_kernel
    from agsm_bench.state_dicts import fill, read_state

    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    for name, width, pool in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        setattr(network, f"Mixed_{name}", upstream.FIDInceptionA(width, pool_features=pool))
    for name, channels in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        setattr(network, f"Mixed_{name}", upstream.FIDInceptionC(768, channels_7x7=channels))
    network.Mixed_7b, network.Mixed_7c = upstream.FIDInceptionE_1(1280), upstream.FIDInceptionE_2(2048)
    # upstream, too, takes a file without these counters, which only training reads
    counters = {key: value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")}
    fill(network, counters | read_state(path), path)
    network.fc = torch.nn.Identity()
    use_one_kernel(network.eval().to(device))
    return lambda pixels: network(2 * (pixels / 255) - 1)


PREPROCESSING = {
    CLEAN: "to 299 x 299, Pillow bicubic, in floating point",
    LEGACY: "to 299 x 299, torch bilinear without antialiasing",
}
METRIC = ImageMetric(
    variants={
        name: Variant("down", "squared distance, from 0", PREPROCESSING[name], per="set", weights=(WEIGHTS[name],))
        for name in WEIGHTS
    },
    load=load,
    extra="metrics",
    packages=("cleanfid", "torchvision", "scipy"),
)
