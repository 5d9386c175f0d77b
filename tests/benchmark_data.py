"""PIE-Bench and UniGenBench++ as upstream hands them out and `agsm-bench data get` leaves them, and tiny weights."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from metric_pictures import write_clip_vocabulary
from PIL import Image

from agsm_bench.data.places import folder_of, record, wanted_files
from agsm_bench.data.table import dataset

SIDE = 512
"""Of PIE-Bench's masks."""


def recorded(name: str) -> None:
    """Records what lies in the folder of a dataset as got; AGSM_BENCH_DATA names the data's root."""
    data = dataset(name)
    record(data, sorted(wanted_files(data, folder_of(data))), "tests", None, lambda *_: None)


def noise(width: int, height: int, seed: int) -> Image.Image:
    """Smooth enough to survive a resize."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR)


def entry(key: str, kind: int, mask: Sequence[Any], **others: Any) -> dict[str, Any]:
    """An entry of `mapping_file.json`."""
    return {
        "image_path": f"{kind}_of_ten/{key}.jpg",
        "original_prompt": f"a [plain] picture of {letters(key)}",
        "editing_prompt": f"a [red] picture of {letters(key)}",
        "editing_instruction": "Make it red",
        "editing_type_id": str(kind),
        "blended_word": "plain red",
        "mask": list(mask),
        **others,
    }


def letters(key: str) -> str:
    """A word of its own: tiny tokenizers know letters only."""
    return key.translate(str.maketrans("0123456789", "abcdefghij"))


def write_pie(
    root: Path, entries: Mapping[str, Any], sizes: Mapping[str, tuple[int, int] | None], text: str = ""
) -> None:
    """PIE-Bench below a root.

    Args:
        entries: of the mapping file.
        sizes: of the pictures, by id; None: there is no such picture.
        text: the mapping file's text in place of the entries'.
    """
    folder = root / "pie-bench"
    for number, (key, each) in enumerate(entries.items()):
        if key in sizes and (size := sizes[key]):
            path = folder / "annotation_images" / each["image_path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            noise(*size, number).save(path, "PNG")  # a JPEG's name: nothing looks at it
    (folder / "mapping_file.json").write_text(text or json.dumps(entries))
    recorded("pie-bench")


def details(names: Sequence[str], words: Sequence[str]) -> str:
    """The JSON cell of a row of UniGenBench++."""
    return json.dumps({"Primary Categories": "Art", "Testpoints": list(names), "Testpoint Description": list(words)})


def write_unigenbench(root: Path, rows: Sequence[tuple[str, str, str]]) -> None:
    """`test_prompts_en_long.csv` below a root: index, prompt, the JSON of the test points."""
    (root / "unigenbench").mkdir(parents=True, exist_ok=True)
    stream = io.StringIO()
    csv.writer(stream).writerows([("index", "prompt_en", "sub_dims_en"), *rows])
    (root / "unigenbench" / "test_prompts_en_long.csv").write_text(stream.getvalue())
    recorded("unigenbench")


def save_clip(folder: Path) -> Path:
    """A small CLIPModel of random weights with OpenAI's vocabulary; returns its folder."""
    from transformers import CLIPConfig, CLIPModel

    folder.mkdir(parents=True, exist_ok=True)
    tokens = write_clip_vocabulary(folder)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = tower | {"vocab_size": tokens, "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}
    vision = tower | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.3) if value.ndim > 1 else None
    model.save_pretrained(folder)
    return folder


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


def scores_of(run: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The lines of `scores.jsonl` by sample and metric."""
    rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    return {(row["sample_id"], row["metric"]): row for row in rows}


def pictures(run: Path) -> dict[str, bytes]:
    """The images of a run by sample id."""
    return {f"{path.parts[-3]}/{path.stem}": path.read_bytes() for path in sorted(run.rglob("*.png"))}
