"""What is scored: an image with its prompt, reference and mask, read when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from agsm_bench.benchmark import Read
from agsm_bench.faults import denied
from agsm_bench.images import open_mask, open_rgb, reason
from agsm_bench.metric import Need, Picture

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """One image to score."""

    id: str
    """Unique: a sample id, or a file's name without its suffix."""
    image: Read
    prompt: str | None = None
    reference: Read | None = None
    mask: Read | None = None
    cluster: str = ""
    """What intervals resample: the images of one prompt belong together."""

    def digest(self) -> str:
        """SHA-256 over all that its scores depend on; of an absent file, over its absence."""
        prompt = b"-" if self.prompt is None else b"+" + self.prompt.encode()
        parts = [prompt, *map(_contents, (self.image, self.reference, self.mask))]
        return sha256(b"".join(sha256(part).digest() for part in parts)).hexdigest()


class Opened:
    """An item's decoded parts, each decoded once for all metrics."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self._shared: dict[Any, Any] = {}

    @cached_property
    def _image(self) -> Image.Image:
        return _decoded("the image", self._item.image, open_rgb)

    @cached_property
    def _reference(self) -> Image.Image:
        return _decoded("its reference", self._item.reference, open_rgb)

    @cached_property
    def _mask(self) -> np.ndarray:
        return _decoded("its mask", self._item.mask, open_mask)

    def picture(self, needs: Collection[Need]) -> Picture:
        """With what is needed.

        Raises:
            ValueError: a file is absent or no picture, or what is needed is not given; it says which.
        """
        if "prompt" in needs and self._item.prompt is None:
            raise ValueError("it has no prompt")
        return Picture(
            self._image,
            self._item.prompt,
            self._reference if "reference" in needs else None,
            self._mask if "mask" in needs else None,
            self._shared,
        )


def _decoded(name: str, read: Read | None, decode: Callable[[bytes], T]) -> T:
    if read is None:
        raise ValueError(f"it has no {name.removeprefix('its ')}")
    try:
        data = read()
    except OSError as error:
        if denied(error):
            raise
        raise ValueError(f"{name} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    try:
        return decode(data)
    except Exception as error:  # Pillow's plugins raise nearly anything for damaged files
        if denied(error):
            raise
        raise ValueError(f"{name}: {reason(error)}") from error


def _contents(read: Read | None) -> bytes:
    try:
        return b"-" if read is None else b"+" + read()
    except (OSError, ValueError) as error:
        if denied(error):
            raise
        return b"absent"


def reader(source: Path | bytes) -> Read:
    """Reads a file, or gives bytes that are there."""
    return source.read_bytes if isinstance(source, Path) else partial(bytes, source)
