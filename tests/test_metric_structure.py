"""Structure distance equals its formula on timm's ViT, another implementation, with the same random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import check_company, judged, picture, weight_files

from agsm_bench.errors import MissingError
from agsm_bench.metric import Judge, Picture
from agsm_bench.metrics.structure import MEAN, METRIC, NAME, STD

WIDTH, DEPTH, HEADS, SIDE, PATCH = 48, 3, 4, 32, 8
PAIRS = [Picture(picture((40, 40), i), None, picture((40, 40), i + 9)) for i in range(3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ViT as facebook/dino-vitb8 is stored; its config has an epsilon that is not DINO's."""
    from safetensors.torch import load_file
    from transformers import ViTConfig, ViTModel

    path = tmp_path_factory.mktemp("dino")
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    config = ViTConfig(**sizes, intermediate_size=96, image_size=SIDE, patch_size=PATCH, layer_norm_eps=1e3)
    torch.manual_seed(0)
    model = ViTModel(config)
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.2)
    model.save_pretrained(path)  # under the names that the hub's file has
    torch.save(load_file(path / "model.safetensors"), path / "pytorch_model.bin")
    return path


@pytest.fixture(scope="module")
def judge(folder: Path) -> Judge:
    return METRIC.load([NAME], weight_files(METRIC, NAME, folder), "cpu")


def timm_model(folder: Path) -> Any:
    """timm's network with these weights, its keys read from `qkv`."""
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": SIDE, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    network = VisionTransformer(**sizes, mlp_ratio=2, num_classes=0, global_pool="token").eval()
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    found = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
    }
    for kind in ("weight", "bias"):
        found[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
        found[f"norm.{kind}"] = state[f"layernorm.{kind}"]
        for i in range(DEPTH):
            ours, theirs = f"encoder.layer.{i}.", f"blocks.{i}."
            parts = [state[f"{ours}attention.attention.{name}.{kind}"] for name in ("query", "key", "value")]
            found[f"{theirs}attn.qkv.{kind}"] = torch.cat(parts)
            for one, other in (
                ("attention.output.dense", "attn.proj"),
                ("intermediate.dense", "mlp.fc1"),
                ("output.dense", "mlp.fc2"),
                ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"),
            ):
                found[f"{theirs}{other}.{kind}"] = state[f"{ours}{one}.{kind}"]
    network.load_state_dict(found)
    return network


def similarities(network: Any, image: Any, scale: float = 1) -> torch.Tensor:
    """Cosines between the keys of the last layer, heads side by side, as PnPInversion has them: pixels go to 255."""
    from torchvision.transforms import Compose, Normalize, Resize

    seen: list[torch.Tensor] = []
    hook = network.blocks[-1].attn.qkv.register_forward_hook(lambda *call: seen.append(call[-1]))
    raw = torch.from_numpy(np.array(image).astype(np.float32)).permute(2, 0, 1) / scale
    pixels = Compose([Resize(SIDE, max_size=480), Normalize(MEAN, STD)])(raw)
    network(pixels[None])
    hook.remove()
    tokens = seen[0].shape[1]
    keys = seen[0].reshape(tokens, 3, HEADS, WIDTH // HEADS).permute(1, 2, 0, 3)[1]
    joined = keys.transpose(0, 1).reshape(tokens, WIDTH)
    norms = joined.norm(dim=1, keepdim=True)
    return (joined @ joined.T) / torch.clamp(norms @ norms.T, min=1e-8)


def distances(network: Any, scale: float = 1) -> list[float]:
    """Of the pairs, by the formula."""
    with torch.inference_mode():
        both = [[similarities(network, image, scale) for image in (p.image, p.reference)] for p in PAIRS]
    return [float((one - other).square().mean()) for one, other in both]


def test_distances_are_the_formulas_on_another_network(folder: Path, judge: Judge) -> None:
    network = timm_model(folder)
    expected = distances(network)
    found = check_company(judge, NAME, PAIRS)
    np.testing.assert_allclose(found, expected, atol=1e-7)
    assert min(expected) > 5e-4
    assert np.ptp(expected) > 1e-4
    assert np.abs(found - distances(network, scale=255)).min() > 1e-2, "pixels from 0 to 1 would go unnoticed"


def test_identity_and_other_shapes(judge: Judge) -> None:
    image = picture((40, 40), 1)
    assert judged(judge, NAME, [Picture(image, None, image)]) == pytest.approx(0, abs=1e-9)
    for size in ((90, 40), (1, 1), (300, 500)):
        pair = Picture(picture(size, 1), None, picture(size, 2))
        assert np.isfinite(judged(judge, NAME, [pair])).all(), size
    strip = Picture(picture((3, 211), 1), None, picture((3, 211), 2))
    with pytest.raises(ValueError, match="it is 3 x 211, a strip"):
        judge.prepare(NAME, strip)
    with pytest.raises(ValueError, match="its reference 30 x 40"):
        judge.prepare(NAME, Picture(image, None, picture((30, 40), 1)))


def test_another_models_checkpoint(folder: Path, tmp_path: Path) -> None:
    files = weight_files(METRIC, NAME, folder)
    state = torch.load(files["pytorch_model.bin"], weights_only=True)
    deeper = {key.replace(f"layer.{DEPTH - 1}.", f"layer.{DEPTH}."): value for key, value in state.items()} | state
    for wrong in ({"a": torch.zeros(1)}, state | {"embeddings.cls_token": torch.zeros(1, 1, 7)}, deeper):
        torch.save(wrong, tmp_path / "pytorch_model.bin")
        with pytest.raises(MissingError, match="is the checkpoint of another model"):
            METRIC.load([NAME], files | {"pytorch_model.bin": tmp_path / "pytorch_model.bin"}, "cpu")
