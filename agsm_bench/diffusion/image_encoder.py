"""Pictures to latents and back: what a VAE makes of them, and the scale that the network expects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agsm_bench.one_kernel import use_one_kernel


class ImageEncoder:
    """A VAE at work on a device.

    Args:
        vae: a diffusers AutoencoderKL.
        device: where it works.
    """

    def __init__(self, vae: Any, device: torch.device | str) -> None:
        use_one_kernel(vae)
        self.vae, self.device = vae, torch.device(device)

    @torch.no_grad()
    def means(self, pixels: Tensor) -> Tensor:
        """Pixels [rows, 3, h, w] in [-1, 1] to the posterior's means [rows, c, h / f, w / f] in the VAE's type."""
        dtype = self.vae.dtype
        with self._upcast():
            means: Tensor = self.vae.encode(pixels.to(self.device, self.vae.dtype)).latent_dist.mean
        return means.to(dtype)

    @torch.no_grad()
    def decoded(self, latents: Tensor) -> Tensor:
        """Latents [rows, c, h / f, w / f] of the network's scale to pixels [rows, 3, h, w], about -1 to 1, float32."""
        with self._upcast():
            scaled = latents.to(self.device, self.vae.dtype) / self.vae.config.scaling_factor + self._shift
            pixels: Tensor = self.vae.decode(scaled).sample
        return pixels.float()

    @contextmanager
    def _upcast(self) -> Iterator[None]:
        """A VAE that says that it overflows in float16 (SDXL's) works in float32, as stock pipelines let it decode."""
        # offloaded module by module, its weights come in the type that they have
        offloaded = self.vae.device.type == "meta"
        upcast = self.vae.dtype == torch.float16 and self.vae.config.force_upcast and not offloaded
        if upcast:
            self.vae.float()
        try:
            yield
        finally:
            if upcast:
                self.vae.half()

    def mean(self, picture: np.ndarray) -> Tensor:
        """The mean [c, h / f, w / f] of one uint8 picture [h, w, 3]: alone its bits depend on nothing else."""
        return self.means(pixels_of(picture[None]))[0].contiguous()

    def latents(self, means: Tensor) -> Tensor:
        """Means to what the network is trained on, in float32 on the device."""
        return (means.to(self.device).float() - self._shift) * self.vae.config.scaling_factor

    @property
    def _shift(self) -> float:
        return getattr(self.vae.config, "shift_factor", None) or 0.0

    @property
    def factor(self) -> int:
        """How many pixels a latent is wide."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def shape(self, size: int) -> tuple[int, int, int]:
        """Channels, height and width of the latents of a square picture."""
        return self.vae.config.latent_channels, size // self.factor, size // self.factor


def pixels_of(pictures: np.ndarray) -> Tensor:
    """uint8 pictures [rows, h, w, 3] as pixels [rows, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)
