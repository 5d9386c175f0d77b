"""DDIM (Song et al. 2021, eta 0) and its inversion, of eps prediction.

The source branch of an edit, `ddim`: inverted, then sampled again, which ends beside the picture. `direct` (Ju et al.
2023, github cure-lab/PnPInversion): each sampling step adds the offset z*_{t-1} - DDIM(z_t) to it, which puts it back
onto the inversion's own path z*; so it is that path, and ends in the picture itself.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from torch import Tensor

Predict = Callable[[Tensor, int], Tensor]
"""(latents, timestep) -> the noise in them."""


class Ddim:
    """The steps between noise and picture.

    Args:
        scheduler: the backbone's diffusers DDIMScheduler, for its timesteps and alphas; it is not changed.
        steps: how many.
    """

    def __init__(self, scheduler: Any, steps: int) -> None:
        own = deepcopy(scheduler)
        own.set_timesteps(steps)
        self.timesteps: list[int] = own.timesteps.tolist()
        """From noise to picture."""
        alphas = own.alphas_cumprod
        self._levels = [float(alphas[t]) for t in self.timesteps] + [float(own.final_alpha_cumprod)]

    def denoised(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """From the timestep of `step` (0: the noisiest) to the next cleaner one."""
        return _moved(latents, noise, self._levels[step], self._levels[step + 1])

    def noised(self, latents: Tensor, noise: Tensor, step: int) -> Tensor:
        """Back again, to the timestep of `step`: the inverse of `denoised` for the same noise."""
        return _moved(latents, noise, self._levels[step + 1], self._levels[step])

    def invert(self, latents: Tensor, predict: Predict) -> list[Tensor]:
        """The latents at every level from noise to the picture itself, [steps + 1].

        x0 = (x - sqrt(1 - abar) eps) / sqrt(abar), x' = sqrt(abar') x0 + sqrt(1 - abar') eps, with eps predicted for
        the latents at hand at the next noisier timestep t'.
        """
        trajectory = [latents]
        for step in reversed(range(len(self.timesteps))):
            trajectory.append(self.noised(trajectory[-1], predict(trajectory[-1], self.timesteps[step]), step))
        return trajectory[::-1]

    def sample(self, latents: Tensor, predict: Predict) -> list[Tensor]:
        """The latents at every level from the noise given to a picture, [steps + 1]."""
        trajectory = [latents]
        for step, timestep in enumerate(self.timesteps):
            trajectory.append(self.denoised(trajectory[-1], predict(trajectory[-1], timestep), step))
        return trajectory


def _moved(latents: Tensor, noise: Tensor, level: float, other: float) -> Tensor:
    picture = (latents - (1 - level) ** 0.5 * noise) / level**0.5
    return other**0.5 * picture + (1 - other) ** 0.5 * noise
