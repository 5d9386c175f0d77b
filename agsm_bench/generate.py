"""Prompts to images: lazy and resumable, one seed a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from agsm_bench.images import to_png
from agsm_bench.seeds import generator_for
from agsm_bench.types import RunSpec, Sample

if TYPE_CHECKING:
    from agsm_bench.diffusion.denoiser import Denoiser

LEAST_ROWS = 4
"""Smaller batches are filled up on the CPU: below it its matrix products round differently, and images would differ.

(Its convolutions do not: `one_kernel`.)"""


def generate(
    denoiser: Denoiser, spec: RunSpec, samples: Iterable[Sample], batch_size: int
) -> Iterator[tuple[Sample, bytes]]:
    """Yields each sample with its PNG, in order; the noise of a sample depends on the run's seed and its id alone.

    Args:
        denoiser: the loaded backbone; soft tokens are attached by the caller.
        spec: sampler settings and seed.
        samples: what to make; consumed lazily.
        batch_size: images at once; changes the speed, not the images.
    """
    remaining, least = iter(samples), LEAST_ROWS if denoiser.device.type == "cpu" else 1
    while batch := list(islice(remaining, batch_size)):
        rows = batch + [batch[-1]] * (least - len(batch))
        images = denoiser.sample(
            [sample.prompt.text for sample in rows],
            [generator_for("sample", spec.seed, sample.id) for sample in rows],
            steps=spec.steps,
            guidance_scale=spec.guidance_scale,
            size=spec.size,
        )
        yield from zip(batch, map(to_png, images[: len(batch)]), strict=True)
