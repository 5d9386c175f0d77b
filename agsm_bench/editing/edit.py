"""Pictures to edited ones: lazy and resumable, one seed a sample."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agsm_bench.benchmark import Benchmark
from agsm_bench.editing.predictor import EditBatch, Predictor
from agsm_bench.editor import EditorChoice
from agsm_bench.generate import LEAST_ROWS
from agsm_bench.images import UNREADABLE, decode, reason, to_png
from agsm_bench.seeds import generator_for
from agsm_bench.types import RunSpec, Sample


@dataclass(frozen=True)
class Unreadable:
    """A picture that cannot be edited."""

    reason: str


@dataclass(frozen=True)
class _Source:
    sample: Sample
    picture: np.ndarray
    text: str


def edit(
    predict: Predictor,
    choice: EditorChoice,
    benchmark: Benchmark,
    spec: RunSpec,
    samples: Iterable[Sample],
    batch_size: int,
) -> Iterator[tuple[Sample, bytes | Unreadable]]:
    """Yields each sample with its PNG, or why it has none; an edit's noise depends on the run's seed and its id alone.

    Args:
        predict: the loaded backbone with its soft tokens.
        choice: the editor and its options.
        benchmark: gives the pictures.
        spec: size and seed.
        samples: what to edit; consumed lazily.
        batch_size: edits at once; changes the speed, not the pictures.
    """
    waiting: list[_Source] = []
    for sample in samples:
        source = _source(benchmark, spec, sample)
        if isinstance(source, Unreadable):
            yield sample, source
            continue
        waiting.append(source)
        if len(waiting) == batch_size:
            yield from _edited(predict, choice, spec, waiting)
            waiting = []
    if waiting:
        yield from _edited(predict, choice, spec, waiting)


def _source(benchmark: Benchmark, spec: RunSpec, sample: Sample) -> _Source | Unreadable:
    given = benchmark.given(spec.domain, sample.prompt, spec.size)
    if given is None or given.source is None:
        raise ValueError(f"{benchmark.name} gives no picture to edit with {sample.id}")
    try:
        picture = decode(given.picture())
    except UNREADABLE as error:
        return Unreadable(f"its source: {reason(error)}")
    if picture.shape[:2] != (spec.size, spec.size):
        height, width = picture.shape[:2]
        return Unreadable(f"its source is {width} x {height}, and {spec.size} x {spec.size} are edited")
    return _Source(sample, picture, given.source)


def _edited(
    predict: Predictor, choice: EditorChoice, spec: RunSpec, sources: Sequence[_Source]
) -> Iterator[tuple[Sample, bytes]]:
    denoiser = predict.denoiser
    # smaller batches are filled up on the CPU, as for generation
    least = LEAST_ROWS if denoiser.device.type == "cpu" else 1
    rows = [*sources, *[sources[-1]] * (least - len(sources))]
    encoder = denoiser.encoder
    batch = EditBatch(
        encoder.latents(torch.stack([encoder.mean(row.picture) for row in rows])),
        [row.text for row in rows],
        [row.sample.prompt.text for row in rows],
        [generator_for("sample", spec.seed, row.sample.id) for row in rows],
    )
    with torch.no_grad():
        images = denoiser.decode_images(choice.editor.edit(predict, batch, choice.options))
    for source, image in zip(sources, images, strict=False):
        yield source.sample, to_png(image)
