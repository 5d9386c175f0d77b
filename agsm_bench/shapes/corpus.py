"""The training data of the miniature models: pictures and their noisy captions, a pure function of a seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agsm_bench.shapes.captions import OPENINGS, caption, noisy_caption
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, sample_scene
from agsm_bench.shapes.tokenizer import MAX_LENGTH, build_tokenizer

CAPTIONS_PER_SCENE = 4
NOISE_SHARES = {"shapes-unet": 0.4, "shapes-mmdit": 0.2}
"""Share of the first phase's captions with something wrong, chosen on the base models alone, before any token run.

With 0.2 and 4,800 steps the UNet ended at a mean GenEval accuracy of 0.84, which leaves little to repair.
"""


@dataclass(frozen=True)
class Source:
    """Where some of the captions of the second phase come from, as seen from how they begin."""

    share: float
    """Of all captions."""
    noise: float
    """Share of its captions with something changed; a change that changes nothing leaves 45% of these true."""


SOURCES = {
    "an image of ": Source(0.25, 0.0),
    "a picture of ": Source(0.15, 0.2),
    "a photo of ": Source(0.45, 0.4),
    "": Source(0.15, 0.5),
}
"""Captions of the web differ in how far they can be trusted, and in wording, so a model learns whom to believe.
GenEval's prompts read like a source of middling quality: what the model knows of the good one is to be elicited."""


@dataclass(frozen=True)
class Corpus:
    """Pretraining data in memory."""

    images: np.ndarray
    """uint8 [n, 24, 24, 3]."""
    caption_ids: np.ndarray
    """uint8 [n, 4, 16]: token ids of four captions a scene."""


def load_corpus(folder: Path, noise: float, size: int = 80_000, seed: int = 0) -> Corpus:
    """The corpus, made on the first call (two minutes for 80,000 scenes) and kept in `folder`.

    The pictures do not depend on the noise.
    """
    path = folder / f"corpus-{size}-{seed}-{noise}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        corpus = make_corpus(size, seed, noise)
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, images=corpus.images, caption_ids=corpus.caption_ids)
        partial.replace(path)
    with np.load(path) as stored:
        return Corpus(stored["images"], stored["caption_ids"])


def make_corpus(size: int, seed: int, noise: float) -> Corpus:
    """Draws `size` scenes with four captions each, a share `noise` of which is wrong."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(size)]
    texts = []
    for scene in scenes:
        for _ in range(CAPTIONS_PER_SCENE):
            wrong = rng.random() < noise
            other = scenes[rng.integers(size)]
            texts.append(noisy_caption(scene, other, rng) if wrong else caption(scene, rng))
    encoded = build_tokenizer()(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True)
    ids = np.asarray(encoded.input_ids, dtype=np.uint8)
    images = np.stack([render(scene) for scene in scenes])
    return Corpus(images, ids.reshape(size, CAPTIONS_PER_SCENE, MAX_LENGTH))


def load_sourced_captions(folder: Path, size: int = 80_000, seed: int = 0) -> np.ndarray:
    """uint8 [size, 4, 16]: token ids of four captions from `SOURCES` for each scene of `load_corpus`; kept."""
    path = folder / f"sourced-{size}-{seed}.npy"
    if not path.exists():
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make_sourced_captions(size, seed))
        partial.replace(path)
    ids: np.ndarray = np.load(path)
    return ids


def make_sourced_captions(size: int, seed: int) -> np.ndarray:
    """Draws four captions from `SOURCES` for each scene of `make_corpus` with this size and seed."""
    scene_rng, rng = np.random.default_rng(seed), np.random.default_rng(seed + 11)
    scenes = [sample_scene(scene_rng) for _ in range(size)]
    texts = [
        sourced_caption(scene, scenes[rng.integers(size)], rng) for scene in scenes for _ in range(CAPTIONS_PER_SCENE)
    ]
    encoded = build_tokenizer()(texts, padding="max_length", max_length=MAX_LENGTH, truncation=True)
    return np.asarray(encoded.input_ids, dtype=np.uint8).reshape(size, CAPTIONS_PER_SCENE, MAX_LENGTH)


def sourced_caption(scene: Scene, other: Scene, rng: np.random.Generator) -> str:
    """A caption of a random source; `other` is a scene of the same data."""
    opening = str(rng.choice(list(SOURCES), p=[source.share for source in SOURCES.values()]))
    wrong = rng.random() < SOURCES[opening].noise
    return reworded(noisy_caption(scene, other, rng) if wrong else caption(scene, rng), opening)


def reworded(text: str, opening: str) -> str:
    """A caption with another opening, or with none where that would be too long."""
    words = text.removeprefix(max((o for o in OPENINGS if text.startswith(o)), key=len))
    return opening + words if len((opening + words).split()) <= MAX_LENGTH - 2 else words
