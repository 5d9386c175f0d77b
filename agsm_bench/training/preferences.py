"""Preference data on disk: pairs of images of one prompt, of which one is preferred. No torch here.

A folder with `preferences.jsonl`, one object a line, and the images that it names:

    {"prompt": "two red circles", "preferred": "images/7-a.png", "rejected": "images/7-b.png"}

Paths are relative to the folder; any format that Pillow reads will do. Pairs with `"held_out": true` are not
trained on: they give the validation curve. Other keys are ignored. `recipe.json`, which `agsm-bench shapes
preferences` leaves there, says how they were made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench.errors import MissingError
from agsm_bench.folders import read_json
from agsm_bench.identity import hash_files
from agsm_bench.jsonl import Journal
from agsm_bench.seeds import epoch_order

PREFERENCES_FILE = "preferences.jsonl"
RECIPE_FILE = "recipe.json"


@dataclass(frozen=True)
class PreferencePair:
    """Two images of one prompt."""

    prompt: str
    preferred: Path
    rejected: Path
    held_out: bool = False

    def images(self, size: int) -> np.ndarray:
        """uint8 [2, size, size, 3], the preferred one first: scaled and cut around the centre where they differ."""
        return np.stack([_load(path, size) for path in (self.preferred, self.rejected)])


@dataclass(frozen=True)
class Preferences:
    """The pairs of a folder."""

    folder: Path
    train: tuple[PreferencePair, ...]
    held_out: tuple[PreferencePair, ...]
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """How they were made; empty where the folder does not say."""

    @cached_property
    def hash(self) -> str:
        """Hash of the list and of every image."""
        images = [path for pair in (*self.train, *self.held_out) for path in (pair.preferred, pair.rejected)]
        return hash_files([self.folder / PREFERENCES_FILE, *images])

    def describe(self) -> dict[str, Any]:
        """How many there are, and how they were made."""
        return {"train": len(self.train), "held_out": len(self.held_out), **self.recipe}

    def batch(self, seed: int, indices: Sequence[int]) -> list[PreferencePair]:
        """Training pairs by index into an endless stream: every epoch has each pair once, in an order of its own."""
        count = len(self.train)
        return [self.train[epoch_order("preferences", count, seed, i // count)[i % count]] for i in indices]


def read_preferences(folder: Path) -> Preferences:
    """Reads a folder's list and looks for its images.

    Raises:
        MissingError: the list is absent, empty or damaged, or an image is absent.
    """
    path = folder / PREFERENCES_FILE
    if not path.is_file():
        raise MissingError(
            f"There are no preferences at {path}.",
            f"Write them, or make them for a shapes backbone: `agsm-bench shapes preferences --out {folder}`.",
        )
    found = list_preferences(folder)
    for image in (image for pair in (*found.train, *found.held_out) for image in (pair.preferred, pair.rejected)):
        if not _is_there(image):
            raise MissingError(f"The image {image}, which {path} names, is absent.", "Restore it, or delete its line.")
    if not found.train:
        raise MissingError(f"{path} holds no pair to train on.", "Add some; a held-out pair is not trained on.")
    return found


def _is_there(image: Path) -> bool:
    try:
        return image.is_file()
    except OSError:  # its name is too long for any file
        return False


def list_preferences(folder: Path) -> Preferences:
    """What a folder's list says so far, perhaps nothing; its images are not looked for.

    Raises:
        MissingError: the list is damaged.
    """
    pairs = list(_pairs(folder / PREFERENCES_FILE))
    train, held_out = (tuple(pair for pair in pairs if pair.held_out is which) for which in (False, True))
    recipe = folder / RECIPE_FILE
    made = read_json(recipe, f"Delete {recipe}, or the folder to make the pairs again.") if recipe.exists() else {}
    return Preferences(folder, train, held_out, made)


def _pairs(path: Path) -> Iterator[PreferencePair]:
    def parse(line: Any) -> PreferencePair:
        prompt, preferred, rejected = (str(line[key]) for key in ("prompt", "preferred", "rejected"))
        return PreferencePair(prompt, path.parent / preferred, path.parent / rejected, bool(line.get("held_out")))

    return Journal(path).read(parse)


def _load(path: Path, size: int) -> np.ndarray:
    from PIL import Image, ImageOps

    from agsm_bench.images import UNREADABLE, reason

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.fit(image.convert("RGB"), (size, size)))
    except UNREADABLE as error:
        raise MissingError(
            f"The image {path} cannot be read ({reason(error)}).", "Restore it, or delete its line."
        ) from error
