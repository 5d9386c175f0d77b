"""Fine-tuning the shipped miniatures on preferences, and the variants that come out of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Cli
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.denoiser import Denoiser, MMDiTDenoiser, UNetDenoiser
from agsm_bench.diffusion.variants import load_denoiser
from agsm_bench.errors import MissingError
from agsm_bench.shapes.pairs import ShapesPairs
from agsm_bench.tokens.soft_tokens import SoftTokens
from agsm_bench.training.config import PreferenceOptions, fill, resolve
from agsm_bench.training.job import PreferenceJob
from agsm_bench.training.loop import Training, train
from agsm_bench.training.preference_task import PreferenceTask
from agsm_bench.training.preferences import Preferences, read_preferences
from agsm_bench.variant import read_variant, weights_hash

BACKBONES = ("shapes-unet", "shapes-mmdit")
TUNED = [(backbone, tune) for backbone in BACKBONES for tune in ("lora", "full")]


def silent(step: int, record: dict[str, float]) -> None:
    """No progress bar."""


@pytest.fixture(scope="module")
def denoisers() -> dict[str, Denoiser]:
    return {name: plugins.load("backbones", name).load() for name in BACKBONES}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a user would write it: the picture of the caption is preferred to that of another one."""
    path = tmp_path_factory.mktemp("preferences")
    data, lines = ShapesPairs(7, held_out=False), []
    for index in range(8):
        line: dict[str, Any] = {"prompt": data.item(index)[1], "held_out": index >= 6}
        for key, item in (("preferred", index), ("rejected", index + 100)):
            line[key] = f"{index}-{key}.png"
            Image.fromarray(data.item(item)[0]).save(path / line[key])
        lines.append(json.dumps(line) + "\n")
    (path / "preferences.jsonl").write_text("".join(lines))
    return path


def job(
    out: Path, preferences: Preferences, backbone: str = "shapes-mmdit", name: str = "diffusion_dpo", **options: Any
) -> PreferenceJob:
    trainer, chosen = plugins.load("trainers", name), plugins.load("backbones", backbone)
    asked = {"steps": 3, "batch": 2, "validate_every": 2, "save_every": 2, "rank": 4} | options
    own = fill(trainer.options(), {"beta": 2000.0})
    out.mkdir(parents=True, exist_ok=True)
    resolved = resolve(PreferenceOptions(**asked), chosen)
    return PreferenceJob(name, trainer, chosen, resolved, own, out, preferences=preferences)


def predict(denoiser: Denoiser) -> Tensor:
    latents = torch.randn((2, 8, 6, 6), generator=torch.Generator().manual_seed(0))
    text = denoiser.encode_text(["a red circle", "two blue squares"])
    with torch.no_grad():
        return denoiser.predict(latents, torch.tensor([300, 800]), text)


def weights(out: Path) -> dict[str, bytes]:
    files = [out / "pytorch_lora_weights.safetensors", *out.glob("*/*.safetensors"), out / "train.jsonl"]
    return {path.name: path.read_bytes() for path in files if path.exists()}


@pytest.mark.parametrize(
    ("backbone", "tune", "name"), [("shapes-unet", "lora", "dspo"), ("shapes-mmdit", "full", "diffusion_dpo")]
)
def test_resume_equals_an_unbroken_run(
    tmp_path: Path, folder: Path, denoisers: dict[str, Denoiser], backbone: str, tune: str, name: str
) -> None:
    def run(out: str, steps: int) -> Path:
        made = job(tmp_path / out, read_preferences(folder), backbone, name, tune=tune, steps=steps)
        return train(made, denoisers[backbone], silent)

    whole, broken = run("whole", 3), run("broken", 2)
    run("broken", 3)
    assert len(weights(whole)) == 2
    assert weights(whole) == weights(broken)
    records = [json.loads(line) for line in (whole / "train.jsonl").read_text().splitlines()]
    assert ["val_loss" in record for record in records] == [False, True, True]
    assert {"implicit_accuracy", "reward_margin", "err_preferred", "gain_rejected"} <= records[0].keys()


@pytest.mark.parametrize(("backbone", "tune"), TUNED)
def test_a_loaded_variant_is_the_trained_network(
    tmp_path: Path, folder: Path, denoisers: dict[str, Denoiser], backbone: str, tune: str
) -> None:
    denoiser = denoisers[backbone]
    base = predict(denoiser)
    task = PreferenceTask(job(tmp_path, read_preferences(folder), backbone, tune=tune, learning_rate=1e-3), denoiser)
    assert torch.equal(predict(denoiser), base), "training starts from the base"
    training = Training(task)
    with task.active():
        assert training.advance()["loss"] == pytest.approx(math.log(2), abs=1e-4)
        training.advance()
        tuned = predict(denoiser)
        with torch.no_grad(), task.tuning.reference():
            torch.testing.assert_close(predict(denoiser), base)
        task.save()
    assert torch.equal(predict(denoiser), base), "training leaves the network as it was"
    assert not any(parameter.requires_grad for parameter in denoiser.network.parameters())
    chosen: Backbone = plugins.load("backbones", backbone)
    loaded = load_denoiser(chosen, read_variant(tmp_path, chosen))
    assert (tuned - base).abs().max() > 1e-3
    torch.testing.assert_close(predict(loaded), tuned, atol=1e-4, rtol=1e-4)
    assert not any("lora" in name for name, _ in loaded.network.named_modules())
    tokens = SoftTokens.initialise(chosen.tokens, torch.Generator().manual_seed(0))
    with tokens.attached(loaded.pipe):
        assert not torch.allclose(predict(loaded), tuned, atol=1e-3)
    if tune == "lora":
        stock_loads_it(backbone, tmp_path, tuned)


def stock_loads_it(backbone: str, out: Path, tuned: Tensor) -> None:
    source = plugins.load("backbones", backbone).weights()
    if backbone == "shapes-unet":
        pipe = StableDiffusionPipeline.from_pretrained(source, dtype=torch.float32)
    else:
        pipe = StableDiffusion3Pipeline.from_pretrained(
            source, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
        )
    pipe.load_lora_weights(out)
    stock = UNetDenoiser(pipe) if backbone == "shapes-unet" else MMDiTDenoiser(pipe, t5_length=0)
    torch.testing.assert_close(predict(stock), tuned, atol=1e-4, rtol=1e-4)


def test_training_lowers_the_loss_of_its_pairs(tmp_path: Path, folder: Path, denoisers: dict[str, Denoiser]) -> None:
    pairs = read_preferences(folder)
    asked = job(
        tmp_path,
        replace(pairs, held_out=pairs.train),
        steps=8,
        batch=6,
        tune="full",
        precision="float16",
        validate_every=100,
    )
    task = PreferenceTask(asked, denoisers["shapes-mmdit"])
    assert task.validate()["loss"] == pytest.approx(math.log(2))
    Training(task).run(silent)
    last = json.loads((tmp_path / "train.jsonl").read_text().splitlines()[-1])
    assert last["val_loss"] < 0.9 * math.log(2)
    assert last["val_implicit_accuracy"] > 0.5
    saved = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
    assert saved.stat().st_size < 2.1 * sum(p.numel() for p in denoisers["shapes-mmdit"].network.parameters())


def test_every_epoch_has_each_pair_once_in_another_order(folder: Path) -> None:
    pairs = read_preferences(folder)
    assert (len(pairs.train), len(pairs.held_out)) == (6, 2)
    epochs = [pairs.batch(seed, range(start, start + 6)) for seed, start in ((0, 0), (0, 6), (1, 0))]
    assert all(sorted(pair.prompt for pair in epoch) == sorted(p.prompt for p in pairs.train) for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] != epochs[2]
    assert pairs.batch(0, range(3, 9)) == epochs[0][3:] + epochs[1][:3]


def test_pictures_of_any_size_are_cut_to_the_backbones(tmp_path: Path, folder: Path) -> None:
    pair = read_preferences(folder).train[0]
    np.testing.assert_array_equal(pair.images(24)[0], np.asarray(Image.open(pair.preferred)))
    Image.new("L", (300, 200), 7).save(tmp_path / "grey.jpg")
    assert replace(pair, rejected=tmp_path / "grey.jpg").images(24).shape == (2, 24, 24, 3)


def test_damaged_preferences(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="shapes preferences"):
        read_preferences(tmp_path)
    path = tmp_path / "preferences.jsonl"
    for text, reason in (
        ("", "no pair to train on"),
        ('{"prompt": "a circle"}\n', "line 1 is damaged"),
        ('{"prompt": "a", "preferred": "a.png", "rejected": "b.png"}\n', r"a\.png.*absent"),
    ):
        path.write_text(text)
        with pytest.raises(MissingError, match=reason):
            read_preferences(tmp_path)
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(MissingError, match="cannot be read"):
        read_preferences(tmp_path).train[0].images(24)


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory, folder: Path, denoisers: dict[str, Denoiser]) -> Path:
    out = tmp_path_factory.mktemp("dpo")
    return train(job(out, read_preferences(folder), steps=1), denoisers["shapes-mmdit"], silent)


def test_eval_and_train_on_a_variant(cli: Cli, tmp_path: Path, variant: Path) -> None:
    backbone: Backbone = plugins.load("backbones", "shapes-mmdit")
    few = ["--limit", 6, "--images-per-prompt", 1, "--steps", 2, "--json"]
    code, text, _ = cli("eval", "geneval", "--backbone-weights", variant, "--out", tmp_path / "dpo", *few)
    run = json.loads(text)["run"]
    assert (code, run["tokens"], run["variant"]["trainer"]) == (0, None, "diffusion_dpo")
    assert run["variant"]["base"] == weights_hash(backbone) != run["weights"]
    assert json.loads((tmp_path / "dpo" / "manifest.json").read_text())["variant"] == run["variant"]
    assert str(tmp_path) not in text

    tokens = tmp_path / "agsm"
    assert cli("train", "agsm", "--backbone-weights", variant, "--steps", 1, "--out", tokens)[0] == 0
    asked = ["eval", "geneval", "--tokens", tokens, "--out", tmp_path / "both", *few]
    code, _, err = cli(*asked)
    assert (code, "--backbone-weights" in err) == (2, True)
    code, text, _ = cli(*asked, "--backbone-weights", variant)
    run = json.loads(text)["run"]
    assert (code, run["tokens"]["trainer"], run["variant"]["trainer"]) == (0, "agsm", "diffusion_dpo")
    assert run["tokens"]["variant"]["hash"] == run["variant"]["hash"]
    code, _, err = cli("train", "agsm", "--steps", 1, "--out", tokens)
    assert (code, "variant was" in err) == (2, True)


def test_preference_trainers_on_the_command_line(cli: Cli, tmp_path: Path, folder: Path) -> None:
    flags = ["--preferences", folder, "--batch", 2, "--steps", 1, "--rank", 2, "--out", tmp_path]
    code, out, _ = cli("train", "diffusion_dpo", *flags)
    assert (code, "--backbone-weights" in out) == (0, True)
    state = (tmp_path / "config.json").read_text()
    record = json.loads(state)["training"]
    assert record["preferences"] == read_preferences(folder).hash
    assert record["pairs"] == {"train": 6, "held_out": 2}
    code, _, err = cli("train", "diffusion_dpo", *flags, "--beta", 1)
    assert (code, "objective was" in err) == (2, True)


def test_refusals(cli: Cli, tmp_path: Path, folder: Path, variant: Path) -> None:
    def refused(expected: int, word: str, *arguments: object) -> None:
        code, _, err = cli(*arguments, "--out", tmp_path / "out")
        assert code == expected, err
        assert word in err
        assert len(err.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()

    asked = ["eval", "geneval", "--backbone-weights"]
    refused(2, "--backbone shapes-mmdit", *asked, variant, "--backbone", "shapes-unet")
    refused(3, "train diffusion_dpo", *asked, tmp_path / "none")
    refused(3, "train diffusion_dpo", "train", "agsm", "--backbone-weights", tmp_path / "none")
    dpo = ["train", "diffusion_dpo", "--preferences"]
    refused(3, "shapes preferences", *dpo, tmp_path / "none")
    refused(2, "there are 6 pairs", *dpo, folder, "--batch", 7)
    refused(2, "--beta", *dpo, folder, "--beta", -1)

    for name in ("variant.json", "pytorch_lora_weights.safetensors"):
        (tmp_path / name).write_bytes((variant / name).read_bytes())
    lora = tmp_path / "pytorch_lora_weights.safetensors"
    lora.write_bytes(lora.read_bytes()[:-4] + b"\0\0\0\0")
    refused(3, "do not match their hash", *asked, tmp_path)
    lora.unlink()
    refused(3, "no lora weights", *asked, tmp_path)
    header = json.loads((variant / "variant.json").read_text())
    lora.write_bytes((variant / lora.name).read_bytes())
    (tmp_path / "variant.json").write_text(json.dumps(header | {"base": "0" * 64}))
    refused(2, "other weights", *asked, tmp_path)
    (tmp_path / "variant.json").write_text("{}")
    refused(3, "damaged", *asked, tmp_path)
