"""Fine-tuning a backbone whose weights are in half precision, as they are on a GPU by default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import Cli
from photo_tiny import SIZE, save_tiny
from PIL import Image

from agsm_bench import plugins
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.training.config import PreferenceOptions, resolve
from agsm_bench.training.tuning import FullTuning, LoraTuning

NAMES = ("sd15", "sd3")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", [LoraTuning, FullTuning])
def test_a_loss_scaler_takes_the_gradient(tmp_path: Path, name: str, kind: type) -> None:
    """What is trained is in float32; the rest is as it was, and comes back as it was."""
    options = ModelOptions(model=str(save_tiny(name, tmp_path)), device="cpu", dtype="float16")
    backbone = configured(plugins.load("backbones", name), options)
    denoiser = backbone.load()
    before = {key: value.clone() for key, value in denoiser.network.state_dict().items()}
    tuning = kind(denoiser, resolve(PreferenceOptions(rank=2), backbone))
    trained = [parameter for parameter in denoiser.network.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    optimizer, scaler = torch.optim.AdamW(trained), torch.amp.GradScaler("cpu", init_scale=2.0**8)
    denoiser.autocast = torch.float16
    latents, text = torch.randn(1, *denoiser.encoder.shape(SIZE)), denoiser.encode_text(["a cat"])
    scaler.scale(denoiser.predict(latents, torch.tensor([500]), text).square().mean()).backward()
    scaler.unscale_(optimizer)
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in trained)
    with tuning.reference(), torch.no_grad():
        denoiser.predict(latents, torch.tensor([500]), text)
    tuning.undo()
    after = denoiser.network.state_dict()
    assert after.keys() == before.keys()
    assert all(after[key].dtype is value.dtype and torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_the_command_without_autocast(cli: Cli, tmp_path: Path, tune: str) -> None:
    folder, pairs, lines = save_tiny("sd15", tmp_path), tmp_path / "pairs", []
    pairs.mkdir()
    for index in range(2):
        names = {key: f"{index}-{key}.png" for key in ("preferred", "rejected")}
        for shade, file in enumerate(names.values()):
            Image.new("RGB", (SIZE, SIZE), (100 * shade, 50 * index, 0)).save(pairs / file)
        lines.append(json.dumps({"prompt": f"picture {index}", **names}) + "\n")
    (pairs / "preferences.jsonl").write_text("".join(lines))
    model = ("--backbone", "sd15", "--model", folder, "--dtype", "bfloat16", "--device", "cpu")
    own = ("--preferences", pairs, "--batch", 1, "--size", SIZE, "--steps", 1, "--tune", tune, "--rank", 2)
    code, _, error = cli("train", "diffusion_dpo", *model, *own, "--out", tmp_path / "dpo")
    assert code == 0, error
