"""Damaged pictures of many formats, as every part of the harness reads them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import Kind, damaging, fuzz
from metric_pictures import picture
from PIL import Image

from agsm_bench import pie
from agsm_bench.data import coco
from agsm_bench.errors import MissingError
from agsm_bench.images import UNREADABLE, open_mask, open_rgb
from agsm_bench.imported import side_of
from agsm_bench.scoring.items import Item, Opened, reader
from agsm_bench.training import preferences


def saved(form: str, mode: str = "RGB", **settings: Any) -> Callable[[Path], Path]:
    """A picture of 40 x 30 pixels."""

    def make(folder: Path) -> Path:
        path = folder / f"picture.{form}"
        if mode == "I;16":
            Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40)).save(path)
        else:
            picture((40, 30), 0).convert(mode).save(path, **settings)
        return path

    return make


def exif() -> bytes:
    """To be turned by 90 degrees."""
    found = Image.Exif()
    found[0x0112] = 6
    return found.tobytes()


def read_everywhere(path: Path) -> None:
    """An unreadable picture is unscored, for a reason in words; what is trained on is refused."""
    item = Item("picture", reader(path), "a prompt", reader(path), reader(path))
    try:
        shown = Opened(item).picture({"image", "reference", "mask"})
    except ValueError as error:
        reason = str(error)
    else:
        reason = ""
        assert shown.image.mode == "RGB"
        assert shown.mask is not None
        assert shown.mask.shape == (shown.image.height, shown.image.width)
    assert len(reason) < 1000
    for read in (open_rgb, open_mask):
        with suppress(*UNREADABLE):
            read(path.read_bytes())
    assert side_of([path]) >= 0
    assert isinstance(pie._odd_picture(path), str)
    for trained_on in (coco.picture, preferences._load):
        with suppress(MissingError):
            assert trained_on(path, 16).shape == (16, 16, 3)


def huge(valid: bytes) -> bytes:
    """A PNG whose header says that it has 100,000 x 100,000 pixels."""
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + valid[24:29]
    return valid[:12] + header + struct.pack(">I", zlib.crc32(header)) + valid[33:]


def bomb(_: bytes) -> bytes:
    """Compressed to a thousandth."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


MORE = [picture((40, 30), seed) for seed in (1, 2)]
KINDS = [
    Kind("png", saved("png"), read_everywhere, found=(huge, bomb)),
    Kind("png, palette and transparency", saved("png", "P", transparency=b"\x00\x80\xff"), read_everywhere),
    Kind("png, 16 bits", saved("png", "I;16"), read_everywhere),
    Kind("png, animated", saved("png", save_all=True, append_images=MORE), read_everywhere),
    Kind("jpeg", saved("jpg"), read_everywhere),
    Kind("jpeg, turned", saved("jpg", exif=exif()), read_everywhere),
    Kind("jpeg, CMYK", saved("jpg", "CMYK"), read_everywhere),
    Kind("webp", saved("webp"), read_everywhere),
    Kind("gif, animated", saved("gif", save_all=True, append_images=MORE), read_everywhere),
    Kind("tiff", saved("tiff"), read_everywhere),
    Kind("tiff, compressed", saved("tiff", compression="tiff_lzw"), read_everywhere),
    Kind("tiff, floats", saved("tiff", "F"), read_everywhere),
    Kind("bmp", saved("bmp"), read_everywhere),
]


@damaging(KINDS)
def test_damaged_files_are_read_or_refused(kind: Kind, numbers: range, tmp_path: Path) -> None:
    fuzz(kind, tmp_path, numbers)
