"""Backbones to time: the shapes world's two, and SD1.5's and SD3's architectures at a size that a CPU can step."""

from __future__ import annotations

import string
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))


from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.diffusion.denoiser import Denoiser, MMDiTDenoiser, UNetDenoiser
from agsm_bench.seeds import seed_of
from agsm_bench.training.config import TrainingOptions, fill, resolve
from agsm_bench.training.job import TokenJob

# after agsm_bench, which lets torchvision stand beside a CPU torch
from diffusers import (  # isort: skip
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from tokens_tiny import _tokenizer  # isort: skip
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection  # isort: skip

SIZE = 128
"""Side of the pictures; their latents have an eighth, 16 (the real ones of SD1.5 at 512 pixels: 64)."""
WIDTH = 128
COUNT = 64
"""Of pictures."""
NAMES = ("shapes-unet", "shapes-mmdit", "tiny SD1.5", "tiny SD3")


@dataclass(frozen=True)
class NoisePairs:
    """Pictures of noise under captions of letters, sixty-four of them over and over."""

    seed: int
    held_out: bool
    size: int = SIZE

    def item(self, index: int) -> tuple[np.ndarray, str]:
        rng = np.random.default_rng(seed_of(self.seed, index % COUNT))
        return rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8), self.caption(index)

    def caption(self, index: int) -> str:
        rng = np.random.default_rng(seed_of("caption", self.seed, index % COUNT))
        return " ".join(rng.choice([*string.ascii_lowercase], 20))

    def picture_key(self, index: int) -> str | None:
        return str(index % COUNT)

    def version(self) -> str | None:
        return None

    def false_negatives(self, indices: Sequence[int]) -> np.ndarray:
        return np.zeros((len(indices), len(indices)), bool)


def sd15() -> Denoiser:
    """The real one's blocks, a tenth as wide; four levels, two layers each."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _long(Path(folder))
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8, block_out_channels=(32, 64, 128, 128), attention_head_dim=8, cross_attention_dim=WIDTH
    )
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    pipe: Any = StableDiffusionPipeline(
        vae=_vae(4), text_encoder=CLIPTextModel(_text(tokenizer)), tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    return UNetDenoiser(pipe)


def sd3() -> Denoiser:
    """Eight of the real one's 24 blocks, an eighth as wide; without T5."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = _long(Path(folder))
    torch.manual_seed(0)
    network = SD3Transformer2DModel(
        sample_size=SIZE // 8, in_channels=16, out_channels=16, num_layers=8, attention_head_dim=32,
        num_attention_heads=6, joint_attention_dim=2 * WIDTH, caption_projection_dim=192,
        pooled_projection_dim=2 * WIDTH, pos_embed_max_size=SIZE // 8,
    )  # fmt: skip
    texts = [CLIPTextModelWithProjection(_text(tokenizer)) for _ in range(2)]
    pipe: Any = StableDiffusion3Pipeline(
        transformer=network, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0), vae=_vae(16),
        text_encoder=texts[0], text_encoder_2=texts[1], text_encoder_3=None,
        tokenizer=tokenizer, tokenizer_2=tokenizer, tokenizer_3=None,
    )  # fmt: skip
    return MMDiTDenoiser(pipe, t5_length=0)


def load(name: str) -> tuple[Backbone, Denoiser]:
    """A backbone of `NAMES` with its network."""
    if name.startswith("shapes"):
        backbone: Backbone = plugins.load("backbones", name)
        return backbone, backbone.load()
    real: Backbone = plugins.load("backbones", name.removeprefix("tiny ").lower().replace(".", ""))
    unet = real.tokens.placement == "unet"
    sizes = replace(real.tokens, dim=WIDTH) if unet else replace(real.tokens, dim=192)
    sampling = replace(real.sampling, size=SIZE)
    return replace(real, tokens=sizes, sampling=sampling, training_data=NoisePairs), sd15() if unet else sd3()


def job(backbone: Backbone, trainer: str, out: Path, **options: Any) -> TokenJob:
    """A training with the backbone's defaults."""
    plugin = plugins.load("trainers", trainer)
    resolved = resolve(TrainingOptions(steps=10**6, validate_every=10**6, **options), backbone)
    if backbone.domain == "photo":
        resolved = replace(resolved, size=SIZE)
    return TokenJob(trainer, plugin, backbone, resolved, fill(plugin.options(), asdict(backbone.training)), out)


def _long(folder: Path) -> Any:
    """A CLIP tokenizer of letters, 77 tokens long."""
    tokenizer = _tokenizer(folder)
    tokenizer.model_max_length = 77
    return tokenizer


def _text(tokenizer: Any) -> CLIPTextConfig:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=4 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=6, num_attention_heads=4, max_position_embeddings=77, **ids,
    )  # fmt: skip


def _vae(channels: int) -> AutoencoderKL:
    """Three halvings, narrow."""
    return AutoencoderKL(
        block_out_channels=(16, 16, 32, 32), norm_num_groups=4, latent_channels=channels, layers_per_block=2,
        shift_factor=0.0,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
