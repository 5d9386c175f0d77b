"""Models whose parts do not belong together, or are damaged: said before the weights load, and never passed over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Eval
from peft import LoraConfig, get_peft_model_state_dict
from photo_tiny import SIZE

from agsm_bench import plugins
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.errors import MissingError
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.variant import weights_hash


def load(backbone: str, folder: Path, **options: Any) -> Denoiser:
    made = configured(plugins.load("backbones", backbone), ModelOptions(model=str(folder), device="cpu", **options))
    return made.load()


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize("damage", ["tokenizer.json", None])
def test_a_tokenizer_without_its_vocabulary(
    evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path, damage: str | None
) -> None:
    folder = copied(tiny_models["sd15"], tmp_path)
    if damage:
        (folder / "tokenizer" / damage).unlink()
    else:
        shutil.rmtree(folder / "tokenizer")
    code, error = evaluate_tiny("sd15", "--model", folder)
    assert code == 3
    assert "The vocabulary of 'tokenizer' of" in error
    assert not (tmp_path / "run").exists()


def test_a_tokenizer_of_other_words(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["sd15"], tmp_path)
    path = folder / "tokenizer" / "tokenizer.json"
    content = json.loads(path.read_text())
    words = list(content["model"]["vocab"])
    content["model"]["vocab"] = {word: index for index, word in enumerate(words[: len(words) // 2])}
    content["model"]["merges"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(MissingError, match=r"'tokenizer' of .* is damaged: it knows \d+ words, and its text encoder"):
        load("sd15", folder)


@pytest.mark.parametrize(
    ("backbone", "model", "words"),
    [
        ("sd15", "sdxl", "a StableDiffusionPipeline is needed"),
        ("sdxl", "sd15", "is a StableDiffusionPipeline"),
        ("sd15", "sd3", "is a StableDiffusion3Pipeline"),
    ],
)
def test_a_model_of_another_family(
    evaluate_tiny: Eval, tiny_models: dict[str, Path], backbone: str, model: str, words: str
) -> None:
    code, error = evaluate_tiny(backbone, "--model", tiny_models[model])
    assert (code, words in error) == (3, True), error


def test_a_network_of_another_family(evaluate_tiny: Eval, tiny_models: dict[str, Path]) -> None:
    code, error = evaluate_tiny("sd15", "--model", tiny_models["sd15"], "--unet", tiny_models["sdxl"])
    assert (code, "does not fit" in error, "cross_attention_dim" in error) == (3, True, True), error


def test_a_vae_of_other_latents(evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["sd3"] / "vae", tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"latent_channels": 16}))
    code, error = evaluate_tiny("sd15", "--model", tiny_models["sd15"], "--vae", folder)
    assert (code, "in_channels is 16, and 4 there" in error) == (3, True), error


def test_an_index_without_a_class(evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["sd15"], tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"vae": []}))
    code, error = evaluate_tiny("sd15", "--model", folder)
    assert (code, "'vae' has no class" in error) == (3, True), error


def test_the_scheduler_is_part_of_the_weights_hash(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """And so of a run's identity: other images than those that are there are not added to them."""
    folder = copied(tiny_models["sd15"], tmp_path)
    one, other = (
        configured(plugins.load("backbones", "sd15"), ModelOptions(model=str(each), device="cpu"))
        for each in (tiny_models["sd15"], folder)
    )
    assert weights_hash(one) == weights_hash(other)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_end": 0.5}))
    assert weights_hash(one) != weights_hash(other)


def lora(folder: Path, model: Path, component: str) -> Path:
    """A LoRA of one component, of a size that shows."""
    denoiser = load("sd15", model)
    network = getattr(denoiser.pipe, component)
    targets = ["to_q", "to_v"] if component == "unet" else ["q_proj", "v_proj"]
    network.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=targets, init_lora_weights=False))
    layers = {f"{component}_lora_layers": get_peft_model_state_dict(network)}
    denoiser.pipe.save_lora_weights(folder, **layers)
    return folder / "pytorch_lora_weights.safetensors"


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_a_lora_of_either_component_counts(tiny_models: dict[str, Path], tmp_path: Path, component: str) -> None:
    file = lora(tmp_path, tiny_models["sd15"], component)
    plain, tuned = load("sd15", tiny_models["sd15"]), load("sd15", tiny_models["sd15"], lora=str(file))
    latents, timestep = torch.ones(1, *plain.encoder.shape(SIZE)), torch.tensor([500])
    with torch.no_grad():
        texts = [each.encode_text(["a cat"]) for each in (plain, tuned)]
        found = [each.predict(latents, timestep, text) for each, text in zip((plain, tuned), texts, strict=True)]
    assert torch.equal(texts[0].context, texts[1].context) == (component == "unet")
    assert not torch.equal(found[0], found[1])


def test_a_lora_for_something_else(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    file = lora(tmp_path, tiny_models["sd15"], "unet")
    with pytest.raises(MissingError, match=r"has no weights for this pipeline|does not load"):
        load("sd3", tiny_models["sd3"], lora=str(file))


@pytest.mark.parametrize(("device", "code"), [("foo", 2), ("cuda:99", 3)])
def test_a_device_that_is_not_there(evaluate_tiny: Eval, tiny_models: dict[str, Path], device: str, code: int) -> None:
    found, error = evaluate_tiny("sd15", "--model", tiny_models["sd15"], "--device", device)
    assert (found, device in error) == (code, True), error


def edited(folder: Path, tmp_path: Path, file: str, **changes: Any) -> Path:
    """A copy with other entries in one of its JSON files; None takes one out."""
    copy = copied(folder, tmp_path)
    content = json.loads((copy / file).read_text()) | changes
    (copy / file).write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return copy


def test_a_network_that_predicts_something_else(
    evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    file = "scheduler/scheduler_config.json"
    folder = edited(tiny_models["sd15"], tmp_path, file, prediction_type="v_prediction")
    code, error = evaluate_tiny("sd15", "--model", folder)
    assert (code, "predicts v_prediction" in error) == (3, True), error


def test_a_configuration_without_a_width(evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = edited(tiny_models["sd15"], tmp_path, "unet/config.json", cross_attention_dim=None)
    code, error = evaluate_tiny("sd15", "--model", folder)
    assert (code, "has no cross_attention_dim" in error) == (3, True), error


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--offload", "sequential", "--device", "cpu"), 2, "--offload needs a GPU"),
        (("--t5", "8bit"), 2, "--t5 8bit needs a CUDA GPU"),
        (("--revision", "main"), 2, "--revision is for a repository"),
    ],
)
def test_options_that_cannot_work(
    evaluate_tiny: Eval, tiny_models: dict[str, Path], options: tuple[str, ...], code: int, words: str
) -> None:
    found, error = evaluate_tiny("sd3", "--model", tiny_models["sd3"], *options)
    assert (found, words in error) == (code, True), error
