"""Models of photographs' backbones that are incomplete, or give wrong images unless cared for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from conftest import Eval
from photo_tiny import SIZE
from tokens_tiny import inputs_for, tiny_mmdit, tokens_for

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.image_encoder import ImageEncoder
from agsm_bench.model_options import ModelOptions, configured


def backbone(name: str, **options: Any) -> Backbone:
    return configured(plugins.load("backbones", name), ModelOptions(device="cpu", **options))


def edited(folder: Path, tmp_path: Path, file: str, edit: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a pipeline with one of its JSON files changed."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    settings = json.loads((copy / file).read_text())
    edit(settings)
    (copy / file).write_text(json.dumps(settings))
    return copy


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_ddim_of_a_pipeline_with_another_scheduler(tiny_models: dict[str, Path], tmp_path: Path, name: str) -> None:
    euler = {"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}

    def edit(settings: dict[str, Any]) -> None:
        settings.clear()
        settings.update(euler)

    copy = edited(tiny_models[name], tmp_path, "scheduler/scheduler_config.json", edit)
    index = json.loads((copy / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    (copy / "model_index.json").write_text(json.dumps(index))
    config = backbone(name, model=str(copy)).load().pipe.scheduler.config
    assert (config.clip_sample, config.set_alpha_to_one) == (False, False)
    assert (config.beta_start, config.steps_offset) == (0.00085, 1)


@pytest.mark.parametrize("marked", [True, False])
def test_a_vae_that_overflows_in_half_precision(tiny_models: dict[str, Path], tmp_path: Path, marked: bool) -> None:
    """As SDXL's own: activations beyond 65,504, and a configuration that says so."""
    copy = edited(tiny_models["sdxl"], tmp_path, "vae/config.json", lambda each: each.update(force_upcast=marked))
    made = backbone("sdxl", model=str(copy), dtype="float16")
    assert made.load_encoder is not None
    encoder = made.load_encoder()
    encoder.vae.encoder.conv_in.weight.data.fill_(30_000)
    pixels = torch.linspace(-1, 1, 3 * SIZE * SIZE).reshape(1, 3, SIZE, SIZE)
    means = encoder.means(pixels)
    assert means.isfinite().all() == marked
    assert means.dtype == encoder.vae.dtype == torch.float16
    if marked:
        expected = ImageEncoder(encoder.vae.float(), "cpu").means(pixels)
        assert torch.equal(means, expected.half())


def test_a_vae_that_is_offloaded_keeps_its_type(tiny_models: dict[str, Path]) -> None:
    encoder = (
        configured(
            plugins.load("backbones", "sdxl"),
            ModelOptions(model=str(tiny_models["sdxl"]), device="cpu", dtype="float16"),
        )
        .load()
        .encoder
    )
    pixels = torch.linspace(-1, 1, 3 * SIZE * SIZE).reshape(1, 3, SIZE, SIZE)
    expected = encoder.means(pixels)
    accelerate.cpu_offload(encoder.vae, execution_device=torch.device("cpu"), offload_buffers=True)
    torch.testing.assert_close(encoder.means(pixels), expected, atol=1e-2, rtol=1e-2)


def test_tokens_before_the_embedder_under_sequential_offloading() -> None:
    """The weights are on no device until accelerate's hooks bring them."""
    tokens, timestep = tokens_for("mmdit", text_dim=64), torch.tensor([5, 5])
    found = []
    for offloaded in (False, True):
        model = tiny_mmdit()
        if offloaded:
            accelerate.cpu_offload(model, execution_device=torch.device("cpu"), offload_buffers=True)
            assert model.context_embedder.weight.device.type == "meta"
        with tokens.attached(model), torch.no_grad():
            found.append(model(**inputs_for("mmdit"), timestep=timestep).sample)
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("name", "unet", "words"),
    [
        ("sd15", "dpo", '(3.44 GB): hf download mhdang/dpo-sd1.5-text2image-v1 --include "unet/*"'),
        ("sd15", "inpo", 'it: hf download JaydenLu666/InPO-SD1.5 --include "unet/*"'),
        ("sdxl", "spo", '(5.14 GB): hf download SPO-Diffusion-Models/SPO-SDXL_4k-p_10ep --include "unet/*"'),
    ],
)
def test_all_that_is_missing_is_named_at_once(
    evaluate_tiny: Eval, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, unet: str, words: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    code, error = evaluate_tiny(name, "--unet", unet, "--lora", "somebody/lora")
    assert code == 3
    default = plugins.load("backbones", name)
    assert words in error
    assert "hf download somebody/lora" in error
    assert error.count("is not in the hub cache") == (3 if default.name == "sd15" else 4)


def test_all_parts_that_a_pipeline_lacks_are_named_at_once(
    evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_models["sdxl"], tmp_path / "copy"))
    for part in ("vae", "text_encoder", "tokenizer_2"):
        shutil.rmtree(copy / part)
    code, error = evaluate_tiny("sdxl", "--model", copy)
    assert code == 3
    assert all(f"'{part}' of" in error for part in ("vae", "text_encoder", "tokenizer_2")), error
    assert error.count("Mend ") == 1
