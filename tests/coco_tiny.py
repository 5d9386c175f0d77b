"""A small COCO as `agsm-bench data get` leaves it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from agsm_bench.data.places import folder_of, record_of
from agsm_bench.data.table import dataset

IDS = {"train2017": [30, 9, 25], "val2017": [632, 139]}


def plain(key: int) -> Image.Image:
    """One colour, which tells the image by its id."""
    return Image.new("RGB", (40, 20), (key % 256, 0, 0))


def noise(key: int) -> Image.Image:
    """Noise of an image's own."""
    return Image.fromarray(np.random.default_rng(key).integers(0, 256, (20, 24, 3), np.uint8))


def caption(key: int, index: int) -> str:
    """The index-th of an image, with a word of its own: tiny tokenizers know letters only."""
    word = f"{key}{index}".translate(str.maketrans("0123456789", "abcdefghij"))
    return f"{key} said {word} {index}."


def write_coco(
    root: Path, ids: Mapping[str, Sequence[int]] = IDS, picture: Callable[[int], Image.Image] = plain
) -> None:
    """Writes pictures by their ids, five captions each, to `root`, which AGSM_BENCH_DATA is to name meanwhile."""
    (root / "coco" / "annotations").mkdir(parents=True)
    for split, keys in ids.items():
        (root / "coco" / split).mkdir()
        for key in keys:
            picture(key).save(root / "coco" / split / f"{key:012}.jpg")
        content = {
            "images": [{"id": key, "file_name": f"{key:012}.jpg"} for key in keys],
            "annotations": [{"image_id": key, "caption": f"{caption(key, n)}\n"} for n in range(5) for key in keys],
        }
        (root / "coco" / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    for name in ("coco-train2017", "coco-val2017", "coco-captions"):
        data = dataset(name)
        record_of(data).parent.mkdir(exist_ok=True)
        files = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder_of(data).iterdir()}
        record_of(data).write_text(json.dumps({"files": files}))
