"""Pictures as a page shows them: small ones as they are, photographs as thumbnails that are made once."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from agsm_bench.images import UNREADABLE, open_mask, open_rgb, reason
from agsm_bench.jsonl import write_atomically
from agsm_bench.report.side_by_side import LARGEST, data_uri

THUMBNAIL = 384
"""Longer side in pixels."""
FOLDER = "thumbs"
_NAME = re.compile(r"([0-9a-f]{24})-(\d+)x(\d+)\.webp")
Read = Callable[[], bytes]


@dataclass(frozen=True)
class Shot:
    """One picture of a page."""

    source: str = ""
    """An address relative to the page, or a data URI; empty where there is no picture."""
    width: int = 0
    """Of the picture itself, in pixels."""
    height: int = 0
    absent: str = ""
    """Why there is none."""


@dataclass
class Thumbnails:
    """`thumbs/` of a page's folder: files named by what they show, so that they are found again."""

    root: Path
    _found: dict[str, Shot] = field(default_factory=dict, init=False)
    _used: set[str] = field(default_factory=set, init=False)
    _writing: Lock = field(default_factory=Lock, init=False)
    """Threads may meet at the same picture."""

    def __post_init__(self) -> None:
        for path in (self.root / FOLDER).glob("*/*.webp"):
            if match := _NAME.fullmatch(path.name):
                self._found[match[1]] = Shot(_address(path.name), int(match[2]), int(match[3]))

    def shot(self, digest: str, read: Read) -> Shot:
        """A picture by the hash (hex) of what it shows; read only where there is no thumbnail yet."""
        key = digest[:24]
        self._used.add(key)
        if key in self._found:
            return self._found[key]
        try:
            return self._made(key, read())
        except UNREADABLE as error:
            return Shot(absent=reason(error))

    def prune(self) -> None:
        """Removes what no picture of the page uses."""
        for key in self._found.keys() - self._used:
            (self.root / self._found[key].source).unlink(missing_ok=True)

    def _made(self, key: str, data: bytes) -> Shot:
        image = open_rgb(data)
        width, height = image.size
        if max(width, height) <= LARGEST:
            return Shot(data_uri(data, "png"), width, height)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=82, method=2)
        name = f"{key}-{width}x{height}.webp"
        path = self.root / _address(name)
        with self._writing:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, stream.getvalue(), sync=False)
            self._found[key] = Shot(_address(name), width, height)
        return self._found[key]


def mask_source(data: bytes) -> str:
    """A mask as a picture to lay over another: what is to be edited is seen through red. Raises as `open_mask`."""
    from PIL import Image

    mask = open_mask(data)
    image = Image.fromarray(mask.astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 90])
    stream = io.BytesIO()
    image.save(stream, "PNG", transparency=bytes([0, 130]), optimize=True)
    return data_uri(stream.getvalue(), "png")


def _address(name: str) -> str:
    return f"{FOLDER}/{name[:2]}/{name}"
