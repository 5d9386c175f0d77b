"""SD1.5, SDXL and SD3 over tiny pipelines of random weights with the real architectures and tokenizer classes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from photo_tiny import MAKERS, SIZE, save_tiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.errors import MissingError, UserError
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.variant import weights_hash

NAMES = tuple(MAKERS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_tiny(name, tmp_path_factory.mktemp(name)) for name in NAMES}


def backbone(name: str, **options: Any) -> Backbone:
    return configured(plugins.load("backbones", name), ModelOptions(**options))


@pytest.fixture(scope="module")
def denoisers(folders: dict[str, Path]) -> dict[str, Denoiser]:
    return {name: backbone(name, model=str(folder)).load() for name, folder in folders.items()}


def captured(denoiser: Denoiser, prompt: str) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timestep and prediction of the first step of a stock pipeline's call without CFG."""
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def hook(_: object, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        latents = args[0] if args else kwargs["hidden_states"]
        timestep = args[1] if len(args) > 1 else kwargs["timestep"]
        seen.append((latents, timestep.reshape(-1), output[0]))

    handle = denoiser.network.register_forward_hook(hook, with_kwargs=True)
    generator = torch.Generator().manual_seed(0)
    denoiser.sample([prompt], [generator], steps=2, guidance_scale=1.0, size=SIZE)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("name", NAMES)
def test_predict_is_what_the_stock_pipeline_asks_of_its_network(denoisers: dict[str, Denoiser], name: str) -> None:
    denoiser = denoisers[name]
    latents, timestep, expected = captured(denoiser, "red")
    found = denoiser.predict(latents, timestep.expand(len(latents)), denoiser.encode_text(["red"]))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_sampler(denoisers: dict[str, Denoiser], name: str) -> None:
    scheduler = type(denoisers[name].pipe.scheduler).__name__
    assert scheduler == ("FlowMatchEulerDiscreteScheduler" if name == "sd3" else "DDIMScheduler")
    sampling = plugins.load("backbones", name).sampling
    expected = {"sd15": (512, 30, 7.0), "sdxl": (1024, 30, 7.0), "sd3": (1024, 28, 4.0)}[name]
    assert (sampling.size, sampling.steps, sampling.guidance_scale) == expected


@pytest.mark.parametrize("name", NAMES)
def test_tokens_have_the_width_of_the_network(
    folders: dict[str, Path], denoisers: dict[str, Denoiser], name: str
) -> None:
    from agsm_bench.tokens import SoftTokens

    config = backbone(name, model=str(folders[name])).tokens
    tokens = SoftTokens.initialise(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens.base.mul_(1000)
    _, _, plain = captured(denoisers[name], "red")
    with tokens.attached(denoisers[name].pipe):
        assert not torch.allclose(captured(denoisers[name], "red")[2], plain)
    torch.testing.assert_close(captured(denoisers[name], "red")[2], plain)
    paper = plugins.load("backbones", name).tokens
    assert (paper.dim, paper.layers) == {"sd15": (768, 1), "sdxl": (2048, 1), "sd3": (1536, 5)}[name]


def test_without_t5_the_text_is_padded_as_the_stock_pipeline_does(folders: dict[str, Path]) -> None:
    whole, without = (backbone("sd3", model=str(folders["sd3"]), t5=t5) for t5 in ("on", "off"))
    texts = [each.load().encode_text(["red"]).context for each in (whole, without)]
    assert texts[0].shape == texts[1].shape
    assert texts[1][:, 16:].abs().max() == 0 < texts[0][:, 16:].abs().max()
    assert weights_hash(whole) != weights_hash(without)


def test_a_unet_a_vae_and_a_lora_in_its_place(folders: dict[str, Path], tmp_path: Path) -> None:
    plain = backbone("sd15", model=str(folders["sd15"]))
    shutil.copytree(folders["sd15"] / "unet", tmp_path / "unet")
    weights = load_file(file := tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    save_file({name: value * 1.5 for name, value in weights.items()}, file, metadata={"format": "pt"})
    shutil.copytree(folders["sd15"] / "vae", tmp_path / "vae")
    lora = a_lora(plain.load(), tmp_path / "lora")
    changed = backbone(
        "sd15", model=str(folders["sd15"]), unet=str(tmp_path / "unet"), vae=str(tmp_path / "vae"), lora=str(lora)
    )
    tuned, before = changed.load(), plain.load()
    name = "conv_in.weight"
    torch.testing.assert_close(tuned.network.state_dict()[name], 1.5 * before.network.state_dict()[name])
    name = "mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight"
    assert not torch.allclose(tuned.network.state_dict()[name], 1.5 * before.network.state_dict()[name])
    assert not any("lora" in key for key in tuned.network.state_dict())
    same_vae = backbone("sd15", model=str(folders["sd15"]), vae=str(tmp_path / "vae"))
    assert weights_hash(same_vae) == weights_hash(plain) != weights_hash(changed)


def a_lora(denoiser: Denoiser, folder: Path) -> Path:
    """An adapter of the UNet's queries that is not zero."""
    from peft import LoraConfig, get_peft_model_state_dict

    denoiser.network.add_adapter(LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False))
    layers = get_peft_model_state_dict(denoiser.network)
    denoiser.pipe.save_lora_weights(folder, unet_lora_layers=layers)
    denoiser.network.unload_lora()
    return folder


def test_types(folders: dict[str, Path]) -> None:
    half = backbone("sd15", model=str(folders["sd15"]), dtype="bfloat16")
    assert half.load().dtype is torch.bfloat16
    assert half.settings is not None
    assert half.settings()["dtype"] == "bfloat16"
    assert weights_hash(half) == weights_hash(replace(half, settings=None))


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("shapes-unet", {"model": "x"}, "--model"),
        ("sd3", {"unet": "dpo"}, "--unet"),
        ("sd15", {"t5": "off"}, "--t5"),
        ("sd15", {"revision": "main"}, "--model"),
    ],
)
def test_options_that_make_no_sense(name: str, options: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError) as caught:
        backbone(name, **options)
    assert word in f"{caught.value} {caught.value.fix}"


@pytest.mark.parametrize("absent", ["unet/diffusion_pytorch_model.safetensors", "model_index.json", "vae/config.json"])
def test_a_pipeline_that_lacks_a_file(folders: dict[str, Path], tmp_path: Path, absent: str) -> None:
    copy = shutil.copytree(folders["sd15"], tmp_path / "pipeline")
    (copy / absent).unlink()
    with pytest.raises(MissingError, match="pipeline"):
        weights_hash(backbone("sd15", model=str(copy)))


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Callable[..., tuple[int, str]]]:
    """The command in a process of its own with an empty hub cache; its exit code and what it says."""

    def run(*arguments: object) -> tuple[int, str]:
        environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "agsm_bench", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sd15", ["(4.3 GB)", "hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include"]),
        ("sdxl", ["(13.5 GB)", "hf download stabilityai/stable-diffusion-xl-base-1.0 --include"]),
        ("sd3", ["Accept the licence", "(15.5 GB)", "hf download stabilityai/stable-diffusion-3-medium-diffusers"]),
    ],
)
def test_missing_weights_are_named_with_the_command(
    cli: Callable[..., tuple[int, str]], name: str, words: list[str]
) -> None:
    code, said = cli("eval", "geneval", "--backbone", name)
    assert code == 3
    assert all(word in said for word in words), said
    assert "Traceback" not in said


def test_a_hub_cache(folders: dict[str, Path], tmp_path: Path, cli: Callable[..., tuple[int, str]]) -> None:
    """Laid out as the hub's client does: blobs named by their hash, and links to them."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    root = tmp_path / "hub" / "models--somebody--tiny"
    for file in sorted(p for p in folders["sd15"].rglob("*") if p.is_file()):
        blob = root / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        link = root / "snapshots" / commit / file.relative_to(folders["sd15"])
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    small = ["--limit", 3, "--images-per-prompt", 1, "--steps", 1, "--size", SIZE]
    for model, out in (("somebody/tiny", "a"), (folders["sd15"], "b")):
        command = ("eval", "geneval", "--backbone", "sd15", "--model", model, *small, "--out", out)
        code, said = cli(*command, "--metrics", "none")
        assert code == 0, said
    code, said = cli("eval", "geneval", "--backbone", "sd15", "--model", "somebody/tiny", *small, "--out", "c")
    assert (code, "agsm-bench metrics get mask2former" in said) == (3, True), said
    assert not (tmp_path / "c").exists()
    specs = [json.loads((tmp_path / out / "manifest.json").read_text())["spec"] for out in "ab"]
    assert specs[0]["weights"] == specs[1]["weights"]
    assert specs[0]["model"]["model"] == f"somebody/tiny@{commit}"
    images = [sorted((tmp_path / out).rglob("*.png")) for out in "ab"]
    assert [p.read_bytes() for p in images[0]] == [p.read_bytes() for p in images[1]]
    assert len(images[0]) == 3
