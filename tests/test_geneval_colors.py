"""Colours of objects equal GenEval's recipe, one crop at a time, on the same random CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import picture, write_clip_vocabulary
from PIL import Image

from agsm_bench import geneval_colors
from agsm_bench.clip_encoder import CLIP_FILES
from agsm_bench.errors import MissingError
from agsm_bench.geneval_colors import UNCLEAR, ColorNamer, Crop
from agsm_bench.geneval_prompts import COLORS
from agsm_bench.preprocessing import CLIP_MEAN, CLIP_STD


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIPModel whose answers depend on the picture."""
    from transformers import CLIPConfig, CLIPModel

    path = tmp_path_factory.mktemp("clip")
    tokens = write_clip_vocabulary(path)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = tower | {"vocab_size": tokens, "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config=tower | {"image_size": 32, "patch_size": 8}, projection_dim=32)
    torch.manual_seed(0)
    model = CLIPModel(config)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3) if value.ndim > 1 else None
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def namer(folder: Path) -> ColorNamer:
    return geneval_colors.load(files_in(folder), "cpu")


def files_in(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in CLIP_FILES}


def crops() -> list[Crop]:
    """Several sizes, labels, boxes within and beyond the picture, with masks and without."""
    found = []
    rng = np.random.default_rng(0)
    for seed, size in enumerate(((60, 40), (33, 70), (48, 48), (25, 90)) * 6):
        image = np.asarray(picture(size, seed))
        mask = np.zeros((size[1], size[0]), bool)
        left, top = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        right, bottom = rng.integers(left + 1, size[0] + 1), rng.integers(top + 1, size[1] + 1)
        mask[top:bottom, left:right] = rng.random((bottom - top, right - left)) < 0.7
        box = (float(left), float(top), float(right), float(bottom))
        label = ("dog", "tv remote", "orange")[seed % 3]
        found.append(Crop(image, box, mask if seed % 5 else None, label))
    narrow = np.asarray(picture((20, 30), 99))
    found.append(Crop(narrow, (3.0, 2.0, 4.0, 29.0), narrow[..., 0] > 90, "dog"))
    found.append(Crop(narrow, (-4.0, 10.0, 30.0, 33.0), None, "dog"))
    found.append(Crop(narrow, (2.5, 3.5, 11.5, 20.4), None, "dog"))
    return found


class Recipe:
    """GenEval's `color_classification` and clip-benchmark's classifier, with transformers' model."""

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPModel, CLIPTokenizer

        self.model = CLIPModel.from_pretrained(folder).eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def logits(self, crop: Crop) -> np.ndarray:
        """[10]."""
        shown = Image.fromarray(crop.image)
        if crop.mask is not None:
            shown = Image.composite(shown, Image.new("RGB", shown.size, color="#999"), Image.fromarray(crop.mask))
        pixels = self.transform(shown.crop(crop.box))[None]
        image = torch.nn.functional.normalize(self.model.get_image_features(pixels).pooler_output, dim=-1)
        return (100 * image @ self.classifier(crop.label))[0].numpy()

    def transform(self, image: Image.Image) -> torch.Tensor:
        from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

        steps = [Resize(32, InterpolationMode.BICUBIC), CenterCrop(32), ToTensor(), Normalize(CLIP_MEAN, CLIP_STD)]
        return Compose(steps)(image)

    def classifier(self, label: str) -> torch.Tensor:
        columns = []
        for color in COLORS:
            texts = [f"a photo of a {color} {label}", f"a photo of a {color}-colored {label}"]
            tokens = self.tokenizer([*texts, f"a photo of a {color} object"], padding=True, return_tensors="pt")
            features = self.model.get_text_features(**tokens).pooler_output
            mean = torch.nn.functional.normalize(features, dim=-1).mean(dim=0)
            columns.append(mean / mean.norm())
        return torch.stack(columns, dim=1)


def test_names_are_the_recipes(folder: Path, namer: ColorNamer) -> None:
    recipe, asked = Recipe(folder), crops()
    logits = np.stack([recipe.logits(crop) for crop in asked])
    best_two = np.sort(logits, axis=1)[:, -2:]
    assert (best_two[:, 1] - best_two[:, 0] > 1e-3).all(), "no ties that rounding could turn"
    expected = [COLORS[index] for index in logits.argmax(axis=1)]
    assert len(set(expected)) >= 4
    assert namer.names(asked) == expected


def test_the_mask_and_the_label_play_a_part(namer: ColorNamer) -> None:
    asked = [crop for crop in crops() if crop.mask is not None]
    unmasked = [Crop(crop.image, crop.box, None, crop.label) for crop in asked]
    renamed = [Crop(crop.image, crop.box, crop.mask, "stop sign") for crop in asked]
    names = namer.names(asked)
    assert names != namer.names(unmasked)
    assert names != namer.names(renamed)
    first = next(crop for crop in asked if not crop.mask.all())  # type: ignore[union-attr]
    outside = np.where(first.mask[..., None], first.image, np.uint8(7))  # type: ignore[index]
    changed = namer.prepare(Crop(outside, first.box, first.mask, first.label)).pixels
    np.testing.assert_array_equal(changed, namer.prepare(first).pixels, "what the mask hides does not count")


def test_company_changes_nothing(namer: ColorNamer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = crops()
    together = namer.names(asked)
    assert [name for crop in asked for name in namer.names([crop])] == together
    assert namer.names(asked[::-1])[::-1] == together
    assert namer.names_of([namer.prepare(crop) for crop in asked]) == together
    monkeypatch.setattr(geneval_colors, "CHUNK", 4)
    assert namer.names(asked) == together
    assert namer.names([]) == []


def test_of_equal_colours_the_first_is_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state["text_projection.weight"] = torch.zeros_like(state["text_projection.weight"])
    save_file(state, tmp_path / "model.safetensors")
    blind = geneval_colors.load(files_in(folder) | {"model.safetensors": tmp_path / "model.safetensors"}, "cpu")
    assert set(blind.names(crops())) == {COLORS[0]}


def test_boxes_without_a_pixel_are_unclear(namer: ColorNamer) -> None:
    image = np.asarray(picture((20, 30), 1))
    nothing = [(5.0, 5.0, 5.0, 9.0), (5.0, 5.0, 9.0, 5.0), (9.0, 5.0, 5.0, 9.0), (0.0, 0.0, 0.0, 0.0), (4.6, 1, 5.4, 9)]
    good = Crop(image, (2.0, 3.0, 9.0, 9.0), np.zeros((30, 20), bool), "dog")
    asked = [good, *(Crop(image, box, None, "dog") for box in nothing), good]
    first, *others, last = namer.names(asked)
    assert others == [UNCLEAR] * len(nothing)
    assert first == last
    assert {first} <= set(COLORS), "an empty mask leaves a grey crop, which has some name"
    assert UNCLEAR not in COLORS
    with pytest.raises(ValueError, match="the mask is"):
        namer.prepare(Crop(image, good.box, np.zeros((20, 30), bool), "dog"))


def test_a_class_is_encoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    namer = geneval_colors.load(files_in(folder), "cpu")
    asked: list[Sequence[str]] = []
    texts = namer._encoder.texts

    def counted(prompts: Sequence[str]) -> Any:
        asked.append(prompts)
        return texts(prompts)

    monkeypatch.setattr(namer._encoder, "texts", counted)
    namer.names(crops())
    namer.names(crops())
    assert len(asked) == 3
    assert {len(prompts) for prompts in asked} == {30}
    assert "a photo of a blue-colored tv remote" in asked[1]


def test_files(folder: Path, tmp_path: Path) -> None:
    assert geneval_colors.found_files(folder) == files_in(folder)
    with pytest.raises(MissingError, match=r"clip/openai-l14 needs config\.json") as caught:
        geneval_colors.found_files(tmp_path)
    assert caught.value.fix == "agsm-bench metrics get clip/openai-l14"
    assert geneval_colors.version(files_in(folder)).startswith(geneval_colors.VERSION)
