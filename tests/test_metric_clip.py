"""CLIP score and PickScore equal the recipes of their authors on the same random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import check_company, judged, picture, pictures, weight_files, write_clip_vocabulary
from PIL import Image

from agsm_bench.errors import MissingError
from agsm_bench.metric import Picture, ReadsPrompts
from agsm_bench.metrics import clip, pickscore
from agsm_bench.preprocessing import CLIP_MEAN, CLIP_STD, clip_pixels

CLIP, EDITED, PICK = "clip/openai-l14", clip.EDITED, "pickscore/v1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small CLIPModel with OpenAI's activation and whole vocabulary."""
    from transformers import CLIPConfig, CLIPModel

    path = tmp_path_factory.mktemp("clip")
    tokens = write_clip_vocabulary(path)
    tower = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": tokens, "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
    config = CLIPConfig(text_config=text, vision_config=tower | {"image_size": 224, "patch_size": 32})
    torch.manual_seed(0)
    model = CLIPModel(config)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.2) if value.ndim > 1 else None
    model.logit_scale.data.fill_(3.0)
    model.save_pretrained(path)
    return path


def recipe(folder: Path, shown: list[Picture], pixels: Any) -> tuple[np.ndarray, float]:
    """transformers' own calls, one picture at a time: cosine, and exp(logit_scale)."""
    from transformers import CLIPModel, CLIPTokenizer

    model, tokenizer = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    cosines = []
    with torch.inference_mode():
        for each in shown:
            tokens = tokenizer(each.prompt, padding=True, truncation=True, max_length=77, return_tensors="pt")
            text = model.get_text_features(**tokens).pooler_output
            image = model.get_image_features(pixels(each.image)[None]).pooler_output
            cosines.append(float(torch.nn.functional.cosine_similarity(image, text)))
    return np.array(cosines), float(model.logit_scale.exp())


def openai_pixels(image: Image.Image) -> torch.Tensor:
    """OpenAI's `_transform`, which image-reward's CLIPScore uses."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

    bicubic = InterpolationMode.BICUBIC
    steps = [Resize(224, bicubic), CenterCrop(224), ToTensor(), Normalize(CLIP_MEAN, CLIP_STD)]
    return Compose(steps)(image)


def transformers_pixels(image: Image.Image) -> torch.Tensor:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil()(image, return_tensors="pt").pixel_values[0]


def test_pixels_are_torchvisions_and_transformers() -> None:
    """Also where the crop cuts half a pixel off, which the two round differently."""
    for size in ((300, 200), (37, 211), (227, 224), (224, 331), (501, 224), (1, 1), (224, 224)):
        image = picture(size, 1)
        np.testing.assert_allclose(clip_pixels(image), openai_pixels(image), atol=1e-6)
        np.testing.assert_allclose(clip_pixels(image, crop="floor"), transformers_pixels(image), atol=1e-5)


def test_each_metric_crops_as_its_authors_do(folder: Path) -> None:
    """The same picture, whose pixels the metrics share, with half a pixel to cut off."""
    shown = Picture(picture((227, 224), 1), "a dog")
    for metric, name, pixels in ((clip, CLIP, openai_pixels), (pickscore, PICK, transformers_pixels)):
        judge = metric.METRIC.load([name], weight_files(metric.METRIC, name, folder), "cpu")
        np.testing.assert_allclose(judge.prepare(name, shown)[0], pixels(shown.image), atol=1e-5)
    assert np.abs(openai_pixels(shown.image) - transformers_pixels(shown.image)).max() > 0.1


def test_the_clip_score_is_the_recipes(folder: Path) -> None:
    judge = clip.METRIC.load([CLIP], weight_files(clip.METRIC, CLIP, folder), "cpu")
    expected, _ = recipe(folder, pictures(), openai_pixels)
    np.testing.assert_allclose(check_company(judge, CLIP, pictures()), expected, atol=1e-4)
    assert np.std(expected) > 0.01


def test_pickscore_is_the_recipes(folder: Path) -> None:
    judge = pickscore.METRIC.load([PICK], weight_files(pickscore.METRIC, PICK, folder), "cpu")
    cosines, scale = recipe(folder, pictures(), transformers_pixels)
    np.testing.assert_allclose(check_company(judge, PICK, pictures(), 1e-4), scale * cosines, atol=1e-4)
    assert scale == pytest.approx(np.exp(3))


def test_tokens_of_a_prompt_are_counted(folder: Path) -> None:
    for metric, name in ((clip, CLIP), (pickscore, PICK)):
        judge = metric.METRIC.load([name], weight_files(metric.METRIC, name, folder), "cpu")
        assert isinstance(judge, ReadsPrompts)
        assert [judge.tokens("dog " * words) for words in (0, 75, 76)] == [(2, 2), (77, 77), (78, 77)]


def test_the_activation_is_openais(folder: Path, tmp_path: Path) -> None:
    """A plain GELU loads all the same, and gives other scores."""
    import json

    files = weight_files(clip.METRIC, CLIP, folder)
    config = json.loads(files["config.json"].read_text())
    assert config["text_config"]["hidden_act"] == config["vision_config"]["hidden_act"] == "quick_gelu"
    config["vision_config"]["hidden_act"] = "gelu"
    (tmp_path / "config.json").write_text(json.dumps(config))
    plain, other = (
        judged(clip.METRIC.load([CLIP], each, "cpu"), CLIP, pictures())
        for each in (files, files | {"config.json": tmp_path / "config.json"})
    )
    assert np.abs(plain - other).max() > 2e-4, "more than what the recipes' tests allow"


def test_the_edited_part_is_the_image_times_its_mask(folder: Path) -> None:
    judge = clip.METRIC.load([CLIP, EDITED], weight_files(clip.METRIC, CLIP, folder), "cpu")
    image, mask = picture((60, 40), 3), np.zeros((40, 60), bool)
    mask[10:30, 20:50] = True
    slow = np.array(image)
    for y, x in np.ndindex(40, 60):
        slow[y, x] = slow[y, x] if mask[y, x] else 0
    found = judged(judge, EDITED, [Picture(image, "a dog", mask=mask)])
    assert found == judged(judge, CLIP, [Picture(Image.fromarray(slow), "a dog")])
    for wrong, reason in ((np.zeros((40, 60), bool), "empty"), (np.ones((4, 6), bool), "the mask is")):
        with pytest.raises(ValueError, match=reason):
            judge.prepare(EDITED, Picture(image, "a dog", mask=wrong))


def test_another_models_files(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    files = weight_files(clip.METRIC, CLIP, folder)
    state = load_file(files["model.safetensors"])
    wrong = {
        "lacks logit_scale": {k: v for k, v in state.items() if k != "logit_scale"},
        "visual_projection.weight is": state | {"visual_projection.weight": torch.zeros(3, 3)},
        "it has decoder.weight": state | {"decoder.weight": torch.zeros(1)},
    }
    for reason, contents in wrong.items():
        save_file(contents, tmp_path / "model.safetensors")
        with pytest.raises(MissingError, match=reason):
            clip.METRIC.load([CLIP], files | {"model.safetensors": tmp_path / "model.safetensors"}, "cpu")
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    small = {name: tmp_path / name for name in ("vocab.json", "merges.txt")}
    with pytest.raises(MissingError, match="tokens, and the model knows"):
        clip.METRIC.load([CLIP], files | small, "cpu")


def test_prompts_are_encoded_once_while_they_are_among_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    from agsm_bench import clip_encoder

    monkeypatch.setattr(clip_encoder, "KEPT", 2)
    asked: list[str] = []

    def encode(prompts: Any) -> torch.Tensor:
        asked.extend(prompts)
        return torch.tensor([[float(len(prompt))] for prompt in prompts])

    features = clip_encoder.PromptFeatures(encode)
    assert features.of(["aa", "b", "aa"]).flatten().tolist() == [2, 1, 2]
    assert features.of(["b", "ccc"]).flatten().tolist() == [1, 3]
    assert asked == ["aa", "b", "ccc"]
    features.of(["b"])
    features.of(["dddd"])
    assert features.of(["b", "ccc"]).flatten().tolist() == [1, 3]
    assert asked == ["aa", "b", "ccc", "dddd", "ccc"], "the one that was not asked for the longest is forgotten"
