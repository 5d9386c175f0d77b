"""How long a job will take and how much disk: rough figures of one thread of a laptop, for shapes."""

from __future__ import annotations

from dataclasses import dataclass

from agsm_bench import plugins
from agsm_bench.contracts import PreferenceTrainer, Trainer
from agsm_bench.report.recipes import Training, pairs_settings, training_settings

STARTUP = 10.0
"""Seconds that a process takes besides its steps or images: importing torch, loading a miniature, summing up."""
PASS = 0.3 / 4 / 16
"""Seconds of one pass of the network over one image and caption, of which a gradient costs two more."""
IMAGE = 0.117
"""Seconds of an image, generated and scored."""
EDIT = 0.45
"""Of a picture edited, inversion included, and scored."""
MEASURES = 30.0
"""Seconds of an evaluation for what is measured besides: held-out errors, shapes-clip, Frechet distance, intervals."""
CAPTIONS = 2
"""Captions that it takes to find one with a right and a wrong image."""
TRAINING_BYTES = (1_000_000, 600)
"""Of a training: what it saves with its state, and the log of one step."""
VARIANT_BYTES = 1_700_000
"""Of a LoRA with its state."""
IMAGE_BYTES = 7_500
"""Of an image, with its scores and its prompt's folder, in blocks of 4 kB."""
PAIR_BYTES = 8_400
"""Of a preference pair: two images in blocks of 4 kB, and a line."""


@dataclass(frozen=True)
class Estimate:
    """Of a whole job."""

    units: int
    """Steps, images or pairs."""
    seconds: float
    size: int
    """Bytes on disk."""


def of_training(training: Training) -> Estimate:
    """The student's pass and its gradient, and, where the objective asks, that of the EMA or the reference."""
    trainer: Trainer | PreferenceTrainer = plugins.load("trainers", training.trainer)
    settings = training_settings(training)
    steps, batch = int(settings["steps"]), int(settings["batch"])
    start, line = TRAINING_BYTES
    if isinstance(trainer, PreferenceTrainer):
        rows, passes, start = 2 * batch, 4, VARIANT_BYTES
    else:
        rows, passes = batch**2, 4 if trainer.uses_ema else 3
    return Estimate(steps, STARTUP + steps * rows * passes * PASS, start + steps * line)


def of_pairs(training: Training) -> Estimate:
    """Making the preference pairs of a variant."""
    settings = pairs_settings(training)
    pairs = int(settings["train"]) + int(settings["held_out"])
    return Estimate(pairs, STARTUP + pairs * CAPTIONS * int(settings["images"]) * IMAGE, pairs * PAIR_BYTES)


def of_images(count: int, *, edited: bool = False) -> Estimate:
    """Generating, or editing, and scoring so many images."""
    return Estimate(count, STARTUP + MEASURES + count * (EDIT if edited else IMAGE), count * IMAGE_BYTES)
