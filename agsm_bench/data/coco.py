"""COCO 2017: image and caption pairs to train tokens on, and the 5,000 prompts of val5K."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np

from agsm_bench.damage import DAMAGED, why
from agsm_bench.data.places import read_record, ready
from agsm_bench.data.table import Dataset, dataset
from agsm_bench.errors import MissingError, all_missing
from agsm_bench.seeds import epoch_order, seed_of

Split = Literal["train2017", "val2017"]


@dataclass(frozen=True)
class CocoImage:
    """An image and its captions, in the order of the annotation file."""

    id: int
    path: Path
    captions: tuple[str, ...]
    content: str
    """SHA-256 of the file as it was got; empty for one that was not there."""


@dataclass(frozen=True)
class CocoPairs:
    """The stream that tokens are trained on (train2017), or the held-out one (val2017).

    The paper trains on all of train2017, so the held-out pairs come from val2017: for curves and denoising errors,
    not to choose a checkpoint by, as val5K is a benchmark. Every epoch has each image once, in an order of its own,
    under one of its captions (five, of a few images six or seven).
    """

    seed: int
    held_out: bool
    size: int = 512
    """Side of the pictures in pixels (released code: 512 for every backbone)."""

    def item(self, index: int) -> tuple[np.ndarray, str]:
        """uint8 picture [size, size, 3], and one of its captions; raises MissingError for an image gone or damaged."""
        return picture(self._image(index).path, self.size), self.caption(index)

    def caption(self, index: int) -> str:
        """The item's caption."""
        captions = self._image(index).captions
        return captions[seed_of("coco caption", self.seed, index) % len(captions)]

    def picture_key(self, index: int) -> str:
        """Of the file's content, and the size: an image has its latents once, however many captions and copies."""
        return picture_key(self._image(index), self.size)

    def version(self) -> str:
        """Of all pictures of the split and of the captions, as they were got."""
        return _version(dataset(f"coco-{self._split}"), dataset("coco-captions"))

    def false_negatives(self, indices: Sequence[int]) -> np.ndarray:
        """bool [n, n]: True only for one image met twice, around an epoch's end."""
        ids = np.array([self._image(index).id for index in indices])
        return (ids[:, None] == ids[None, :]) & ~np.eye(len(ids), dtype=bool)

    @cached_property
    def _images(self) -> tuple[CocoImage, ...]:
        return coco_images(self._split)

    @property
    def _split(self) -> Split:
        return "val2017" if self.held_out else "train2017"

    def _image(self, index: int) -> CocoImage:
        epoch, place = divmod(index, len(self._images))
        return self._images[epoch_order("coco", len(self._images), self.seed, epoch)[place]]


def val5k() -> list[tuple[CocoImage, str]]:
    """COCO val5K: all images of val2017, sorted by id, each with its caption 0 (protocols.md)."""
    return [(image, image.captions[0]) for image in coco_images("val2017")]


def picture_key(image: CocoImage, size: int) -> str:
    """What the latents of an image at a size are kept under."""
    return f"{image.content}-{size}"


def picture(path: Path, size: int) -> np.ndarray:
    """uint8 [size, size, 3]: the largest square around the centre, resized by Pillow's bicubic filter.

    Raises:
        MissingError: the image is gone or damaged.
    """
    from PIL import Image

    from agsm_bench.images import UNREADABLE

    try:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            # cut first: ImageOps.fit lets the filter look over the edge of the square
            square = image.convert("RGB").crop((left, top, left + side, top + side))
    except UNREADABLE as error:
        fix = f"See what else is: agsm-bench data verify coco-{path.parent.name}"
        raise MissingError(f"The image {path} is gone or damaged ({type(error).__name__}).", fix) from error
    return np.array(square.resize((size, size), Image.Resampling.BICUBIC))


def coco_images(split: Split) -> tuple[CocoImage, ...]:
    """All images of a split, sorted by id; those without captions are left out.

    Raises:
        MissingError: images or captions are not there, with the command that gets them, or the captions are damaged.
    """
    data = dataset(f"coco-{split}")
    with all_missing() as checking:
        with checking():
            folder = ready(data)
        with checking():
            captions = ready(dataset("coco-captions"))
    return _read(data, folder, captions / f"captions_{split}.json")


def _version(*sets: Dataset) -> str:
    files = [read_record(data)["files"] for data in sets]
    return sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


@cache
def _read(data: Dataset, folder: Path, annotations: Path) -> tuple[CocoImage, ...]:
    contents: dict[str, str] = read_record(data)["files"]
    captions: dict[int, list[str]] = {}
    try:
        content = json.loads(annotations.read_bytes())
        names = {int(image["id"]): str(image["file_name"]) for image in content["images"]}
        if strange := [name for name in names.values() if name != Path(name).name]:
            raise ValueError(f"{strange[0]} is no file of the folder")
        for annotation in content["annotations"]:
            captions.setdefault(int(annotation["image_id"]), []).append(str(annotation["caption"]).strip())
        found = [
            CocoImage(key, folder / names[key], tuple(captions[key]), contents.get(names[key], ""))
            for key in sorted(captions)
        ]
    except DAMAGED as error:
        raise MissingError(
            f"{annotations} is damaged ({why(error)}).",
            "Get it again: agsm-bench data get coco-captions --again",
        ) from error
    if not found:
        raise MissingError(f"{annotations} holds no captions.", "agsm-bench data get coco-captions --again")
    return tuple(found)
