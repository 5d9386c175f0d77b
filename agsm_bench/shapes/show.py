"""Pictures for people: enlarged sample grids, and the training curve of a miniature model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agsm_bench.geneval_prompts import TAGS, shapes_metadata
from agsm_bench.shapes.vocabulary import BACKGROUND

SCALE = 4
COLUMNS = 12


def grid(pictures: Sequence[np.ndarray], columns: int = COLUMNS, scale: int = SCALE) -> Image.Image:
    """uint8 pictures of one size in rows, enlarged without smoothing, a pixel apart."""
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        y, x = (index // columns) * (height + 1) + 1, (index % columns) * (width + 1) + 1
        sheet[y : y + height, x : x + width] = picture
    blank = len(pictures) % columns
    if blank:
        sheet[-height - 1 : -1, blank * (width + 1) + 1 :] = BACKGROUND
    image = Image.fromarray(sheet)
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def write_samples(denoiser: Any, path: Path, *, steps: int, guidance_scale: float) -> None:
    """One row of samples for each of GenEval's tasks."""
    from agsm_bench.seeds import generator_for

    pictures = []
    for tag in TAGS:
        prompts = [entry["prompt"] for entry in shapes_metadata() if entry["tag"] == tag][:COLUMNS]
        noises = [generator_for("sample grid", tag, i) for i in range(len(prompts))]
        images = denoiser.sample(prompts, noises, steps=steps, guidance_scale=guidance_scale, size=24)
        pictures += [np.asarray(image) for image in images]
    grid(pictures).save(path)


def write_curve(log: Path, path: Path) -> None:
    """The training loss over steps, of a build's log.jsonl."""
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    axes.plot([r["step"] for r in records], [r["loss"] for r in records], linewidth=1.5)
    axes.set(xlabel="step", ylabel="training loss", yscale="log", title=log.parent.name)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
