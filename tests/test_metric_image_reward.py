"""ImageReward equals image-reward's own class on the same random weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import check_company, judged, picture, pictures, weight_files
from upstream import image_reward_class

from agsm_bench.errors import MissingError
from agsm_bench.metric import Judge, Picture, ReadsPrompts
from agsm_bench.metrics.image_reward import METRIC, NAME

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "photo", "of", "red", "dog", "cat", "two", "blue", "##s"]
WIDTH, DEPTH, PATCH = 128, 2, 32


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path, Any]]:
    """Upstream's model with fewer and narrower layers, its checkpoint as a folder of files, and its module."""
    from transformers import BertTokenizer

    folder = tmp_path_factory.mktemp("image-reward")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    sizes = {"vocab_size": len(WORDS) + 2, "hidden_size": 768, "intermediate_size": 96, "num_hidden_layers": 2}
    text = {"num_attention_heads": 12, "max_position_embeddings": 64, "layer_norm_eps": 1e-12, "hidden_act": "gelu"}
    extra = {"add_cross_attention": True, "encoder_width": WIDTH, "type_vocab_size": 2, "pad_token_id": 0}
    (folder / "med_config.json").write_text(json.dumps(sizes | text | extra))
    with pytest.MonkeyPatch.context() as patch:
        module = image_reward_class(patch)
        tower = module.vit.VisionTransformer(
            img_size=224, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=WIDTH // 64
        )
        tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})
        patch.setattr(module.pretrain, "create_vit", lambda *_: (tower, WIDTH))
        patch.setattr(module.pretrain, "init_tokenizer", lambda: tokenizer)
        model = module.ImageReward(med_config=str(folder / "med_config.json")).eval()
        generator = torch.Generator().manual_seed(0)
        for value in model.parameters():
            value.data.normal_(std=0.08, generator=generator)
        torch.save(model.state_dict(), folder / "ImageReward.pt")
        yield model, folder, module


@pytest.fixture(scope="module")
def ours(upstream: tuple[Any, Path, Any]) -> Judge:
    return METRIC.load([NAME], weight_files(METRIC, NAME, upstream[1]), "cpu")


def test_scores_are_upstreams(upstream: tuple[Any, Path, Any], ours: Judge) -> None:
    shown = pictures()
    found = check_company(ours, NAME, shown)
    with torch.inference_mode():
        expected = [upstream[0].score(each.prompt, each.image) for each in shown]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.std(expected) > 0.01, "scores this close together would hide a difference"


def test_the_prompt_is_cut_at_35_tokens(ours: Judge) -> None:
    image = picture((64, 64), 0)
    long = [Picture(image, "dog " * 33 + end) for end in ("", "cat cat", "blue")]
    scores = judged(ours, NAME, long)
    assert np.ptp(scores) < 1e-6
    assert abs(judged(ours, NAME, [Picture(image, "dog " * 32 + "cat")])[0] - scores[0]) > 1e-5
    assert isinstance(ours, ReadsPrompts)
    assert [ours.tokens("dog " * words) for words in (0, 33, 34, 600)] == [(2, 2), (35, 35), (36, 35), (602, 35)]


def test_checkpoints_of_other_models(upstream: tuple[Any, Path, Any], tmp_path: Path) -> None:
    files = weight_files(METRIC, NAME, upstream[1])
    state = torch.load(files["ImageReward.pt"], weights_only=True)
    missing = {key: value for key, value in state.items() if "crossattention.self.key" not in key}
    shaped = state | {"mlp.layers.8.weight": torch.zeros(2, 16)}
    wrong: dict[str, Any] = {"none": {"a": torch.zeros(1)}, "missing": missing, "shaped": shaped}
    for name, contents in wrong.items():
        torch.save(contents, tmp_path / name)
        with pytest.raises(MissingError, match=f"{name} is the checkpoint of another model"):
            METRIC.load([NAME], files | {"ImageReward.pt": tmp_path / name}, "cpu")
    (tmp_path / "text").write_text("no checkpoint")
    with pytest.raises(MissingError, match="holds no weights"):
        METRIC.load([NAME], files | {"ImageReward.pt": tmp_path / "text"}, "cpu")


def test_a_vision_tower_without_blocks_is_another_models(upstream: tuple[Any, Path, Any], tmp_path: Path) -> None:
    files = weight_files(METRIC, NAME, upstream[1])
    state = torch.load(files["ImageReward.pt"], weights_only=True)
    torch.save({key: value for key, value in state.items() if ".blocks." not in key}, tmp_path / "ImageReward.pt")
    with pytest.raises(MissingError, match="it has no BLIP"):
        METRIC.load([NAME], files | {"ImageReward.pt": tmp_path / "ImageReward.pt"}, "cpu")


def test_the_package_is_the_reference_where_it_imports(
    upstream: tuple[Any, Path, Any], ours: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the same files, and nothing of the hub."""
    assert METRIC.reference is not None
    files, module = weight_files(METRIC, NAME, upstream[1]), upstream[2]
    modules = {
        "ImageReward.ImageReward": module,
        "ImageReward.models.BLIP": SimpleNamespace(blip_pretrain=module.pretrain),
    }
    for name, found in modules.items():
        monkeypatch.setitem(sys.modules, name, found)
    reference = METRIC.reference([NAME], files, "cpu")
    np.testing.assert_allclose(judged(reference, NAME, pictures()), judged(ours, NAME, pictures()), atol=1e-4)


def test_the_reference_says_why_it_does_not_import(
    upstream: tuple[Any, Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ImageReward.ImageReward", None)
    assert METRIC.reference is not None
    with pytest.raises(MissingError, match="image-reward does not import here"):
        METRIC.reference([NAME], weight_files(METRIC, NAME, upstream[1]), "cpu")
