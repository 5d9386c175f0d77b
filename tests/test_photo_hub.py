"""The paper's models as the hub's client keeps them: the default pipeline, SDXL's VAE, and tuned UNets by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from conftest import Cli
from photo_tiny import SIZE
from safetensors.torch import load_file, save_file
from test_photo_backbones import a_lora

from agsm_bench import plugins
from agsm_bench.backbones.sdxl import FAMILY
from agsm_bench.diffusion.photo_sources import sources
from agsm_bench.model_options import ModelOptions, configured

COMMITS = {"pipeline": "a" * 40, "vae": "b" * 40, "unet": "c" * 40}


def snapshot(cache: Path, repo: str, commit: str) -> Path:
    """An empty snapshot of a repository, which `main` names."""
    root = cache / f"models--{repo.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "snapshots" / commit).mkdir(parents=True)
    return root / "snapshots" / commit


def put(source: Path, target: Path, ignore: Iterable[str] = ()) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*ignore), dirs_exist_ok=True)


def doubled(folder: Path) -> None:
    """Other weights of the same shapes."""
    (file,) = folder.glob("*.safetensors")
    save_file({name: 2 * value for name, value in load_file(file).items()}, file, metadata={"format": "pt"})


@pytest.fixture
def cache(tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SDXL as our own message says to download it: the pipeline without its VAE's weights, and the VAE."""
    cache, tiny = tmp_path / "hub", tiny_models["sdxl"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    pipeline = snapshot(cache, FAMILY.default.repo, COMMITS["pipeline"])
    put(tiny, pipeline)
    next((pipeline / "vae").glob("*.safetensors")).unlink()
    assert FAMILY.vae
    vae = snapshot(cache, FAMILY.vae.repo, COMMITS["vae"])
    put(tiny / "vae", vae)
    doubled(vae)
    return cache


@pytest.mark.parametrize("options", [ModelOptions(), ModelOptions(model=FAMILY.default.repo, revision="main")])
def test_sdxl_comes_with_the_vae_that_half_precision_needs(cache: Path, options: ModelOptions) -> None:
    backbone = configured(plugins.load("backbones", "sdxl"), options)
    pipe = backbone.load().pipe
    expected = load_file(next(cache.glob("*vae-fp16-fix/snapshots/*/*.safetensors")))
    assert all(torch.equal(value, expected[name]) for name, value in pipe.vae.state_dict().items())
    assert backbone.settings
    assert backbone.settings()["vae"] == f"{FAMILY.vae.repo}@{COMMITS['vae']}"  # type: ignore[union-attr]
    assert backbone.settings()["model"] == f"{FAMILY.default.repo}@{COMMITS['pipeline']}"


def test_a_tuned_unet_by_its_name(cache: Path, tiny_models: dict[str, Path]) -> None:
    repo = FAMILY.variants["dpo"].repo
    put(tiny_models["sdxl"] / "unet", snapshot(cache, repo, COMMITS["unet"]) / "unet")
    doubled(next(cache.glob("*dpo-sdxl*/snapshots/*/unet")))
    options = ModelOptions(unet="dpo")
    backbone = configured(plugins.load("backbones", "sdxl"), options)
    assert sources(FAMILY, options).describe()["unet"] == f"{repo}@{COMMITS['unet']}"
    plain = plugins.load("backbones", "sdxl").load().network.state_dict()
    tuned = backbone.load().network.state_dict()
    assert all(torch.equal(tuned[name], 2 * value) for name, value in plain.items())


def test_a_lora_on_the_command_line(cli: Cli, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    model = ModelOptions(model=str(tiny_models["sd15"]), device="cpu")
    lora = a_lora(configured(plugins.load("backbones", "sd15"), model).load(), tmp_path / "lora")
    small = ("--limit", 1, "--images-per-prompt", 1, "--steps", 1, "--size", SIZE, "--device", "cpu")
    command = ("eval", "geneval", "--backbone", "sd15", "--model", tiny_models["sd15"], *small, "--metrics", "none")
    made = []
    for out, more in (("plain", ()), ("with", ("--lora", lora))):
        code, _, error = cli(*command, *more, "--out", tmp_path / out)
        assert code == 0, error
        made.append(next((tmp_path / out).rglob("*.png")).read_bytes())
    assert made[0] != made[1]
    assert '"lora": "lora"' in (tmp_path / "with" / "manifest.json").read_text()
