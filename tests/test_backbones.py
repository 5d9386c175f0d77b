"""The shipped backbones are ordinary diffusers pipelines, and the denoiser reads them as their pipelines do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

from agsm_bench.diffusion.denoiser import Denoiser, MMDiTDenoiser
from agsm_bench.plugins import load, names
from agsm_bench.seeds import generator_for
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.shipped import weights_folder
from agsm_bench.tokens.soft_tokens import SoftTokens

PROMPTS = ["a photo of a red circle", "a photo of three blue squares"]


@pytest.fixture(scope="module", params=["shapes-unet", "shapes-mmdit"])
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    return load("backbones", request.param).load()


def sample(denoiser: Denoiser, **options: float) -> list[np.ndarray]:
    noises = [generator_for("test", i) for i in range(len(PROMPTS))]
    images = denoiser.sample(PROMPTS, noises, **({"steps": 4, "guidance_scale": 3.0, "size": 24} | options))  # type: ignore[arg-type]
    return [np.asarray(image) for image in images]


def test_every_backbone_names_itself() -> None:
    for name in names("backbones"):
        assert load("backbones", name).name == name


def test_stock_pipelines_give_the_same_images() -> None:
    """The README's way: no code of ours between the folder and the image."""
    for name, stock, load_options, call_options in (
        ("shapes-unet", StableDiffusionPipeline, {}, {}),
        (
            "shapes-mmdit",
            StableDiffusion3Pipeline,
            {"text_encoder_3": None, "tokenizer_3": None},
            {"max_sequence_length": 0},
        ),
    ):
        pipe = stock.from_pretrained(weights_folder(name), dtype=torch.float32, **load_options)
        pipe.set_progress_bar_config(disable=True)
        generator = [generator_for("test", i) for i in range(2)]
        images = pipe(PROMPTS, generator=generator, num_inference_steps=4, guidance_scale=3.0, **call_options).images
        ours = sample(load("backbones", name).load())
        for stocks, mine in zip(images, ours, strict=True):
            # its 1x1 convolutions of few rows round differently on one thread: agsm_bench/one_kernel.py
            assert np.abs(np.asarray(stocks, np.int16) - mine).max() <= 1


def test_sampling_encodes_each_prompt_once_and_the_null_once(denoiser: Denoiser) -> None:
    denoiser = type(denoiser)(denoiser.pipe, *([denoiser.t5_length] if isinstance(denoiser, MMDiTDenoiser) else []))
    encoded: list[int] = []
    hook = denoiser.pipe.text_encoder.register_forward_hook(lambda _, __, output: encoded.append(len(output[0])))
    for prompts in (["red", "red", "blue"], ["blue", "green"]):
        noises = [torch.Generator().manual_seed(0) for _ in prompts]
        denoiser.sample(prompts, noises, steps=1, guidance_scale=2.0, size=24)
    hook.remove()
    assert encoded == [1, 1, 1, 1]


def test_predict_is_what_the_pipeline_runs(denoiser: Denoiser) -> None:
    """Without guidance, one Euler or DDIM step from the pipeline's own noise, by hand."""
    text = denoiser.encode_text(PROMPTS[:1])
    latents = torch.randn((1, 8, 6, 6), generator=torch.Generator().manual_seed(0))
    scheduler = denoiser.pipe.scheduler
    scheduler.set_timesteps(1)
    timestep = scheduler.timesteps[0]
    with torch.no_grad():
        prediction = denoiser.predict(latents, timestep.expand(1), text)
        expected = scheduler.step(prediction, timestep, latents, return_dict=False)[0]
    seen = {}
    denoiser.pipe(
        PROMPTS[:1],
        latents=latents.clone(),
        num_inference_steps=1,
        guidance_scale=1.0,
        output_type="latent",
        callback_on_step_end=lambda _, __, ___, values: seen.update(values) or values,
        **({"max_sequence_length": denoiser.t5_length} if isinstance(denoiser, MMDiTDenoiser) else {}),
    )
    torch.testing.assert_close(seen["latents"], expected, atol=1e-5, rtol=1e-5)


def test_pixels_survive_the_autoencoder(denoiser: Denoiser) -> None:
    pairs = load("backbones", "shapes-mmdit").training_data(0, True)
    pictures = [pairs.item(i)[0] for i in range(32)]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    latents = denoiser.encode_images(pixels)
    assert latents.std().item() == pytest.approx(1.0, abs=0.1)
    vae = denoiser.pipe.vae
    with torch.no_grad():
        decoded = vae.decode(latents / vae.config.scaling_factor).sample
    again = decoded.add(1).mul(127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    same = [
        sorted((d.label, d.color) for d in detect(a)) == sorted((d.label, d.color) for d in detect(b))
        for a, b in zip(pictures, again, strict=True)
    ]
    assert np.mean(same) > 0.9


def test_every_word_is_known(denoiser: Denoiser) -> None:
    tokenizer = denoiser.pipe.tokenizer
    for prompt in load("benchmarks", "geneval").prompts("shapes"):
        ids = tokenizer(prompt.text).input_ids
        assert len(ids) == len(prompt.text.split()) + 2
        assert len(ids) <= tokenizer.model_max_length


def test_tokens_attach_to_the_pipeline_and_leave_it_as_it_was(denoiser: Denoiser) -> None:
    name = "shapes-unet" if hasattr(denoiser.pipe, "unet") else "shapes-mmdit"
    tokens = SoftTokens.initialise(load("backbones", name).tokens, torch.Generator().manual_seed(0))
    tokens.base.data.mul_(20)
    before = sample(denoiser)
    with tokens.attached(denoiser.pipe):
        during = sample(denoiser)
    after = sample(denoiser)
    assert any((a != b).any() for a, b in zip(before, during, strict=True))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
