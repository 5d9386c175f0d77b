"""Preference pairs from a shapes backbone itself: an image that the exact detector judges right, and a wrong one.

Captions come from the streams that tokens are trained on and validated with; none is a GenEval test prompt.
A caption whose images are all right or all wrong gives no pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agsm_bench.contracts import Backbone
from agsm_bench.errors import UserError
from agsm_bench.folders import ensure_writable, read_json, write_json
from agsm_bench.geneval_prompts import shapes_metadata
from agsm_bench.jsonl import Journal, writing
from agsm_bench.locking import alone
from agsm_bench.seeds import generator_for
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.pair_options import PairOptions, PairRecipe, recipe_of
from agsm_bench.shapes.pairs import ShapesPairs
from agsm_bench.shapes.scene import Scene, SceneObject
from agsm_bench.shapes.truth import MOST, is_true
from agsm_bench.training.preferences import PREFERENCES_FILE, RECIPE_FILE
from agsm_bench.types import Detection

if TYPE_CHECKING:
    from PIL.Image import Image

    from agsm_bench.diffusion.denoiser import Denoiser

LOCK = ".lock"
CAPTIONS_AT_ONCE = 16
THRESHOLD = 0.3
"""Score from which a detection counts, as in GenEval."""


def make_preferences(
    backbone: Backbone, out: Path, options: PairOptions, progress: Callable[[str, int, int], None]
) -> None:
    """Fills a folder with pairs; goes on where an earlier call stopped, also to have more of them.

    Of each caption's images the first right one and the first wrong one are kept.

    Raises:
        UserError: the backbone is not of shapes, or the folder holds pairs of another recipe or cannot be written.
        MissingError: weights are absent, or what the folder holds is damaged.
    """
    if backbone.domain != "shapes":
        raise UserError(f"{backbone.name} has no exact detector.", "Use a shapes backbone, or write pairs of your own.")
    recipe = recipe_of(backbone, options)
    ensure_writable(out / "images")
    with writing(out), alone(out / LOCK, out):
        _claim(out, recipe)
        journal = Journal(out / PREFERENCES_FILE)
        journal.repair()
        lines: list[dict[str, Any]] = list(journal.read(dict))
        for split, number in (("train", options.pairs), ("held out", options.held_out)):
            found = [line for line in lines if line["held_out"] is (split == "held out")]
            if len(found) >= number:
                continue
            fresh = _pairs(backbone.load(), recipe, split, found[-1]["caption"] + 1 if found else 0, out)
            for done, line in enumerate(islice(fresh, number - len(found)), len(found) + 1):
                journal.append([line])
                progress(split, done, number)


def judge(picture: np.ndarray, caption: str) -> bool:
    """Whether the picture, uint8 [24, 24, 3], shows exactly what the caption says."""
    found = [detection for detection in detect(picture) if detection.score >= THRESHOLD]
    return len(found) <= MOST and is_true(caption, Scene(tuple(map(_object, found))))


def _pairs(denoiser: Denoiser, recipe: PairRecipe, split: str, first: int, out: Path) -> Iterator[dict[str, Any]]:
    """Lines of preferences.jsonl, endlessly, from the caption of index `first` on; their images are written."""
    captions = _captions(recipe.seed, split, first)
    while batch := list(islice(captions, CAPTIONS_AT_ONCE)):
        for index, caption, images in _sampled(denoiser, recipe, split, batch):
            right = [judge(np.asarray(image), caption) for image in images]
            if all(right) or not any(right):
                continue
            line: dict[str, Any] = {"prompt": caption, "caption": index, "held_out": split == "held out"}
            for name, truth in (("preferred", True), ("rejected", False)):
                line[name] = f"images/{split.replace(' ', '-')}-{index:06d}-{name}.png"
                images[right.index(truth)].save(out / line[name])
            yield line


def _captions(seed: int, split: str, first: int) -> Iterator[tuple[int, str]]:
    tests = {entry["prompt"] for entry in shapes_metadata()}
    data = ShapesPairs(seed, held_out=split == "held out")
    numbered = ((index, data.item(index)[1]) for index in count(first))
    return (item for item in numbered if item[1] not in tests)


def _sampled(
    denoiser: Denoiser, recipe: PairRecipe, split: str, captions: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, str, list[Image]]]:
    """Each caption with its images, whose noise depends on the seed, the caption's index and their own."""
    rows = [(index, caption, i) for index, caption in captions for i in range(recipe.images)]
    images = denoiser.sample(
        [caption for _, caption, _ in rows],
        [generator_for("preferences", recipe.seed, split, index, i) for index, _, i in rows],
        steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        size=recipe.size,
    )
    for place, (index, caption) in enumerate(captions):
        yield index, caption, images[place * recipe.images : (place + 1) * recipe.images]


def _claim(out: Path, recipe: PairRecipe) -> None:
    """Notes the recipe, or checks that the folder's pairs were made by the same one."""
    path, asked = out / RECIPE_FILE, asdict(recipe)
    if path.exists():
        before = read_json(path, "Delete the folder to start again, or pass another --out.")
        if changed := [key for key in asked if before.get(key) != asked[key]]:
            was = ", ".join(f"{key} was {before.get(key)!r}, now {asked[key]!r}" for key in changed)
            raise UserError(f"{out} holds pairs of another recipe ({was}).", "Pass another --out.")
    elif (out / PREFERENCES_FILE).exists():
        raise UserError(f"{out} holds pairs that were not made here.", "Pass another --out.")
    write_json(path, asked)


def _object(found: Detection) -> SceneObject:
    x0, y0, x1, y1 = found.box
    return SceneObject(found.label, str(found.color), (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0)
