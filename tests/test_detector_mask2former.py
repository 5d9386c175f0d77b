"""Mask2Former as mmdet runs it: its steps against slow readings, on a small random network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import picture

from agsm_bench import mask2former as steps
from agsm_bench.detectors import mask2former
from agsm_bench.errors import MissingError
from agsm_bench.geneval_prompts import COCO_CLASSES
from agsm_bench.opencv_resize import resize
from agsm_bench.types import Detection

HUB_NAMES = {ours: given for given, ours in mask2former.OTHER_NAMES.items()} | {
    "potted plant": "pottedplant",
    "dining table": "diningtable",
}
"""As the hub's configuration spells them."""


def save_network(folder: Path) -> None:
    """A small Mask2Former whose ten queries are sure of some classes, with the hub's spelling of them."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    stages = ["stage1", "stage2", "stage3", "stage4"]
    swin = SwinConfig(embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=7, out_features=stages)
    widths = dict.fromkeys(("feature_size", "mask_feature_size", "hidden_dim", "encoder_feedforward_dim"), 32)
    small = {"dim_feedforward": 32, "encoder_layers": 1, "decoder_layers": 2, "num_attention_heads": 2}
    config = Mask2FormerConfig(backbone_config=swin, num_labels=80, num_queries=10, **widths, **small)
    config.id2label = {index: HUB_NAMES.get(name, name) for index, name in enumerate(COCO_CLASSES)}
    torch.manual_seed(0)
    network = Mask2FormerForUniversalSegmentation(config)
    with torch.no_grad():
        for name, value in network.named_parameters():
            torch.nn.init.normal_(value, std=0.2) if value.ndim > 1 and "embedder" in name else None
        torch.nn.init.normal_(network.class_predictor.weight, std=0.6)
    network.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mask2former")
    save_network(path)
    return path


@pytest.fixture
def small_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    """An eighth of the pixels a side: the steps are the same, and the tests faster."""
    monkeypatch.setattr(steps, "LONG_SIDE", 166)
    monkeypatch.setattr(steps, "SHORT_SIDE", 100)


def files_in(folder: Path) -> dict[str, Path]:
    return {weight.file: folder / weight.file for weight in mask2former.DETECTOR.weights}


def photo(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.asarray(picture((width, height), seed))


@pytest.mark.parametrize(("given", "scaled"), [
    ((512, 512), (800, 800)),
    ((1024, 1024), (800, 800)),
    ((300, 1000), (400, 1333)),
    ((1400, 900), (1244, 800)),
    ((1, 1), (800, 800)),
    ((1, 9000), (1, 1333)),
])  # fmt: skip
def test_a_picture_fits_either_way_round(given: tuple[int, int], scaled: tuple[int, int]) -> None:
    assert steps.fitted(given) == scaled
    assert steps.fitted(given[::-1]) == scaled[::-1]


def test_pixels_are_scaled_padded_and_normalised(small_scale: None) -> None:
    image = photo(50, 30)
    found, (height, width) = steps.pixels(image)
    assert (found.shape, (height, width)) == ((3, 128, 192), (100, 166))
    assert found.dtype == np.float32
    scaled = resize(image, 100, 166)
    for channel, y, x in np.ndindex(3, 128, 192):
        value = float(scaled[y, x, channel]) if y < 100 and x < 166 else 128.0
        mean, deviation = (123.675, 116.28, 103.53)[channel], (58.395, 57.12, 57.375)[channel]
        assert found[channel, y, x] == pytest.approx((value - mean) / deviation, abs=1e-5)


def bilinear(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel centres at halves, borders repeated."""
    return mixing(values.shape[0], height) @ values @ mixing(values.shape[1], width).T


def mixing(old: int, new: int) -> np.ndarray:
    """[new, old]: how much of each old pixel is in a new one."""
    shares = np.zeros((new, old))
    for index in range(new):
        place = max((index + 0.5) * old / new - 0.5, 0)
        first = int(place)
        shares[index, first] += 1 - place + first
        shares[index, min(first + 1, old - 1)] += place - first
    return shares


def slowly(classes: np.ndarray, masks: np.ndarray, padded: Any, scaled: Any, size: Any) -> list[Detection]:
    """mmdet's post-processing, read plainly, in float64 and pair by pair."""
    pairs = []
    for query, logits in enumerate(classes.astype(float)):
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        pairs += [(share, query, label) for label, share in enumerate(shares[:-1])]
    found = []
    for share, query, label in sorted(pairs, key=lambda pair: -pair[0])[:100]:
        if share < 0.05:
            continue
        whole = bilinear(masks[query].astype(float), *padded)[: scaled[0], : scaled[1]]
        mask = bilinear(whole, *size)
        inside = [(y, x) for y, x in np.ndindex(*size) if mask[y, x] > 0]
        sure = sum(1 / (1 + np.exp(-mask[place])) for place in inside) / (len(inside) + 1e-6)
        if share * sure >= 0.05:
            ys, xs = zip(*inside, strict=True)
            box = (min(xs), min(ys), max(xs) + 1, max(ys) + 1)
            found.append(Detection(COCO_CLASSES[label], box, float(share * sure), mask=mask > 0))
    return sorted(found, key=lambda detection: -detection.score)


def check_same(found: list[Detection], expected: list[Detection], tolerance: float = 1e-5) -> None:
    """Labels, boxes and masks alike, scores up to rounding."""
    assert [d.label for d in found] == [d.label for d in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.box, ours.color) == (theirs.box, None)
        assert ours.score == pytest.approx(theirs.score, abs=tolerance)
        assert ours.mask is not None
        assert theirs.mask is not None
        assert ours.mask.dtype == bool
        assert (ours.mask == theirs.mask).all()


@pytest.mark.parametrize("size", [(9, 14), (40, 11), (1, 1), (32, 64)])
def test_post_processing_is_a_slow_reading_of_mmdets(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(sum(size))
    classes = torch.randn((6, 81), generator=generator) * 3
    masks = torch.randn((6, 8, 16), generator=generator) + 0.5
    shapes = ((32, 64), (27, 42), size)
    found = steps.detections(classes, masks, *shapes)
    check_same(found, slowly(classes.numpy(), masks.numpy(), *shapes))
    assert len(found) > 3


def test_the_best_hundred_pairs_are_chosen_before_their_masks_are_looked_at() -> None:
    """30 queries with ten classes of a tenth each. The last one's are the least likely, and its mask is the surest."""
    classes = torch.full((30, 81), -20.0)
    classes[:, :10] = 0.0
    classes[-1, 80] = 0.1
    masks = torch.full((30, 4, 4), 1.0)
    masks[-1] = 9.0
    shape = (16, 16)
    found = steps.detections(classes, masks, shape, shape, shape)
    assert len(found) == 100
    assert all(d.score == pytest.approx(0.1 / (1 + np.exp(-1)), abs=1e-5) for d in found)
    assert {d.label for d in found} == set(COCO_CLASSES[:10])
    alone = steps.detections(classes[-11:], masks[-11:], shape, shape, shape)
    assert len(alone) == 100
    few = steps.detections(classes[-3:], masks[-3:], shape, shape, shape)
    assert len(few) == 30
    assert few[0].score == pytest.approx(1 / (10 + np.exp(0.1)), abs=1e-4), "best first"


def test_masks_of_a_pixel_and_of_none() -> None:
    classes = torch.full((3, 81), -20.0)
    classes[0, 0] = classes[1, 63] = classes[2, 64] = 20.0
    masks = torch.full((3, 8, 8), -5.0)
    masks[0, 2, 7] = masks[1, 0, 0] = 5.0
    shape = (8, 8)
    pixel, corner = steps.detections(classes, masks, shape, shape, shape)
    assert (pixel.label, corner.label) == ("person", "laptop")
    assert (pixel.box, corner.box) == ((7, 2, 8, 3), (0, 0, 1, 1))
    assert pixel.mask is not None
    assert (pixel.mask.sum(), pixel.mask[2, 7]) == (1, True)
    classes[:, 80] = 40.0
    assert steps.detections(classes, masks, shape, shape, shape) == []


def test_the_whole_way_equals_the_slow_reading(folder: Path, small_scale: None) -> None:
    """Wide, tall, square and single pixels; also what the network is given, and that no mask says what is padding."""
    from transformers import Mask2FormerForUniversalSegmentation

    detector = mask2former.DETECTOR.load(files_in(folder), "cpu")
    network = Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    images = [photo(60, 20, 1), photo(21, 47, 2), photo(40, 40, 3), photo(1, 1, 4)]
    total = 0
    for image, found in zip(images, detector.detect(images), strict=True):
        inputs, scaled = steps.pixels(image)
        with torch.inference_mode():
            output = network(pixel_values=torch.from_numpy(inputs)[None])
        classes, masks = output.class_queries_logits[0].numpy(), output.masks_queries_logits[0].numpy()
        check_same(found, slowly(classes, masks, inputs.shape[1:], scaled, image.shape[:2]), 1e-4)
        total += len(found)
    assert total >= 12


def test_pictures_do_not_change_each_other(folder: Path, small_scale: None) -> None:
    detector = mask2former.DETECTOR.load(files_in(folder), "cpu")
    images = [photo(60, 20, 1), photo(21, 47, 2), photo(60, 20, 3)]
    together = detector.detect(images)
    for found, expected in zip(detector.detect(images[::-1])[::-1], together, strict=True):
        check_same(found, expected)
    for image, expected in zip(images, together, strict=True):
        check_same(detector.detect([image])[0], expected)
    assert detector.detect([]) == []


def test_older_checkpoints_list_window_positions(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    block = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self."
    assert f"{block}relative_position_bias_table" in state, "the hub's file has the names of an earlier release"
    state[f"{block}relative_position_index"] = torch.zeros(49, 49, dtype=torch.long)
    del state["criterion.empty_weight"]
    save_file(state, tmp_path / "model.safetensors")
    mask2former.DETECTOR.load(files_in(folder) | {"model.safetensors": tmp_path / "model.safetensors"}, "cpu")


def test_other_weights(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    file = tmp_path / "model.safetensors"
    files = files_in(folder) | {"model.safetensors": file}
    wrong = {
        r"it lacks class_predictor\.bias": {k: v for k, v in state.items() if k != "class_predictor.bias"},
        r"class_predictor\.bias has another shape": state | {"class_predictor.bias": torch.zeros(134)},
        r"it has decoder\.weight, too": state | {"decoder.weight": torch.zeros(1)},
    }
    for reason, contents in wrong.items():
        save_file(contents, file)
        with pytest.raises(MissingError, match=reason) as caught:
            mask2former.DETECTOR.load(files, "cpu")
        assert str(file) in caught.value.message
        assert "agsm-bench metrics get mask2former" in caught.value.fix
    file.write_bytes(b"<html>")
    with pytest.raises(MissingError, match="holds no weights"):
        mask2former.DETECTOR.load(files, "cpu")


Change = Callable[[dict[str, Any]], Any]


@pytest.mark.parametrize(("change", "reason"), [
    (lambda c: c.update(model_type="clip"), "its kind is clip"),
    (lambda c: c["id2label"].update({"4": "boat"}), "it has the class boat where airplane is expected"),
    (lambda c: c["id2label"].pop("79"), "it has 79 classes, and 80"),
    (lambda c: c["id2label"].update({"80": "banner"}), "it has 81 classes"),
    (lambda c: c.pop("id2label"), "no configuration"),
])  # fmt: skip
def test_another_configuration(folder: Path, tmp_path: Path, change: Change, reason: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    with pytest.raises(MissingError, match=reason) as caught:
        mask2former.DETECTOR.load(files_in(folder) | {"config.json": path}, "cpu")
    assert str(path) in caught.value.message


def test_cocos_own_names_and_genevals_are_accepted(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    coco = {"computer mouse": "mouse", "tv remote": "remote", "computer keyboard": "keyboard"}
    for names in (COCO_CLASSES, [coco.get(name, name) for name in COCO_CLASSES]):
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        (tmp_path / "config.json").write_text(json.dumps(config))
        mask2former.check_config(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(MissingError, match="no configuration"):
        mask2former.check_config(tmp_path / "config.json")


def test_the_version_is_that_of_the_weights(folder: Path, tmp_path: Path) -> None:
    files = files_in(folder)
    (tmp_path / "model.safetensors").write_bytes(b"others")
    before = mask2former.DETECTOR.version(files)
    assert before == mask2former.DETECTOR.version(files)
    assert before != mask2former.DETECTOR.version(files | {"model.safetensors": tmp_path / "model.safetensors"})
