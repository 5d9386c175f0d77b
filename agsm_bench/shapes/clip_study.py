"""Measures the dual encoder on held-out scenes: retrieval among 100 candidates, and hard negatives by kind.

Run `python -m agsm_bench.shapes.clip_study --out results/shapes/shapes-clip`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from agsm_bench.seeds import seed_of
from agsm_bench.shapes.captions import caption
from agsm_bench.shapes.clip import NAME, ShapesClip, load_clip
from agsm_bench.shapes.clip_corpus import CONTRASTS, contrasting_caption, vary
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene, sample_scene
from agsm_bench.shapes.shipped import weights_folder
from agsm_bench.shapes.truth import claim_arrays, is_true, parse, scene_arrays, truth
from agsm_bench.stats import Interval, bootstrap_mean

POOL = 100
POOLS = 20
PAIRS = 500
NOTES = {
    "held out": "fresh scenes; their captions come from the same closed grammar as the training captions",
    "retrieval": "top-1 among 100 scenes with one caption each; other candidates that are true are taken out",
    "hard_negatives": "two scenes alike but for one thing, with captions true of their own and false of the other",
    "choose_caption": "the picture's own caption has the higher cosine; chance is 0.5",
    "choose_picture": "the caption's own picture has the higher cosine; chance is 0.5",
    "intervals": "95%, bootstrap over pools of 100 scenes and over pairs of scenes",
}


@dataclass(frozen=True)
class Pair:
    """Two scenes alike but for one thing, and a caption of each that is false of the other."""

    scenes: tuple[Scene, Scene]
    texts: tuple[str, str]


def retrieval(clip: ShapesClip, pools: int = POOLS, size: int = POOL) -> dict[str, Interval]:
    """Top-1 accuracy of finding a picture's own caption, and a caption's own picture."""
    rows = [_pool_hits(clip, index, size) for index in range(pools)]
    labels = np.repeat(np.arange(pools), size).tolist()
    to_text, to_image = (np.concatenate(hits) for hits in zip(*rows, strict=True))
    return {
        "image_to_text": bootstrap_mean(to_text, labels),
        "text_to_image": bootstrap_mean(to_image, labels),
    }


def hard_negatives(clip: ShapesClip, contrast: str, pairs: int = PAIRS) -> dict[str, Interval]:
    """How often a picture prefers its own caption to the rival's, and a caption its own picture."""
    drawn = [draw_pair(contrast, index) for index in range(pairs)]
    images = np.stack([render(scene) for pair in drawn for scene in pair.scenes])
    texts = [text for pair in drawn for text in pair.texts]
    pictures = nn.functional.normalize(clip.image_features(images)).unflatten(0, (pairs, 2))
    captions = nn.functional.normalize(clip.text_features(texts)).unflatten(0, (pairs, 2))
    cosine = pictures @ captions.mT
    own = cosine.diagonal(dim1=1, dim2=2)
    labels = np.repeat(np.arange(pairs), 2).tolist()
    return {
        "choose_caption": bootstrap_mean((own > _across(cosine)).flatten().numpy(), labels),
        "choose_picture": bootstrap_mean((own > _across(cosine.mT)).flatten().numpy(), labels),
    }


def draw_pair(contrast: str, index: int) -> Pair:
    """A held-out pair; drawn again until both captions tell the scenes apart."""
    rng = np.random.default_rng(seed_of(NAME, "held out", contrast, index))
    while True:
        base = sample_scene(rng)
        variant = vary(base, contrast, rng)
        if variant is None:
            continue
        texts = contrasting_caption(base, variant, rng), contrasting_caption(variant, base, rng)
        if not is_true(texts[0], variant) and not is_true(texts[1], base):
            return Pair((base, variant), texts)


def measure(clip: ShapesClip) -> dict[str, Any]:
    """All numbers, with their intervals."""
    return {
        "retrieval": {name: asdict(interval) for name, interval in retrieval(clip).items()},
        "hard_negatives": {
            contrast: {name: asdict(interval) for name, interval in hard_negatives(clip, contrast).items()}
            for contrast in CONTRASTS
        },
    }


def main(arguments: list[str]) -> None:
    """Writes `retrieval.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of retrieval.json")
    out: Path = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    clip = load_clip()
    weights = (weights_folder(NAME) / "model.safetensors").read_bytes()
    report = {
        "command": shlex.join(["python", "-m", "agsm_bench.shapes.clip_study", *arguments]),
        "model": NAME,
        "parameters": sum(p.numel() for p in clip.model.parameters()),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "notes": NOTES,
        **measure(clip),
    }
    (out / "retrieval.json").write_text(json.dumps(report, indent=2) + "\n")


def _pool_hits(clip: ShapesClip, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For one pool: whether each picture finds its caption, and each caption its picture."""
    rng = np.random.default_rng(seed_of(NAME, "held out", "pool", index))
    scenes = [sample_scene(rng) for _ in range(size)]
    texts = [caption(scene, rng) for scene in scenes]
    images = nn.functional.normalize(clip.image_features(np.stack([render(scene) for scene in scenes])))
    cosine = images @ nn.functional.normalize(clip.text_features(texts)).T
    true = truth(scene_arrays(scenes), claim_arrays([parse(text) for text in texts]))
    others = torch.from_numpy(true) & ~torch.eye(size, dtype=torch.bool)
    cosine = cosine.masked_fill(others, -torch.inf)
    own = torch.arange(size)
    return (cosine.argmax(1) == own).numpy(), (cosine.argmax(0) == own).numpy()


def _across(cosine: torch.Tensor) -> torch.Tensor:
    """Of each pair of rows, the entry off the diagonal, [n, 2]."""
    return torch.stack([cosine[:, 0, 1], cosine[:, 1, 0]], dim=1)


if __name__ == "__main__":
    main(sys.argv[1:])
