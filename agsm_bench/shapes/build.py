"""Builds the miniature models from scratch: `agsm-bench shapes build NAME`.

The autoencoder comes first, the two backbones and the dual encoder need only it and the corpus. A backbone learns in
two phases: from captions of which a share is wrong, whatever their wording, and then from captions whose wording tells
how far they can be trusted (`corpus.SOURCES`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from agsm_bench.shapes.architectures import (
    TEXT_WIDTH,
    build_mmdit,
    build_unet,
    build_vae,
    text_config,
)
from agsm_bench.shapes.corpus import CAPTIONS_PER_SCENE, NOISE_SHARES, Corpus, load_corpus, load_sourced_captions
from agsm_bench.shapes.optimise import Schedule, train
from agsm_bench.shapes.show import write_curve
from agsm_bench.shapes.tokenizer import build_tokenizer

BATCH = 64
VAE_BATCH = 32
KL_WEIGHT = 3e-7
"""Small enough that no latent channel collapses: ten times more left three of the eight unused."""
CAPTION_DROPOUT = 0.1
"""Share of captions replaced by the empty prompt, for classifier-free guidance."""
SCHEDULES = {
    "shapes-vae": Schedule(steps=1300, learning_rate=2e-3, weight_decay=0.0, ema_decay=0.995),
    "shapes-unet": Schedule(steps=4500, learning_rate=2e-3),
    "shapes-mmdit": Schedule(steps=5000, learning_rate=2e-3),
}
SECOND_SCHEDULE = Schedule(steps=1200, learning_rate=1.5e-3)
SECOND_SEED = 7


def build(name: str, work: Path, steps: int | None = None) -> Path:
    """Trains one model in `work`, resuming what is there, and returns the folder of the finished model.

    A backbone needs the autoencoder, which is trained first where it is not there yet.
    """
    from agsm_bench.diffusion.loading import quiet

    quiet()
    torch.manual_seed(0)
    schedule = SCHEDULES[name] if steps is None else replace(SCHEDULES[name], steps=steps)
    model = work / name / "model"
    if name == "shapes-vae":
        _build_vae(load_corpus(work, NOISE_SHARES["shapes-mmdit"]), schedule, work / name)
        return model
    if not (work / "shapes-vae" / "model").exists():
        build("shapes-vae", work)
    torch.manual_seed(0)
    pipeline = PIPELINES[name](work)
    corpus = load_corpus(work, NOISE_SHARES[name])
    latents = encode_corpus(corpus, work)
    train_pipeline(pipeline, latents, corpus.caption_ids, schedule, work / name, name)
    second = replace(SECOND_SCHEDULE, steps=min(SECOND_SCHEDULE.steps, schedule.steps))
    captions = load_sourced_captions(work, len(latents))
    train_pipeline(pipeline, latents, captions, second, work / name / "second", name, SECOND_SEED)
    pipeline.vae.register_to_config(_name_or_path="shapes-vae")  # not a path of this machine
    pipeline.to(torch.float16).save_pretrained(model)
    for folder in (work / name, work / name / "second"):
        write_curve(folder / "log.jsonl", folder / "curve.png")
    return model


def train_pipeline(
    pipeline: Any, latents: Tensor, caption_ids: np.ndarray, schedule: Schedule, folder: Path, name: str, seed: int = 0
) -> None:
    """Trains the network and its text encoders together in `folder`; the pipeline ends with the EMA weights."""
    ids = torch.from_numpy(caption_ids)
    empty = torch.tensor(pipeline.tokenizer("", padding="max_length").input_ids)
    trained = nn.ModuleDict({n: m for n, m in pipeline.components.items() if n in TRAINED})

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(latents), (BATCH,), generator=generator)
        which = torch.randint(CAPTIONS_PER_SCENE, (BATCH,), generator=generator)
        text = ids[rows, which].long()
        text[torch.rand(BATCH, generator=generator) < CAPTION_DROPOUT] = empty
        return LOSSES[name](trained, latents[rows], text, generator)

    ema = train(trained, loss_of, schedule, folder, seed)
    for component, module in ema.items():
        getattr(pipeline, component).load_state_dict(module.state_dict())


TRAINED = ("unet", "transformer", "text_encoder", "text_encoder_2")


def unet_loss(models: nn.ModuleDict, latents: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """Eps prediction on SD's schedule; more of the noisy steps, where the text decides what there is."""
    uniform = torch.randint(1000, (len(latents),), generator=generator)
    noisy = torch.randint(400, 1000, (len(latents),), generator=generator)
    t = torch.where(torch.rand(len(latents), generator=generator) < 0.5, uniform, noisy)
    alpha_bar = _alphas_cumprod()[t].view(-1, 1, 1, 1)
    noise = torch.randn(latents.shape, generator=generator)
    noised = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise
    context = models["text_encoder"](ids).last_hidden_state
    error = models["unet"](noised, t, context).sample - noise
    # An error in eps costs 1 / alpha_bar as much in x0: half of that, in the exponent, is a compromise.
    return (error.square() * alpha_bar.clamp(min=0.05).rsqrt()).mean()


def mmdit_loss(models: nn.ModuleDict, latents: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
    """Flow matching: v = noise - latents at sigma ~ logit-normal, one in five uniform."""
    rows = len(latents)
    normal = torch.sigmoid(0.6 + torch.randn(rows, generator=generator))
    uniform = torch.rand(rows, generator=generator)
    sigma = torch.where(torch.rand(rows, generator=generator) < 0.2, uniform, normal).view(-1, 1, 1, 1)
    noise = torch.randn(latents.shape, generator=generator)
    noised = (1 - sigma) * latents + sigma * noise
    context, pooled = encode_two(models["text_encoder"], models["text_encoder_2"], ids)
    velocity = models["transformer"](noised, context, pooled, sigma.flatten() * 1000).sample
    return (velocity - (noise - latents)).square().mean()


def encode_two(first: nn.Module, second: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """SD3's text condition: penultimate states side by side, and the pooled projections."""
    outputs = [encoder(ids, output_hidden_states=True) for encoder in (first, second)]
    context = torch.cat([out.hidden_states[-2] for out in outputs], dim=-1)
    return context, torch.cat([out.text_embeds for out in outputs], dim=-1)


def _alphas_cumprod() -> Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    return torch.cumprod(1 - betas, 0)


def new_unet_pipeline(work: Path) -> Any:
    """An untrained Stable Diffusion pipeline around the trained autoencoder."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextModel

    tokenizer = build_tokenizer()
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "shapes-vae" / "model", dtype=torch.float32),
        text_encoder=CLIPTextModel(text_config(tokenizer, TEXT_WIDTH, layers=3)),
        tokenizer=tokenizer,
        unet=build_unet(),
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


def new_mmdit_pipeline(work: Path) -> Any:
    """An untrained Stable Diffusion 3 pipeline (two CLIP encoders, no T5) around the trained autoencoder."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
    from transformers import CLIPTextModelWithProjection

    tokenizer = build_tokenizer()
    return StableDiffusion3Pipeline(
        vae=AutoencoderKL.from_pretrained(work / "shapes-vae" / "model", dtype=torch.float32),
        text_encoder=CLIPTextModelWithProjection(text_config(tokenizer, TEXT_WIDTH, layers=3)),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer, TEXT_WIDTH // 2, layers=2)),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
        transformer=build_mmdit(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=2.0),
    )


def _build_vae(corpus: Corpus, schedule: Schedule, folder: Path) -> None:
    vae = build_vae()
    images = torch.from_numpy(corpus.images)

    def loss_of(generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(images), (VAE_BATCH,), generator=generator)
        pixels = _pixels(images[rows])
        posterior = vae.encode(pixels).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        decoded = vae.decode(posterior.mean + posterior.std * noise).sample
        error = decoded - pixels
        return error.abs().mean() + error.square().mean() + KL_WEIGHT * posterior.kl().mean()

    ema = train(vae, loss_of, schedule, folder)
    normalise_latents(ema, _pixels(images[:4096]))
    ema.register_to_config(scaling_factor=1.0, shift_factor=0.0)
    ema.to(torch.float16).save_pretrained(folder / "model")


@torch.no_grad()
def normalise_latents(vae: Any, pixels: Tensor) -> None:
    """Folds the mean and deviation of each latent channel into the two 1 x 1 convolutions.

    Then the latents are standardised with scaling factor 1 and no shift, which every pipeline class reads alike.
    """
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in pixels.split(256)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    channels = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    after.bias += (after.weight.flatten(1) * mean).sum(1)
    after.weight *= std.view(1, -1, 1, 1)
    before.bias[:channels] = (before.bias[:channels] - mean) / std
    before.weight[:channels] /= std.view(-1, 1, 1, 1)
    before.bias[channels:] -= 2 * std.log()


def encode_corpus(corpus: Corpus, work: Path) -> Tensor:
    """The corpus' latents, [n, 8, 6, 6], computed once and kept."""
    from diffusers import AutoencoderKL

    path = work / f"latents-{len(corpus.images)}.npy"
    if not path.exists():
        vae = AutoencoderKL.from_pretrained(work / "shapes-vae" / "model", dtype=torch.float32)
        with torch.no_grad():
            parts = torch.from_numpy(corpus.images).split(256)
            latents = torch.cat([vae.encode(_pixels(part)).latent_dist.mean for part in parts])
        partial = path.with_suffix(".partial.npy")
        np.save(partial, latents.numpy())
        partial.replace(path)
    return torch.from_numpy(np.load(path))


def _pixels(images: Tensor) -> Tensor:
    """uint8 [n, h, w, 3] to float [n, 3, h, w] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div(127.5).sub(1)


PIPELINES = {"shapes-unet": new_unet_pipeline, "shapes-mmdit": new_mmdit_pipeline}
LOSSES = {"shapes-unet": unet_loss, "shapes-mmdit": mmdit_loss}
