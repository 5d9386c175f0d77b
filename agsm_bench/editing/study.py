"""Settings of an editor tried on edits that are not the benchmark's, with the backbone alone; run by hand.

    python -m agsm_bench.editing.study masactrl --set guidance_scale=2,3,5 --set start_step=2,4

The `shapes` presets of the editors were chosen so, before any run with soft tokens.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from agsm_bench import plugins
from agsm_bench.contracts import Backbone
from agsm_bench.editing.predictor import EditBatch, Predictor
from agsm_bench.editor import Editor, options_of
from agsm_bench.seeds import generator_for
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.edits import Edit, edits
from agsm_bench.shapes.reading import has, scene_of, shows
from agsm_bench.shapes.render import render

STREAM = "shapes edit study"
BACKBONES = {"unet": "shapes-unet", "mmdit": "shapes-mmdit"}


def study(
    name: str, grid: Mapping[str, Sequence[str]], count: int
) -> Iterator[tuple[dict[str, str], dict[str, float]]]:
    """Each combination of settings, with what came of `count` edits spread over all kinds."""
    editor: Editor = plugins.load("editors", name)
    backbone: Backbone = plugins.load("backbones", BACKBONES[editor.family])
    predict = Predictor(backbone.load())
    chosen = edits(STREAM)[:: len(edits(STREAM)) // count][:count]
    for values in product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        options = options_of(editor, "shapes", None, settings)
        yield settings, _outcome(chosen, edited(predict, editor, options, chosen))


def edited(predict: Predictor, editor: Editor, options: Any, chosen: Sequence[Edit]) -> list[np.ndarray]:
    """The edited pictures, uint8 [24, 24, 3] each."""
    encoder = predict.denoiser.encoder
    batch = EditBatch(
        encoder.latents(torch.stack([encoder.mean(render(each.source)) for each in chosen])),
        [each.source_text for each in chosen],
        [each.target_text for each in chosen],
        [generator_for(STREAM, i) for i in range(len(chosen))],
    )
    with torch.no_grad():
        return [np.array(image) for image in predict.denoiser.decode_images(editor.edit(predict, batch, options))]


def _outcome(chosen: Sequence[Edit], pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """Shares of edits that succeed, and that besides leave the rest in its place; dB of the background."""
    scenes = [scene_of(detect(picture)) for picture in pictures]
    success = [shows(each.target_text, scene) for each, scene in zip(chosen, scenes, strict=True)]
    kept = [
        ok and all(has(scene, item, 2.0) for item in each.kept)
        for ok, each, scene in zip(success, chosen, scenes, strict=True)
    ]
    errors = [
        (((picture / 255 - render(each.source) / 255) * ~each.mask[..., None]) ** 2).mean()
        for each, picture in zip(chosen, pictures, strict=True)
    ]
    decibels = -10 * np.log10(np.maximum(errors, 1e-6))
    return {"success": float(np.mean(success)), "kept": float(np.mean(kept)), "psnr": float(decibels.mean())}


def main() -> None:
    """Prints a line for each combination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("editor")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE,VALUE,...")
    parser.add_argument("--edits", type=int, default=100)
    given = parser.parse_args()
    pairs = (text.partition("=") for text in given.set)
    grid = {name: values.split(",") for name, _, values in pairs}
    for settings, outcome in study(given.editor, grid, given.edits):
        words = " ".join(f"{name}={value}" for name, value in settings.items())
        print(f"{words:<60}", " ".join(f"{name} {value:.3f}" for name, value in outcome.items()), flush=True)


if __name__ == "__main__":
    main()
