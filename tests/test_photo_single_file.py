"""`--model FILE`: Stable Diffusion 1.5 in one file with the names of the original code (CompVis' latent-diffusion)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli
from photo_tiny import SIZE, save_tiny
from safetensors.torch import save_file
from torch import Tensor

from agsm_bench import plugins
from agsm_bench.model_options import ModelOptions, configured

REPO = "stable-diffusion-v1-5/stable-diffusion-v1-5"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LAYERS = 1
"""Layers of a block of the tiny pipeline."""
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET = {
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
VAE = {
    "mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "mid_block.attentions.0": "mid.attn_1",
    "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out", "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut", "downsamplers.0.conv": "downsample.conv", "upsamplers.0.conv": "upsample.conv",
    "down_blocks": "down", "resnets": "block",
}  # fmt: skip


def original_unet(name: str, attentions: set[int]) -> str:
    """Name of a UNet's weight in the original code; `attentions`: up blocks that have them."""
    for ours, theirs in UNET.items():
        name = re.sub(rf"^{re.escape(ours)}\.", f"{theirs}.", name)
    if found := re.match(r"down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)", name):
        index = int(found[1]) * (LAYERS + 1) + 1 + int(found[3])
        name = f"input_blocks.{index}.{int(found[2] == 'attentions')}{name[found.end() :]}"
    elif found := re.match(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", name):
        name = f"input_blocks.{(int(found[1]) + 1) * (LAYERS + 1)}.0.op{name[found.end() :]}"
    elif found := re.match(r"up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)", name):
        index = int(found[1]) * (LAYERS + 1) + int(found[3])
        name = f"output_blocks.{index}.{int(found[2] == 'attentions')}{name[found.end() :]}"
    elif found := re.match(r"up_blocks\.(\d+)\.upsamplers\.0\.conv", name):
        place = 2 if int(found[1]) in attentions else 1
        name = f"output_blocks.{int(found[1]) * (LAYERS + 1) + LAYERS}.{place}.conv{name[found.end() :]}"
    if re.match(r"(input_blocks\.\d+|output_blocks\.\d+)\.0\.|middle_block\.[02]\.", name):
        for ours, theirs in RESNET.items():
            name = name.replace(f".{ours}.", f".{theirs}.")
    return f"model.diffusion_model.{name}"


def original_vae(name: str, blocks: int) -> str:
    """Name of a VAE's weight in the original code."""
    name = re.sub(r"up_blocks\.(\d+)", lambda found: f"up.{blocks - 1 - int(found[1])}", name)
    for ours, theirs in VAE.items():
        name = re.sub(rf"\b{re.escape(ours)}\b", theirs, name)
    return f"first_stage_model.{name}"


def write_single_file(pipe: Any, file: Path) -> None:
    """The weights of a Stable Diffusion pipeline under their original names."""
    attentions = {i for i, block in enumerate(pipe.unet.up_blocks) if getattr(block, "has_cross_attention", False)}
    tensors: dict[str, Tensor] = {}
    for name, value in pipe.unet.state_dict().items():
        tensors[original_unet(name, attentions)] = value
    for name, value in pipe.vae.state_dict().items():
        convolution = re.search(r"to_(q|k|v|out\.0)\.weight", name)
        tensors[original_vae(name, len(pipe.vae.decoder.up_blocks))] = value[..., None, None] if convolution else value
    for name, value in pipe.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = value
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)


def write_settings(pipeline: Path, cache: Path) -> None:
    """The default pipeline's snapshot in a hub cache, without weights."""
    root = cache / f"models--{REPO.replace('/', '--')}"
    shutil.copytree(pipeline, root / "snapshots" / COMMIT, ignore=shutil.ignore_patterns("*.safetensors"))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(COMMIT)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


def test_a_single_file_is_the_pipeline_that_it_was_made_of(cli: Cli, tmp_path: Path, cache: Path) -> None:
    folder, file = save_tiny("sd15", tmp_path), tmp_path / "tiny.safetensors"
    options = ModelOptions(model=str(folder), device="cpu")
    whole = configured(plugins.load("backbones", "sd15"), options).load()
    write_single_file(whole.pipe, file)
    write_settings(folder, cache)
    single = configured(plugins.load("backbones", "sd15"), ModelOptions(model=str(file), device="cpu"))
    assert single.tokens.dim == whole.network.config.cross_attention_dim
    loaded = single.load()
    for part in ("unet", "vae", "text_encoder"):
        expected, found = (getattr(each.pipe, part).state_dict() for each in (whole, loaded))
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert loaded.pipe.safety_checker is None
    small = ("--limit", 1, "--images-per-prompt", 1, "--steps", 1, "--size", SIZE, "--device", "cpu")
    for out, model in (("single", file), ("whole", folder)):
        command = ("eval", "geneval", "--backbone", "sd15", "--model", model, *small, "--out", tmp_path / out)
        assert cli(*command)[0] == 3, "the detector is missing"
        assert not (tmp_path / out).exists()
        code, _, error = cli(*command, "--metrics", "none")
        assert code == 0, error
    images = [next((tmp_path / out).rglob("*.png")).read_bytes() for out in ("single", "whole")]
    assert images[0] == images[1]
    assert f'"configs": "{REPO}@{COMMIT}"' in (tmp_path / "single" / "manifest.json").read_text()


def test_without_the_settings_it_says_what_to_get(cli: Cli, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "tiny.safetensors"
    save_file({"conv_in.weight": torch.zeros(1)}, file)
    code, _, error = cli("eval", "geneval", "--backbone", "sd15", "--model", file, "--out", tmp_path / "run")
    assert code == 3
    assert f'hf download {REPO} --include "*.json"' in error
    assert not os.path.exists(tmp_path / "run")


def test_a_file_that_holds_something_else(cli: Cli, tmp_path: Path, cache: Path) -> None:
    write_settings(save_tiny("sd15", tmp_path), cache)
    file = tmp_path / "other.safetensors"
    save_file({"conv_in.weight": torch.zeros(1)}, file)
    small = ("--limit", 1, "--steps", 1, "--size", SIZE, "--device", "cpu", "--metrics", "none")
    code, _, error = cli("eval", "geneval", "--backbone", "sd15", "--model", file, *small, "--out", tmp_path / "run")
    assert code == 3
    assert "does not load" in error
