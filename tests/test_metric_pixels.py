"""PSNR, SSIM, MSE and LPIPS equal torchmetrics' and lpips'; their masked variants equal a slow loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import check_company, judged, picture, weight_files
from PIL import Image

from agsm_bench.errors import MissingError
from agsm_bench.metric import ImageMetric, Judge, Picture
from agsm_bench.metrics import lpips, mse, psnr, ssim

PAIRS = [
    Picture(picture(size, i), None, picture(size, i + 50), np.random.default_rng(i).random(size[::-1]) < 0.4)
    for i, size in enumerate([(64, 48), (64, 48), (37, 91), (100, 33), (64, 48)])
]
DIM = [each.point(lambda value: value // 4) for each in (picture((64, 48), 5), picture((64, 48), 55))]
PAIRS.append(Picture(DIM[0], None, DIM[1], PAIRS[0].mask))  # the range of values is 1 whatever a picture's own is


def tensors(pair: Picture, scale: float = 1.0, shift: float = 0.0) -> list[torch.Tensor]:
    """[1, 3, h, w] of both, by default from 0 to 1."""
    arrays = [np.asarray(each, np.float32) / 255 for each in (pair.image, pair.reference)]
    return [torch.from_numpy(array).permute(2, 0, 1)[None] * scale + shift for array in arrays]


def blackened(pair: Picture) -> Picture:
    """PIE-Bench's background, pixel by pixel."""
    assert pair.mask is not None
    arrays = [np.array(pair.image), np.array(pair.reference)]
    for y, x in np.ndindex(*pair.mask.shape):
        if pair.mask[y, x]:
            for array in arrays:
                array[y, x] = 0
    return Picture(Image.fromarray(arrays[0]), None, Image.fromarray(arrays[1]))


def load(metric: ImageMetric, name: str) -> Judge:
    return metric.load([name], {}, "cpu")


@pytest.mark.parametrize("name", ["psnr", "ssim", "mse"])
def test_they_are_torchmetrics(name: str) -> None:
    from torchmetrics.functional import mean_squared_error
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    metric, theirs, tolerance = {
        "psnr": (psnr.METRIC, lambda a, b: peak_signal_noise_ratio(a, b, data_range=1.0), 1e-4),
        "ssim": (ssim.METRIC, lambda a, b: structural_similarity_index_measure(a, b, data_range=1.0), 1e-5),
        "mse": (mse.METRIC, lambda a, b: mean_squared_error(a.contiguous(), b.contiguous()), 1e-7),
    }[name]
    judge = load(metric, name)
    found = check_company(judge, name, PAIRS)
    np.testing.assert_allclose(found, [float(theirs(*tensors(pair))) for pair in PAIRS], atol=tolerance)
    masked = judged(judge, f"{name}/unedited", PAIRS)
    slow = judged(judge, name, [blackened(pair) for pair in PAIRS])
    np.testing.assert_allclose(masked, slow, atol=1e-9)
    assert np.abs(masked - found).min() > tolerance


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's three networks with random weights, under the names of its files."""
    from torchvision import models

    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for net, make in (("alex", models.alexnet), ("squeeze", models.squeezenet1_1)):
        torch.save(make(weights=None).state_dict(), folder / lpips.BACKBONES[net].file)
    features = {f"features.{k}": v for k, v in models.vgg16(weights=None).features.state_dict().items()}
    torch.save(features, folder / lpips.BACKBONES["vgg"].file)
    return folder


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_lpips_is_the_packages(backbones: Path, net: str) -> None:
    import lpips as upstream
    from torchvision import models

    name = f"lpips/{net}"
    judge = lpips.METRIC.load([name], weight_files(lpips.METRIC, name, backbones), "cpu")
    state = torch.load(backbones / lpips.BACKBONES[net].file, weights_only=True)
    theirs = upstream.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    make = {"alex": models.alexnet, "vgg": models.vgg16, "squeeze": models.squeezenet1_1}[net]
    whole = make(weights=None)
    whole.load_state_dict(state, strict=net != "vgg")
    for number, layer in enumerate(whole.features):  # its slices hold torchvision's layers, in order
        for part in range(1, theirs.net.N_slices + 1):
            own = getattr(theirs.net, f"slice{part}")
            if str(number) in own._modules:
                own._modules[str(number)] = layer
    with torch.inference_mode():
        expected = [float(theirs(*tensors(pair, 2, -1))) for pair in PAIRS]
    np.testing.assert_allclose(check_company(judge, name, PAIRS), expected, atol=1e-5)
    itself = [Picture(pair.image, None, pair.image) for pair in PAIRS]
    assert judged(judge, name, itself) == pytest.approx(np.zeros(len(PAIRS)), abs=1e-7)


def test_lpips_of_what_is_unedited_is_of_black_pictures(
    backbones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As torchmetrics measures it, which PIE-Bench uses; it has heads of its own and takes torch's checkpoints."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "checkpoints").symlink_to(backbones)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    names = ["lpips/squeeze", lpips.UNEDITED]
    judge = lpips.METRIC.load(names, weight_files(lpips.METRIC, names[0], backbones), "cpu")
    theirs = LearnedPerceptualImagePatchSimilarity(net_type="squeeze")
    for name, pairs in ((names[0], PAIRS), (lpips.UNEDITED, [blackened(pair) for pair in PAIRS])):
        with torch.inference_mode():
            expected = [float(theirs(*tensors(pair, 2, -1))) for pair in pairs]
        np.testing.assert_allclose(judged(judge, name, PAIRS), expected, atol=1e-6)


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_the_smallest_picture_of_a_network(backbones: Path, net: str) -> None:
    """One pixel less and the network fails; such a picture is refused before."""
    name, side = f"lpips/{net}", lpips.SMALLEST[net]
    judge: Any = lpips.METRIC.load([name], weight_files(lpips.METRIC, name, backbones), "cpu")
    smallest, smaller = (Picture(picture((n, n), 0), None, picture((n, n), 1)) for n in (side, side - 1))
    assert np.isfinite(judged(judge, name, [smallest])).all()
    with pytest.raises(ValueError, match=f"and {side} are needed"):
        judge.prepare(name, smaller)
    with pytest.raises(RuntimeError):
        judge._distances(np.stack([np.asarray(smaller.image), np.asarray(smaller.reference)])[None])


def test_another_networks_weights(backbones: Path) -> None:
    files = {lpips.BACKBONES["alex"].file: backbones / lpips.BACKBONES["squeeze"].file}
    with pytest.raises(MissingError, match="is the checkpoint of another model"):
        lpips.METRIC.load(["lpips/alex"], files, "cpu")


def test_identities_and_pairs_without_a_score() -> None:
    image, other = picture((20, 30), 1), picture((30, 20), 1)
    same, turned = Picture(image, None, image), Picture(image, None, other)
    assert judged(load(ssim.METRIC, "ssim"), "ssim", [same]) == pytest.approx(1)
    assert judged(load(mse.METRIC, "mse"), "mse", [same]) == 0
    with pytest.raises(ValueError, match="PSNR is infinite"):
        load(psnr.METRIC, "psnr").prepare("psnr", same)
    with pytest.raises(ValueError, match="the window's 11"):
        load(ssim.METRIC, "ssim").prepare("ssim", Picture(picture((1, 1), 0), None, picture((1, 1), 1)))
    for metric, name in ((psnr.METRIC, "psnr"), (mse.METRIC, "mse"), (ssim.METRIC, "ssim")):
        with pytest.raises(ValueError, match="the image is 20 x 30 and its reference 30 x 20"):
            load(metric, name).prepare(name, turned)
    everything = Picture(image, None, image, np.ones((30, 20), bool))
    with pytest.raises(ValueError, match="outside its mask"):
        load(mse.METRIC, "mse/unedited").prepare("mse/unedited", everything)
    elsewhere = Picture(image, None, image, np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="the mask is 2 x 3"):
        load(mse.METRIC, "mse/unedited").prepare("mse/unedited", elsewhere)
