"""Encoding COCO's pictures once: what that takes, and doing what is not done yet (`agsm_bench.data.latents`)."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agsm_bench.data.coco import CocoImage, picture, picture_key
from agsm_bench.data.latents import LatentsSpec, claim, is_whole, write
from agsm_bench.data.places import ROOT, ShowProgress, digest
from agsm_bench.data.unpack import not_enough_room
from agsm_bench.errors import MissingError, UserError
from agsm_bench.jsonl import writing

if TYPE_CHECKING:
    from torch import Tensor

    from agsm_bench.diffusion.image_encoder import ImageEncoder

PER_FILE = 256
"""Pictures a file: what a kill takes at most."""
HEADER = 320
"""Bytes that a picture's key, shape, place and checksum take in a file's header, rounded up."""
READERS = 4
"""Threads that read and resize pictures while the VAE works."""


@dataclass(frozen=True)
class Plan:
    """What there is to encode."""

    spec: LatentsSpec
    shape: tuple[int, int, int]
    """Of a picture's latents: channels, height, width."""
    item_bytes: int
    """Of one value."""
    images: int
    """Asked for."""
    files: Mapping[str, tuple[CocoImage, ...]]
    """The different pictures among them, by file."""
    part: tuple[int, int] = (0, 1)
    """(index, count): every count-th file is this process's."""

    @property
    def picture_bytes(self) -> int:
        """Of a picture's latents."""
        return math.prod(self.shape) * self.item_bytes

    @property
    def pictures(self) -> int:
        """How many different ones there are."""
        return sum(map(len, self.files.values()))

    @property
    def own(self) -> dict[str, tuple[CocoImage, ...]]:
        """The files of this part."""
        index, count = self.part
        return {name: images for n, (name, images) in enumerate(self.files.items()) if n % count == index}

    def on_disk(self, pictures: int) -> int:
        """Bytes of so many pictures, headers included."""
        return pictures * (self.picture_bytes + HEADER)


def make_plan(
    encoder: ImageEncoder, spec: LatentsSpec, images: Sequence[CocoImage], part: tuple[int, int] = (0, 1)
) -> Plan:
    """Images of equal content once; the first images are in the same files, however many follow.

    Raises:
        UserError: the size is none that the VAE takes.
    """
    if spec.size % encoder.factor:
        raise UserError(f"--size is {spec.size}.", f"Use a multiple of {encoder.factor}.")
    different: dict[str, CocoImage] = {}
    for image in images:
        different.setdefault(image.content, image)
    pictures = list(different.values())
    files = {
        f"{n:05}.safetensors": tuple(pictures[first : first + PER_FILE])
        for n, first in enumerate(range(0, len(pictures), PER_FILE))
    }
    return Plan(spec, encoder.shape(spec.size), encoder.vae.dtype.itemsize, len(images), files, part)


def encode(plan: Plan, encoder: ImageEncoder, show: ShowProgress) -> Path:
    """Encodes what of this part is not there yet, or is damaged; returns the folder.

    Raises:
        UserError: the disk is too small or not ours, another process is at it, or the VAE's values are not finite.
        MissingError: an image is gone or damaged.
    """
    with _writing(plan) as folder:
        left = _left(plan, folder, show)
        needed, free = plan.on_disk(sum(map(len, left.values()))), shutil.disk_usage(folder).free
        if free < needed:
            raise not_enough_room(folder, needed, free)
        total = sum(map(len, plan.own.values()))
        done = total - sum(map(len, left.values()))
        for name, images in left.items():
            means = {}
            for key, mean in _means(encoder, images, plan.spec):
                means[key], done = mean, done + 1
                show("encode", done, total)
            write(folder / name, means)
        return folder


@contextmanager
def _writing(plan: Plan) -> Iterator[Path]:
    """The folder, in which no other process does the same part."""
    from agsm_bench.locking import alone

    folder, (index, count) = plan.spec.folder, plan.part
    with writing(folder, f"set {ROOT} to another folder"):
        claim(plan.spec)
        with alone(folder / f".{index}-of-{count}.lock", folder, "Wait until it ends, or use --shard i/n."):
            yield folder


def _left(plan: Plan, folder: Path, show: ShowProgress) -> dict[str, tuple[CocoImage, ...]]:
    """The files of this part that are absent, damaged, or lack a picture."""
    left = {}
    for n, (name, images) in enumerate(plan.own.items(), 1):
        keys = [picture_key(image, plan.spec.size) for image in images]
        if (folder / name).exists():
            show("check files that are there", n, len(plan.own))
        if not is_whole(folder / name, keys):
            left[name] = images
    return left


def _means(encoder: ImageEncoder, images: Sequence[CocoImage], spec: LatentsSpec) -> Iterator[tuple[str, Tensor]]:
    """The key and the VAE's mean [c, h, w] of every picture, each encoded alone as the training does."""
    with ThreadPoolExecutor(READERS) as readers:
        pictures = readers.map(partial(_checked_picture, size=spec.size), images)
        for image, pixels in zip(images, pictures, strict=True):
            mean = encoder.mean(pixels).cpu()
            if not mean.isfinite().all():
                raise UserError(
                    f"The VAE's values for {image.path.name} are not finite in {spec.dtype}.",
                    "Use --dtype float32 or another --vae, and the same for the training.",
                )
            yield picture_key(image, spec.size), mean


def _checked_picture(image: CocoImage, size: int) -> np.ndarray:
    """The picture; raises MissingError where its file is no longer the one that was got."""
    pixels = picture(image.path, size)
    if digest(image.path, "sha256") != image.content:
        fix = f"See what else is: agsm-bench data verify coco-{image.path.parent.name}"
        raise MissingError(f"The image {image.path} is not the file that was got.", fix)
    return pixels
