"""Models that lack a part or hold another one's, and options that would change an image without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Cli, Eval
from safetensors.torch import load_file, save_file

from agsm_bench import plugins
from agsm_bench.backbones.sd3 import FAMILY as SD3
from agsm_bench.backbones.sdxl import FAMILY as SDXL
from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.photo_sources import _asked
from agsm_bench.errors import MissingError
from agsm_bench.generate import generate
from agsm_bench.model_options import ModelOptions, configured
from agsm_bench.types import Prompt, RunSpec, Sample


def backbone(name: str, folder: Path, **options: Any) -> Backbone:
    return configured(plugins.load("backbones", name), ModelOptions(model=str(folder), device="cpu", **options))


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("sd15", "text_encoder"),
        ("sd15", "unet"),
        ("sd15", "vae"),
        ("sdxl", "text_encoder_2"),
        ("sd3", "text_encoder_3"),
        ("sd3", "transformer"),
    ],
)
def test_a_tensor_that_is_absent(tiny_models: dict[str, Path], tmp_path: Path, name: str, component: str) -> None:
    """transformers would draw it at random, anew in every call."""
    folder = copied(tiny_models[name], tmp_path)
    (file,) = (folder / component).glob("*.safetensors")
    tensors = load_file(file)
    lost = sorted(key for key in tensors if "embed_tokens" not in key)[0]
    del tensors[lost]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(MissingError, match=f"The weights of '{component}' of .* lack .*{lost.rpartition('.')[2]}"):
        backbone(name, folder).load()


def test_an_index_that_names_no_text_encoder(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["sd15"], tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", "NoSuchModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(MissingError, match=r"does not load .*NoSuchModel"):
        backbone("sd15", folder).load()


def test_a_vae_that_is_loaded_alone_is_whole(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["sd3"], tmp_path)
    (file,) = (folder / "vae").glob("*.safetensors")
    tensors = load_file(file)
    del tensors["encoder.conv_in.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    load_encoder = backbone("sd3", folder).load_encoder
    assert load_encoder is not None
    with pytest.raises(MissingError, match=r"'vae' of .* lack encoder\.conv_in\.weight"):
        load_encoder()


def test_a_file_that_is_cut_short_is_named_before_anything_loads(
    evaluate_tiny: Eval, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(tiny_models["sd15"], tmp_path)
    (file,) = (folder / "unet").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    code, error = evaluate_tiny("sd15", "--model", folder)
    assert (code, "is damaged" in error) == (3, True)


def test_a_part_that_does_not_load_is_the_one_that_is_blamed(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    save_file({"nonsense": torch.ones(1)}, lora)
    with pytest.raises(MissingError, match=r"lora\.safetensors (does not load|has no weights)"):
        backbone("sd15", tiny_models["sd15"], lora=str(lora)).load()


def test_sdxl_images_hang_on_no_package_and_no_index(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    """diffusers watermarks where `invisible-watermark` is installed; method.md has zeroed null embeddings."""
    folder = copied(tiny_models["sdxl"], tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"add_watermarker": True, "force_zeros_for_empty_prompt": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    pipe = backbone("sdxl", folder).load().pipe
    assert pipe.watermark is None
    assert pipe.config.force_zeros_for_empty_prompt is True


def test_a_feature_extractor_is_not_needed(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(tiny_models["sd15"], tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", "CLIPImageProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    assert backbone("sd15", folder).load().pipe.feature_extractor is None


@pytest.mark.parametrize("family", [SD3, SDXL])
def test_the_papers_model_by_its_name_is_the_papers(family: Any) -> None:
    """With its size, licence, files and VAE: `--revision` needs `--model`."""
    assert _asked(family, ModelOptions(model=family.default.repo)) == _asked(family, ModelOptions())


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "geneval", "--offload", "sequential", "--backbone-weights", "nowhere"),
        ("train", "agsm", "--offload", "sequential", "--backbone-weights", "nowhere"),
        ("train", "diffusion_dpo", "--offload", "model", "--preferences", "nowhere"),
    ],
)
def test_weights_that_wait_elsewhere_are_not_replaced(cli: Cli, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Under sequential offloading the variant's would be lost without a word."""
    code, _, error = cli(*arguments, "--backbone", "sd15", "--out", tmp_path / "run")
    assert (code, "--offload" in error, (tmp_path / "run").exists()) == (2, True, False)


def test_half_precision_is_refused_before_anything_loads(
    cli: Cli, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    flags = ("--model", tiny_models["sd15"], "--device", "cpu", "--mixed-precision", "fp16")
    code, _, error = cli("train", "agsm", "--backbone", "sd15", *flags, "--out", tmp_path / "run")
    assert (code, "needs a CUDA GPU" in error, (tmp_path / "run").exists()) == (2, True, False)


@pytest.mark.parametrize(("device", "rows"), [("cpu", [4, 4]), ("cuda", [2, 1])])
def test_small_batches_are_filled_up_on_the_cpu_alone(device: str, rows: list[int]) -> None:
    class Recorder:
        device: torch.device
        seen: list[int]

        def sample(self, prompts: list[str], *_: Any, **__: Any) -> list[Any]:
            from PIL import Image

            self.seen.append(len(prompts))
            return [Image.new("RGB", (2, 2))] * len(prompts)

    denoiser: Any = Recorder()
    denoiser.device, denoiser.seen = torch.device(device), []
    spec = RunSpec("b", "photo", "sd15", "w", 7.0, 1, 8, 0, 1)
    assert len(list(generate(denoiser, spec, [Sample(Prompt("00000", "a"), i) for i in range(3)], 2))) == 3
    assert denoiser.seen == rows


def test_doctor_says_what_does_not_belong_together(cli: Cli, tiny_models: dict[str, Path]) -> None:
    code, said, _ = cli("doctor", "--backbone", "sd15", "--model", tiny_models["sdxl"], "--device", "cpu")
    assert (code, "is a StableDiffusionXLPipeline" in " ".join(said.split())) == (3, True)
    flags = ("--model", tiny_models["sd15"], "--unet", tiny_models["sdxl"], "--device", "cpu")
    code, said, _ = cli("doctor", "--backbone", "sd15", *flags)
    assert (code, "does not fit" in " ".join(said.split())) == (3, True)
    assert "activations" not in said
