"""`--protocol paper|released`: every difference, and that it is in the records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from photo_tiny import MAKERS, SIZE, save_tiny
from PIL import Image
from torch import Tensor

from agsm_bench import plugins
from agsm_bench.diffusion.minmax import MinMaxImages, stretched, to_pixels
from agsm_bench.model_options import ModelOptions, configured, saving_of
from agsm_bench.protocol import forgets_time_embedding, training_defaults, unconditional_polarity
from agsm_bench.tokens import SoftTokens, save_tokens

NAMES = tuple(MAKERS)
SAMPLING = ("--limit", 1, "--images-per-prompt", 1, "--steps", 2, "--size", SIZE, "--device", "cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save_tiny(name, tmp_path_factory.mktemp(name)) for name in NAMES}


def trained(name: str, model: Path, folder: Path, trainer: str = "agsm", polarities: int = 2) -> Path:
    """Tokens large enough to be seen, said to be of a trainer."""
    config = configured(plugins.load("backbones", name), ModelOptions(model=str(model))).tokens
    tokens = SoftTokens.initialise(
        type(config)(**{**vars(config), "polarities": polarities}), torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        for parameter in tokens.parameters():
            parameter.mul_(50)
    save_tokens(tokens, folder, {"trainer": trainer, "seed": 0})
    return folder


def evaluated(cli: Cli, out: Path, *arguments: object) -> tuple[dict[str, Any], np.ndarray]:
    """The run's settings and its first image."""
    assert cli("eval", "geneval", *arguments, *SAMPLING, "--metrics", "none", "--out", out)[0] == 0
    spec: dict[str, Any] = json.loads((out / "manifest.json").read_text())["spec"]
    with Image.open(next(out.rglob("*.png"))) as image:
        return spec, np.asarray(image)


@pytest.mark.parametrize("trainer", ["agsm", "softrepa", "bt"])
@pytest.mark.parametrize("name", ["sd15", "sdxl", "sd3", "shapes-unet"])
def test_the_papers_training_is_the_backbones_own(trainer: str, name: str) -> None:
    assert training_defaults("paper", trainer, name) == {}


@pytest.mark.parametrize(
    ("trainer", "name", "expected"),
    [
        ("agsm", "sd15", {"steps": 20 * 29_571}),
        ("agsm", "sdxl", {"steps": 29_571, "gamma_negative": 0.1}),
        ("agsm", "sd3", {"steps": 10 * 29_571}),
        ("softrepa", "sd15", {"steps": 20 * 29_571, "apply": "down"}),
    ],
)
def test_the_released_training(trainer: str, name: str, expected: dict[str, Any]) -> None:
    assert training_defaults("released", trainer, name) == expected


@pytest.mark.parametrize(
    ("name", "polarities", "expected"),
    [("sdxl", 2, "negative"), ("sdxl", 1, "positive"), ("sd15", 2, "positive"), ("sd3", 2, "positive")],
)
def test_the_unconditional_half(name: str, polarities: int, expected: str) -> None:
    assert unconditional_polarity("released", name, polarities) == expected
    assert unconditional_polarity("paper", name, polarities) == "positive"


def test_whose_time_embedding_is_forgotten() -> None:
    forgetful = [
        (protocol, trainer, name)
        for protocol in ("paper", "released")
        for trainer in ("agsm", "softrepa")
        for name in NAMES
        if forgets_time_embedding(protocol, trainer, name)  # type: ignore[arg-type]
    ]
    assert forgetful == [("released", "softrepa", "sd3")]


def test_saving_goes_with_the_protocol_unless_it_is_given() -> None:
    assert saving_of(ModelOptions()) == "clamp"
    assert saving_of(ModelOptions(protocol="released")) == "official-minmax"
    assert saving_of(ModelOptions(protocol="released", saving="clamp")) == "clamp"
    assert saving_of(ModelOptions(saving="official-minmax")) == "official-minmax"


def test_images_are_stretched_one_by_one_over_all_channels() -> None:
    pair = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images = MinMaxImages(vae_scale_factor=2).postprocess(torch.cat([pair, 3 * pair + 1]), "pil")
    pixels = [np.asarray(image) for image in images]
    assert all((image.min(), image.max()) == (0, 255) for image in pixels)
    for i in range(2):
        assert (pixels[i] == pixels[i + 2]).all()  # scale and offset are taken out
        expected = save_image_of_torchvision(pair[i])
        assert (pixels[i] == expected).all()
    assert (np.asarray(to_pixels(stretched(torch.full((3, 2, 2), 0.7)))) == 0).all()


def save_image_of_torchvision(image: Tensor) -> np.ndarray:
    """What `save_image(image, normalize=True)` writes, step by step."""
    image = image.clone().clamp_(image.min(), image.max())
    low, high = float(image.min()), float(image.max())
    image.sub_(low).div_(max(high - low, 1e-5))
    return image.mul(255).add_(0.5).clamp_(0, 255).permute(1, 2, 0).to(torch.uint8).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_saved_images(cli: Cli, folders: dict[str, Path], tmp_path: Path, name: str) -> None:
    model = ("--backbone", name, "--model", folders[name])
    (paper, clamped), (released, minmax) = (
        evaluated(cli, tmp_path / protocol, *model, "--protocol", protocol) for protocol in ("paper", "released")
    )
    assert (paper["model"]["protocol"], paper["model"]["saving"]) == ("paper", "clamp")
    assert (released["model"]["protocol"], released["model"]["saving"]) == ("released", "official-minmax")
    assert (minmax.min(), minmax.max()) == (0, 255)
    assert (clamped != minmax).any()
    _, again = evaluated(cli, tmp_path / "c", *model, "--protocol", "released", "--saving", "clamp")
    assert (again == clamped).all()


def test_sdxl_has_psi_minus_in_the_unconditional_half(cli: Cli, folders: dict[str, Path], tmp_path: Path) -> None:
    model = ("--backbone", "sdxl", "--model", folders["sdxl"], "--saving", "clamp")
    tokens = ("--tokens", trained("sdxl", folders["sdxl"], tmp_path / "tokens"))
    runs = {
        out: evaluated(cli, tmp_path / out, *model, *tokens, *more)
        for out, more in {
            "paper": (),
            "released": ("--protocol", "released"),
            "asked": ("--unconditional", "negative"),
            "kept": ("--protocol", "released", "--unconditional", "positive"),
        }.items()
    }
    assert {out: spec["unconditional"] for out, (spec, _) in runs.items()} == {
        "paper": "positive", "released": "negative", "asked": "negative", "kept": "positive",
    }  # fmt: skip
    assert (runs["released"][1] == runs["asked"][1]).all()
    assert (runs["kept"][1] == runs["paper"][1]).all()
    assert (runs["paper"][1] != runs["released"][1]).any()


@pytest.mark.parametrize(("trainer", "polarities", "same"), [("softrepa", 1, False), ("agsm", 2, True)])
def test_softrepas_time_embedding_on_sd3(
    cli: Cli, folders: dict[str, Path], tmp_path: Path, trainer: str, polarities: int, same: bool
) -> None:
    model = ("--backbone", "sd3", "--model", folders["sd3"], "--saving", "clamp")
    tokens = ("--tokens", trained("sd3", folders["sd3"], tmp_path / "tokens", trainer, polarities))
    (_, paper), (_, released), (_, again) = (
        evaluated(cli, tmp_path / f"{i}", *model, *tokens, "--protocol", protocol)
        for i, protocol in enumerate(("paper", "released", "released"))
    )
    assert (released == again).all()
    assert bool((paper == released).all()) == same


def test_forgetting_draws_the_time_embedding_anew_and_nothing_else() -> None:
    config = plugins.load("backbones", "sd3").tokens
    tokens = SoftTokens.initialise(config, torch.Generator().manual_seed(0))
    base, time = tokens.base.clone(), tokens.time.clone()  # type: ignore[union-attr]
    tokens.forget_time(torch.Generator().manual_seed(1))
    assert tokens.time is not None
    assert torch.equal(tokens.base, base)
    assert not torch.equal(tokens.time, time)
    assert tokens.time.std().item() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize(
    ("trainer", "name", "given", "expected"),
    [
        ("agsm", "sdxl", [], {"gamma_negative": 0.1, "steps": 29_571}),
        ("agsm", "sdxl", ["--gamma-negative", 0.5, "--steps", 7], {"gamma_negative": 0.5, "steps": 7}),
        ("softrepa", "sd15", [], {"apply": "down", "steps": 591_420}),
        ("softrepa", "sd15", ["--apply", "down,mid"], {"apply": "down,mid"}),
    ],
)
def test_the_command_trains_as_released(
    cli: Cli,
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    trainer: str,
    name: str,
    given: list[Any],
    expected: dict[str, Any],
) -> None:
    """By the configuration that a run writes before it looks for weights to load."""
    from agsm_bench.training import run

    seen: dict[str, Any] = {}
    monkeypatch.setattr("agsm_bench.training.job.Job.data", None)  # COCO is not here
    monkeypatch.setattr(run, "_check", lambda job: seen.update(job.describe()) or stop())  # type: ignore[func-returns-value]
    command = ["train", trainer, "--backbone", name, "--model", folders[name], "--protocol", "released", *given]
    assert cli(*command, "--out", tmp_path / "run")[0] == 2
    assert seen["model"]["protocol"] == "released"
    assert {key: (seen | seen["objective"])[key] for key in expected} == expected


def stop() -> None:
    from agsm_bench.errors import UserError

    raise UserError("Enough.", "")
