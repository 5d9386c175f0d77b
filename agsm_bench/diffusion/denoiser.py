"""A loaded backbone: one small interface over stock diffusers pipelines of the two families."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from agsm_bench.diffusion.image_encoder import ImageEncoder
from agsm_bench.diffusion.processes import DDPM, Flow, NoiseProcess


@dataclass(frozen=True)
class TextCondition:
    """Encoded prompts."""

    context: Tensor
    """[rows, text tokens, width]: what the network attends to."""
    pooled: Tensor | None = None
    """[rows, width], SDXL and SD3 only."""

    @property
    def nbytes(self) -> int:
        """Of memory."""
        return self.context.nbytes + (0 if self.pooled is None else self.pooled.nbytes)

    def to(self, dtype: torch.dtype) -> TextCondition:
        """The same in another type."""
        return TextCondition(self.context.to(dtype), None if self.pooled is None else self.pooled.to(dtype))

    @staticmethod
    def joined(parts: Sequence[TextCondition]) -> TextCondition:
        """The rows of several conditions, in their order."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        return TextCondition(torch.cat([part.context for part in parts]), torch.cat(pooled) if pooled else None)

    def rows(self, index: Tensor) -> TextCondition:
        """The condition of some rows, in the order of `index`."""
        return TextCondition(self.context[index], None if self.pooled is None else self.pooled[index])


class Denoiser(ABC):
    """A pipeline, its frozen network and its noise process."""

    process: NoiseProcess
    component: str
    """The network's name in the pipeline."""
    autocast: torch.dtype | None = None
    """Type of the network's matrix products in `predict`; None: that of its weights."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe
        for module in pipe.components.values():
            if isinstance(module, nn.Module):
                module.requires_grad_(False).eval()

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

    @property
    def device(self) -> torch.device:
        """Where the network works, also when its weights wait elsewhere (offloading)."""
        device: torch.device = self.pipe._execution_device
        return device

    @property
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
            list(prompts),
            generator=list(generators),
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            height=size,
            width=size,
            **self._call_options(),
        ).images
        return images

    def _call_options(self) -> dict[str, Any]:
        return {}


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

    def _call_options(self) -> dict[str, Any]:
        return {"max_sequence_length": self.t5_length}
