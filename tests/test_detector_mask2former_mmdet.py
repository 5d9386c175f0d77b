"""mmdet's names of Mask2Former's tensors: there and back, in both of its versions, and through the detector."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from metric_pictures import picture
from test_detector_mask2former import save_network
from torch import Tensor

from agsm_bench import mask2former as steps
from agsm_bench.detectors import mask2former, mask2former_mmdet
from agsm_bench.errors import MissingError
from agsm_bench.mmdet_names import renamed

SWIN = {
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
    "attention.relative_position_bias.relative_position_bias_table": "attn.w_msa.relative_position_bias_table",
    "attention.o_proj": "attn.w_msa.proj",
}
PIXELS = {
    "adapter_1.0": "lateral_convs.0.conv",
    "adapter_1.1": "lateral_convs.0.gn",
    "layer_1.0": "output_convs.0.conv",
    "layer_1.1": "output_convs.0.gn",
    "level_embed": "level_encoding.weight",
    "mask_projection": "mask_feature",
    "self_attn_layer_norm": "norms.0",
    "final_layer_norm": "norms.1",
    "fc1": "ffn.layers.0.0",
    "fc2": "ffn.layers.1",
}
QUERIES = {
    "cross_attn_layer_norm": "norms.0",
    "self_attn_layer_norm": "norms.1",
    "final_layer_norm": "norms.2",
    "fc1": "ffn.layers.0.0",
    "fc2": "ffn.layers.1",
    "self_attn.out_proj": "self_attn.attn.out_proj",
    "cross_attn.": "cross_attn.attn.",
}
WHOLE = {
    "model.transformer_module.queries_embedder.weight": "panoptic_head.query_embed.weight",
    "model.transformer_module.queries_features.weight": "panoptic_head.query_feat.weight",
    "model.transformer_module.level_embed.weight": "panoptic_head.level_embed.weight",
    "class_predictor.weight": "panoptic_head.cls_embed.weight",
    "class_predictor.bias": "panoptic_head.cls_embed.bias",
}


def as_mmdet(state: dict[str, Tensor], version: int) -> dict[str, Tensor]:
    """A network of transformers as mmdet would save it: written from mmdet's side, one family of names at a time."""
    found: dict[str, Tensor] = {}
    together: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name = theirs(key)
        if part := re.search(r"\.(q|k|v)_proj\.(weight|bias)$", name):
            joint = name[: part.start()]
            whole = f"{joint}.attn.in_proj_{part[2]}" if "decoder" in joint else f"{joint}.w_msa.qkv.{part[2]}"
            together.setdefault(whole, {})[part[1]] = tensor
        elif ".downsample." in name:
            found[name] = interleaved(tensor)
        else:
            found[name] = tensor
    found |= {name: torch.cat([parts[letter] for letter in "qkv"]) for name, parts in together.items()}
    return found if version == 3 else {older(name): tensor for name, tensor in found.items()}


def theirs(key: str) -> str:
    if key in WHOLE:
        return WHOLE[key]
    encoder, pixels, queries = (
        key.partition(f"model.{part}.")[2]
        for part in ("pixel_level_module.encoder", "pixel_level_module.decoder", "transformer_module.decoder")
    )
    if encoder.startswith("swin.embeddings."):
        inner = encoder.removeprefix("swin.embeddings.").replace("patch_embeddings.projection", "projection")
        return f"backbone.patch_embed.{inner}"
    if found := re.fullmatch(r"hidden_states_norms\.stage(\d)\.(.+)", encoder):
        return f"backbone.norm{int(found[1]) - 1}.{found[2]}"
    if encoder:
        inner = re.sub(r"^swin\.encoder\.layers\.", "stages.", swapped(encoder, SWIN))
        return "backbone." + re.sub(r"attention\.([qkv])_proj", r"attn.\1_proj", inner)
    if pixels:
        inner = re.sub(r"input_projections\.(\d)\.0", r"input_convs.\1.conv", swapped(pixels, PIXELS))
        return "panoptic_head.pixel_decoder." + re.sub(r"input_projections\.(\d)\.1", r"input_convs.\1.gn", inner)
    if found := re.fullmatch(r"mask_predictor\.mask_embedder\.(\d)\.0\.(\w+)", queries):
        return f"panoptic_head.mask_embed.{2 * int(found[1])}.{found[2]}"
    return "panoptic_head.transformer_decoder." + re.sub(r"^layernorm\.", "post_norm.", swapped(queries, QUERIES))


def swapped(key: str, names: dict[str, str]) -> str:
    """The first family that fits, so that no name is changed twice."""
    ours = next((name for name in names if name in key), None)
    return key.replace(ours, names[ours]) if ours else key


def interleaved(tensor: Tensor) -> Tensor:
    """mmdet unfolds two by two pixels: of each channel first the upper row, then the lower; transformers joins the
    left column, upper and lower, and then the right one."""
    channels = tensor.shape[-1] // 4
    found = torch.empty_like(tensor)
    for channel in range(channels):
        for column in range(2):
            for row in range(2):
                found[..., 4 * channel + 2 * row + column] = tensor[..., (2 * column + row) * channels + channel]
    return found


def older(name: str) -> str:
    name = re.sub(r"(pixel_decoder\.encoder\.layers\.\d+)\.self_attn\.", r"\1.attentions.0.", name)
    name = re.sub(r"(transformer_decoder\.layers\.\d+)\.cross_attn\.", r"\1.attentions.0.", name)
    name = re.sub(r"(transformer_decoder\.layers\.\d+)\.self_attn\.", r"\1.attentions.1.", name)
    return re.sub(r"(panoptic_head\..+)\.ffn\.", r"\1.ffns.0.", name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mask2former")
    save_network(path)
    return path


@pytest.fixture(scope="module")
def own(folder: Path) -> Any:
    """The small network itself."""
    from transformers import Mask2FormerForUniversalSegmentation

    return Mask2FormerForUniversalSegmentation.from_pretrained(folder)


def weights_of(own: Any) -> dict[str, Tensor]:
    """All that detections depend on."""
    unused = ("criterion.", mask2former_mmdet.UNUSED)
    return {key: tensor for key, tensor in own.state_dict().items() if not key.startswith(unused)}


@pytest.mark.parametrize("version", [2, 3])
def test_every_tensor_comes_back_under_its_own_name(own: Any, version: int) -> None:
    state = weights_of(own)
    saved = as_mmdet(state, version)
    assert not saved.keys() & state.keys()
    assert all(key.startswith(("backbone.", "panoptic_head.")) for key in saved)
    found = renamed(saved | {"backbone.stages.0.blocks.0.attn.w_msa.relative_position_index": torch.zeros(1)})
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("version", [2, 3])
def test_the_detector_finds_what_it_finds_with_the_hubs_file(
    folder: Path, own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(steps, "LONG_SIDE", 166)
    monkeypatch.setattr(steps, "SHORT_SIDE", 100)
    monkeypatch.setattr(mask2former_mmdet, "config", lambda: own.config)
    path = tmp_path / "checkpoint.pth"
    torch.save({"meta": {"epoch": 50}, "state_dict": as_mmdet(weights_of(own), version)}, path)
    images = [np.asarray(picture((40, 30), seed)) for seed in range(2)]
    detector = mask2former_mmdet.DETECTOR.load({mask2former_mmdet.CHECKPOINT.file: path}, "cpu")
    files = {weight.file: folder / weight.file for weight in mask2former.DETECTOR.weights}
    assert detector.detect(images) == mask2former.DETECTOR.load(files, "cpu").detect(images)


def test_a_checkpoint_of_another_model_is_named(own: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask2former_mmdet, "config", lambda: own.config)
    whole = as_mmdet(weights_of(own), 3)
    first = next(iter(whole))
    for state, says in (
        ({key: value for key, value in whole.items() if key != first}, "it lacks"),
        (whole | {"bbox_head.weight": torch.zeros(2)}, "it has bbox_head.weight, too"),
        (whole | {first: torch.zeros(3)}, "size mismatch"),
    ):
        path = tmp_path / "checkpoint.pth"
        torch.save({"state_dict": state}, path)
        with pytest.raises(MissingError) as refused:
            mask2former_mmdet.DETECTOR.load({mask2former_mmdet.CHECKPOINT.file: path}, "cpu")
        assert says in refused.value.message
        assert refused.value.fix == "agsm-bench metrics get mask2former_mmdet"


def test_the_network_is_the_one_that_geneval_asks_for() -> None:
    config = mask2former_mmdet.config()
    swin = config.backbone_config
    assert (swin.embed_dim, swin.depths, swin.num_heads, swin.window_size) == (96, [2, 2, 18, 2], [3, 6, 12, 24], 7)
    assert (config.num_queries, config.num_labels, config.hidden_dim, config.decoder_layers) == (100, 80, 256, 10)
