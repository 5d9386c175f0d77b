"""A loaded backbone: one small interface over stock diffusers pipelines of the two families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from agsm_bench.diffusion.image_encoder import ImageEncoder
from agsm_bench.diffusion.processes import DDPM, Flow, NoiseProcess
from agsm_bench.diffusion.text import CachedText, TextCondition
from agsm_bench.one_kernel import use_one_kernel

SAMPLED_TEXT = 2**26
"""Bytes of encoded prompts that sampling keeps, on the device."""


class Denoiser(ABC):
    """A pipeline, its frozen network and its noise process."""

    process: NoiseProcess
    component: str
    """The network's name in the pipeline."""
    autocast: torch.dtype | None = None
    """Type of the network's matrix products in `predict`; None: that of its weights."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        # the images of a prompt follow each other
        self._prompts = CachedText(self.encode_text, limit=SAMPLED_TEXT)
        for module in pipe.components.values():
            if isinstance(module, nn.Module):
                use_one_kernel(module.requires_grad_(False).eval())

    @property
    def network(self) -> Any:
        """The UNet or transformer, a diffusers model."""
        return getattr(self.pipe, self.component)

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        """The text condition of each prompt."""

    def encode_unconditional(self) -> TextCondition:
        """What CFG leads away from without a negative prompt, one row: the empty prompt."""
        return self.encode_text([""])

    def predict(self, latents: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """The network's prediction for noised latents [rows, c, h, w] at timesteps [rows], in float32."""
        with torch.autocast(latents.device.type, self.autocast, enabled=self.autocast is not None):
            return self._forward(latents.to(self.dtype), timestep, text.to(self.dtype)).float()

    @abstractmethod
    def _forward(self, latents: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        """The network's prediction, everything being in its type."""

    @cached_property
    def device(self) -> torch.device:
        """Where the network works, also when its weights wait elsewhere (offloading).

        Asked once: the pipeline goes through all of its modules, which took a tenth of a small network's step.
        """
        device: torch.device = self.pipe._execution_device
        return device

    @cached_property
    def encoder(self) -> ImageEncoder:
        """The pipeline's VAE."""
        return ImageEncoder(self.pipe.vae, self.device)

    @property
    def dtype(self) -> torch.dtype:
        return next(self.network.parameters()).dtype

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Pixels [rows, 3, h, w] in [-1, 1] to latents in float32: the posterior's mean."""
        return self.encoder.latents(self.encoder.means(pixels))

    def decode_images(self, latents: Tensor) -> list[Image.Image]:
        """Latents [rows, c, h, w] to pictures, as the stock pipeline makes them."""
        images: list[Image.Image] = self.pipe.image_processor.postprocess(self.encoder.decoded(latents))
        return images

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        generators: Sequence[torch.Generator],
        *,
        steps: int,
        guidance_scale: float,
        size: int,
    ) -> list[Image.Image]:
        """One image a prompt through the stock pipeline, the i-th one's noise from the i-th generator."""
        self.pipe.set_progress_bar_config(disable=True)
        images: list[Image.Image] = self.pipe(
            generator=list(generators),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=size,
            width=size,
            **self._conditions(prompts),
        ).images
        return images

    def _conditions(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """The pipeline's arguments on the text: each prompt encoded once, and alone, as training has it."""
        text, nothing = self._prompts(prompts), self._unconditional.rows(torch.zeros(len(prompts), dtype=torch.long))
        found = {"prompt_embeds": text.context, "negative_prompt_embeds": nothing.context}
        if text.pooled is not None and nothing.pooled is not None:
            found |= {"pooled_prompt_embeds": text.pooled, "negative_pooled_prompt_embeds": nothing.pooled}
        return found

    @cached_property
    def _unconditional(self) -> TextCondition:
        return self.encode_unconditional()


class UNetDenoiser(Denoiser):
    """SD1.5's family: eps prediction, cross attention."""

    component = "unet"

    def __init__(self, pipe: Any) -> None:
        super().__init__(pipe)
        self.process = DDPM(pipe.scheduler.alphas_cumprod)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        context, _ = self.pipe.encode_prompt(list(prompts), self.device, 1, False)
        return TextCondition(context)

    def _forward(self, latents: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        prediction: Tensor = self.network(latents, timestep, text.context).sample
        return prediction


class SDXLDenoiser(UNetDenoiser):
    """SDXL: two text encoders, and a condition on the picture's size, taken to be whole and uncropped."""

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        context, _, pooled, _ = self.pipe.encode_prompt(list(prompts), None, self.device, 1, False)
        return TextCondition(context, pooled)

    def encode_unconditional(self) -> TextCondition:
        """Zeros, where the pipeline says so: Stable Diffusion XL's does."""
        text = self.encode_text([""])
        if not self.pipe.config.force_zeros_for_empty_prompt or text.pooled is None:
            return text
        return TextCondition(torch.zeros_like(text.context), torch.zeros_like(text.pooled))

    def _forward(self, latents: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        assert text.pooled is not None
        height, width = (side * self.pipe.vae_scale_factor for side in latents.shape[-2:])
        # original size, crop from the top left, target size (SDXL paper, Section 2.2)
        times = latents.new_tensor([height, width, 0, 0, height, width]).expand(len(latents), -1)
        added = {"text_embeds": text.pooled, "time_ids": times}
        prediction: Tensor = self.network(latents, timestep, text.context, added_cond_kwargs=added).sample
        return prediction


class MMDiTDenoiser(Denoiser):
    """SD3's family: flow matching, joint attention.

    Args:
        pipe: a StableDiffusion3Pipeline.
        t5_length: tokens of the T5 part of the text; 0 for a pipeline without T5, which else pads with zeros.
    """

    component = "transformer"

    def __init__(self, pipe: Any, t5_length: int) -> None:
        super().__init__(pipe)
        self.process = Flow()
        self.t5_length = t5_length

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> TextCondition:
        context, _, pooled, _ = self.pipe.encode_prompt(
            list(prompts), None, None, do_classifier_free_guidance=False, max_sequence_length=self.t5_length
        )
        return TextCondition(context, pooled)

    def _forward(self, latents: Tensor, timestep: Tensor, text: TextCondition) -> Tensor:
        prediction: Tensor = self.network(latents, text.context, text.pooled, timestep).sample
        return prediction
