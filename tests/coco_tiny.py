"""A small COCO as `agsm-bench data get` leaves it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from agsm_bench.data.places import folder_of, record_of
from agsm_bench.data.table import dataset

WORDS = ("red", "blue", "green", "dog", "cat")


def save_coco(root: Path, train: Sequence[int], val: Sequence[int], copies: dict[int, int] | None = None) -> None:
    """Images of noise by their ids, five captions each, in what AGSM_BENCH_DATA is to be while this is called.

    `copies` names images that have another one's content.
    """
    for split, ids in (("train2017", train), ("val2017", val)):
        (root / "coco" / split).mkdir(parents=True)
        for key in ids:
            noise = np.random.default_rng((copies or {}).get(key, key)).integers(0, 256, (20, 24, 3), np.uint8)
            Image.fromarray(noise).save(root / "coco" / split / f"{key:012}.jpg")
    (root / "coco" / "annotations").mkdir()
    for split, ids in (("train2017", train), ("val2017", val)):
        content = {
            "images": [{"id": key, "file_name": f"{key:012}.jpg"} for key in ids],
            "annotations": [{"image_id": key, "caption": f"{word} {key}"} for word in WORDS for key in ids],
        }
        (root / "coco" / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    for name in ("coco-train2017", "coco-val2017", "coco-captions"):
        record = record_of(dataset(name))
        record.parent.mkdir(exist_ok=True)
        files = {path.name: sha256(path.read_bytes()).hexdigest() for path in folder_of(dataset(name)).iterdir()}
        record.write_text(json.dumps({"files": files}))
