"""Fine-tuning the backbone on pairs of a preferred and a rejected image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.image_encoder import pixels_of
from agsm_bench.diffusion.text import CachedText, TextCondition
from agsm_bench.folders import saved_whole
from agsm_bench.seeds import generator_for
from agsm_bench.training.job import PreferenceJob
from agsm_bench.training.preferences import PreferencePair
from agsm_bench.training.tuning import FullTuning, LoraTuning, Tuning
from agsm_bench.training.validation import TIMESTEPS
from agsm_bench.variant import write_variant

VALIDATION_PAIRS = 32
"""Held-out pairs that the validation curve looks at, at most."""
GROUP = 8
"""Held-out pairs at once."""


@dataclass(frozen=True)
class PreferenceBatch:
    """B pairs."""

    latents: Tensor
    """[2, B, c, h, w], the preferred images first."""
    text: TextCondition
    """2 B rows: the prompts twice."""


class PreferenceTask:
    """The network's trained parameters, and the pairs they see."""

    averaged: Mapping[str, Tensor] = {}

    def __init__(self, job: PreferenceJob, denoiser: Denoiser) -> None:
        assert job.preferences is not None
        self.job, self.denoiser, self.preferences = job, denoiser, job.preferences
        self.text = CachedText(denoiser.encode_text)
        held_out = self.preferences.held_out[:VALIDATION_PAIRS]
        self.validation = [self._load(held_out[i : i + GROUP]) for i in range(0, len(held_out), GROUP)]
        self.tuning: Tuning = (LoraTuning if job.options.tune == "lora" else FullTuning)(denoiser, job.options)

    @property
    def trained(self) -> Mapping[str, nn.Parameter]:
        return {name: value for name, value in self.denoiser.network.named_parameters() if value.requires_grad}

    @contextmanager
    def active(self) -> Iterator[None]:
        try:
            yield
        finally:
            self.tuning.undo()

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """A timestep and a noise for each pair, the same for its two images (as Diffusion-DPO's released code)."""
        options = self.job.options
        first = step * options.batch
        batch = self._load(self.preferences.batch(options.seed, range(first, first + options.batch)))
        generator = generator_for("train", options.seed, step)
        timestep = torch.randint(1000, (options.batch,), generator=generator)
        return self._objective(batch, timestep, torch.randn(batch.latents.shape[1:], generator=generator))

    def after_step(self) -> dict[str, float]:
        return {}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The loss and its diagnostics on held-out pairs, with noises and timesteps that never change."""
        points = []
        for group, batch in enumerate(self.validation):
            for t in TIMESTEPS:
                noise = torch.randn(batch.latents.shape[1:], generator=generator_for("validation", group, t))
                loss, record = self._objective(batch, torch.full((len(noise),), t), noise)
                points += [{"loss": loss.item(), **record}] * len(noise)
        return {key: sum(point[key] for point in points) / len(points) for key in points[0]} if points else {}

    def save(self) -> Path:
        """The folder, a backbone variant."""
        with saved_whole(self.job.out) as folder:
            self.tuning.save(folder)
        write_variant(self.job.out, self.job.backbone, self.job.options.tune, self.job.describe())
        return self.job.out

    def resumed(self, step: int) -> None:
        """Nothing can be lost."""

    def keep(self, step: int) -> None:
        """Nothing: a variant is as large as its backbone."""

    def _load(self, pairs: Sequence[PreferencePair]) -> PreferenceBatch:
        size = self.job.options.size or self.job.backbone.sampling.size
        pictures = np.stack([pair.images(size) for pair in pairs], axis=1)
        pixels = pixels_of(pictures.reshape(-1, *pictures.shape[2:]))
        latents = self.denoiser.encode_images(pixels).unflatten(0, (2, len(pairs)))
        return PreferenceBatch(latents, self.text([pair.prompt for pair in pairs] * 2))

    def _objective(self, batch: PreferenceBatch, timestep: Tensor, noise: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Timesteps [B] and noise [B, c, h, w], on the CPU."""
        latents = batch.latents.flatten(0, 1)
        t, eps = timestep.repeat(2).to(latents.device), noise.repeat(2, 1, 1, 1).to(latents)
        noised = self.denoiser.process.add_noise(latents, eps, t)
        targets = self.denoiser.process.target(latents, eps)
        with torch.no_grad(), self.tuning.reference():
            references = self.denoiser.predict(noised, t, batch.text)
        predictions = self.denoiser.predict(noised, t, batch.text)
        predictions, references, targets = (x.unflatten(0, (2, -1)) for x in (predictions, references, targets))
        return self.job.trainer.objective(predictions, references, targets, self.job.objective_options)
