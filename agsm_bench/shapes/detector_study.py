"""How well the detector reads pictures back as they degrade, and what it sees in noise.

agsm-bench shapes build shapes-mmdit --steps 25 --out runs/early
python -m agsm_bench.shapes.detector_study --scenes 1000 --early runs/early/shapes-mmdit/model
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from agsm_bench.geneval_rules import COUNTING_THRESHOLD, THRESHOLD
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, sample_scene
from agsm_bench.shapes.vocabulary import BACKGROUND, IMAGE_SIZE
from agsm_bench.types import Detection

NOISE_SIGMAS = (0, 10, 20, 30, 40, 60)
"""Standard deviations of Gaussian noise on every channel, of 255."""
BLUR_SIGMAS = (0, 0.5, 0.75, 1.0, 1.5)
"""Standard deviations of Gaussian blur in pixels."""
NOISE_IMAGES = 1000
"""Pictures of each kind of pure noise."""
CLOUD_WIDTH = 2.0
"""Blur in pixels of low-frequency noise: its blobs are as large as objects, the hardest case."""

BATCH = 100
NO_T5: dict[str, Any] = {"text_encoder_3": None, "tokenizer_3": None}

Rng = np.random.Generator
NOISE_KINDS: dict[str, Callable[[Rng], np.ndarray]] = {
    "uniform": lambda rng: rng.integers(0, 256, (IMAGE_SIZE, IMAGE_SIZE, 3)).astype(float),
    "gaussian 20": lambda rng: add_noise(background(), 20, rng),
    "gaussian 40": lambda rng: add_noise(background(), 40, rng),
    "gaussian 60": lambda rng: add_noise(background(), 60, rng),
    "clouds 20": lambda rng: clouds(20, rng),
    "clouds 40": lambda rng: clouds(40, rng),
    "clouds 60": lambda rng: clouds(60, rng),
}
"""Pictures without objects; the number is the standard deviation around the background."""


def background() -> np.ndarray:
    """The empty picture."""
    return np.full((IMAGE_SIZE, IMAGE_SIZE, 3), BACKGROUND, dtype=float)


def add_noise(image: np.ndarray, sigma: float, rng: Rng) -> np.ndarray:
    """Gaussian noise on every channel, clipped to 0..255."""
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, 255)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur within each channel."""
    return np.asarray(ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0)))


def clouds(sigma: float, rng: Rng) -> np.ndarray:
    """Low-frequency noise around the background, of the given standard deviation before clipping."""
    width = (CLOUD_WIDTH, CLOUD_WIDTH, 0)
    noise = ndimage.gaussian_filter(rng.normal(size=(IMAGE_SIZE, IMAGE_SIZE, 3)), width, mode="wrap")
    return np.clip(background() + sigma * noise / noise.std(), 0, 255)


def read_back(scene: Scene, found: Iterable[Detection], threshold: float = THRESHOLD) -> bool:
    """Whether the detections are exactly the scene's objects: classes, colours and counts."""
    seen = Counter((d.label, d.color) for d in found if d.score > threshold)
    return seen == Counter((o.shape, o.color) for o in scene.objects)


def false_detections(kind: str, count: int, threshold: float = THRESHOLD) -> float:
    """Share of pictures of pure noise in which the detector sees anything."""
    best = _best_scores(kind, count)
    return float(np.mean(best > threshold))


def study(scenes: int, noise_images: int = NOISE_IMAGES) -> dict[str, Any]:
    """Shares of scenes read back exactly under noise and blur, and of noise pictures with a detection."""
    rng = np.random.default_rng(0)
    drawn = [sample_scene(rng) for _ in range(scenes)]
    images = [render(scene) for scene in drawn]

    def share(degrade: Callable[[np.ndarray], np.ndarray]) -> float:
        hits = [read_back(s, detect(degrade(i))) for s, i in zip(drawn, images, strict=True)]
        return round(float(np.mean(hits)), 4)

    def noisy(sigma: float) -> float:
        noise = np.random.default_rng(1)
        return share(lambda image: add_noise(image, sigma, noise))

    best = {kind: _best_scores(kind, noise_images) for kind in NOISE_KINDS}
    return {
        "scenes": scenes,
        "noise_images": noise_images,
        "read_back_by_noise_sigma": {s: noisy(s) for s in NOISE_SIGMAS},
        "read_back_by_blur_sigma": {s: share(partial(blur, sigma=s)) for s in BLUR_SIGMAS},
        "false_detections_above": {
            f"{threshold:g}": {kind: float(np.mean(scores > threshold)) for kind, scores in best.items()}
            for threshold in (THRESHOLD, COUNTING_THRESHOLD)
        },
    }


def early_images(pipeline: Path, count: int) -> dict[str, Any]:
    """What the detector sees in samples of a backbone after its first training steps, when there is nothing to see.

    Args:
        pipeline: folder of a `shapes-mmdit` that was trained for a few steps only.
        count: how many images.
    """
    from agsm_bench.diffusion.denoiser import MMDiTDenoiser
    from agsm_bench.diffusion.loading import load_pipeline
    from agsm_bench.geneval_prompts import shapes_metadata
    from agsm_bench.seeds import generator_for

    denoiser = MMDiTDenoiser(load_pipeline("StableDiffusion3Pipeline", pipeline, **NO_T5), t5_length=0)
    prompts = [entry["prompt"] for entry in shapes_metadata()]
    best = []
    for first in range(0, count, BATCH):
        rows = range(first, min(first + BATCH, count))
        images = denoiser.sample(
            [prompts[i % len(prompts)] for i in rows],
            [generator_for("early", i) for i in rows],
            steps=8, guidance_scale=3.0, size=IMAGE_SIZE,
        )  # fmt: skip
        best += [max((d.score for d in detect(np.asarray(image))), default=0.0) for image in images]
    shares = {f"{t:g}": float(np.mean(np.array(best) > t)) for t in (THRESHOLD, COUNTING_THRESHOLD)}
    return {"early_images": count, "early_images_with_detections_above": shares}


def _best_scores(kind: str, count: int) -> np.ndarray:
    """The score of the surest detection in each picture of a kind of noise, 0 where there is none."""
    rng = np.random.default_rng(2)
    draw = NOISE_KINDS[kind]
    return np.array([max((d.score for d in detect(draw(rng))), default=0.0) for _ in range(count)])


def main() -> None:
    """Writes the study as JSON."""
    parser = argparse.ArgumentParser(prog="python -m agsm_bench.shapes.detector_study", description=__doc__)
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--early", type=Path, help="a shapes-mmdit pipeline after its first training steps")
    parser.add_argument("--out", type=Path, default=Path("results/shapes/detector.json"))
    arguments = parser.parse_args()
    command = f"{parser.prog} --scenes {arguments.scenes}"
    result = {"command": command, **study(arguments.scenes)}
    if arguments.early:
        result |= {"command": f"{command} --early {arguments.early}"}
        result |= early_images(arguments.early, NOISE_IMAGES)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
