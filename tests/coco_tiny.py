"""A COCO folder of a few pictures, recorded as `agsm-bench data get` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from agsm_bench.data.places import folder_of, record_of
from agsm_bench.data.table import dataset

IDS = {"train2017": [30, 9, 25], "val2017": [632, 139]}


def write_coco(root: Path, ids: Mapping[str, Sequence[int]] = IDS) -> None:
    """Writes it to `root`, which AGSM_BENCH_DATA names: pictures of one colour, five captions each."""
    (root / "coco" / "annotations").mkdir(parents=True)
    for split, keys in ids.items():
        (root / "coco" / split).mkdir()
        for key in keys:
            Image.new("RGB", (40, 20), (key % 256, 0, 0)).save(root / "coco" / split / f"{key:012}.jpg")
        content = {
            "images": [{"id": key, "file_name": f"{key:012}.jpg"} for key in keys],
            "annotations": [{"image_id": key, "caption": f"{key} said {n}.\n"} for n in range(5) for key in keys],
        }
        (root / "coco" / "annotations" / f"captions_{split}.json").write_text(json.dumps(content))
    for name in ("coco-train2017", "coco-val2017", "coco-captions"):
        data = dataset(name)
        record_of(data).parent.mkdir(exist_ok=True)
        files = {path.name: "" for path in folder_of(data).iterdir()}
        record_of(data).write_text(json.dumps({"files": files}))
