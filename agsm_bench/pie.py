"""PIE-Bench's files: pictures to edit, prompts and masks, as github cure-lab/PnPInversion reads them.

`mapping_file.json` maps an id to `image_path`, `original_prompt`, `editing_prompt`, `editing_type_id`, `mask` and
more; the pictures are below `annotation_images`. Brackets in prompts mark words and are dropped. A mask is a flat list
of (start, length) pairs over the rows of 512 x 512 pixels, clipped at the end; then all four border lines are set, "to
avoid annotation errors". An entry that cannot be used is named, and the rest goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from agsm_bench.benchmark import Given
from agsm_bench.damage import DAMAGED, why
from agsm_bench.data.places import ready
from agsm_bench.data.table import dataset
from agsm_bench.errors import MissingError
from agsm_bench.identity import canonical_json
from agsm_bench.images import UNREADABLE, reason
from agsm_bench.types import Prompt

SIDE = 512
"""Of masks and pictures in pixels."""
PICTURES = "annotation_images"
KINDS = (
    *("random", "change_object", "add_object", "delete_object", "content", "pose", "color"),
    *("material", "background", "style"),
)
"""By `editing_type_id`, as PIE-Bench names its ten kinds."""
LONGEST_NAME = 200
"""Bytes of a file's name, with room for an ending."""
TEXTS = ("image_path", "original_prompt", "editing_prompt", "editing_type_id")


@dataclass(frozen=True)
class Reading:
    """What a mapping file gives."""

    prompts: tuple[Prompt, ...]
    """The targets, sorted by id; `requirement` has tag, prompt, source, image and mask."""
    problems: tuple[str, ...]
    """Entries that are left out or odd, and why."""


def read_pie_bench() -> Reading:
    """The mapping file among the data; raises MissingError where it is not there or no JSON."""
    return read_mapping(ready(dataset("pie-bench")))


@cache
def read_mapping(folder: Path) -> Reading:
    """The mapping file of a folder.

    Raises:
        MissingError: it is absent, or no JSON object.
    """
    path = folder / "mapping_file.json"
    problems: list[str] = []
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=partial(_distinct, problems))
        entries = dict(content.items())
    except DAMAGED as error:
        raise MissingError(
            f"{path} cannot be read ({why(error)}).",
            "Get it again: agsm-bench data get pie-bench --from FILE --again",
        ) from error
    prompts = []
    for key in sorted(entries):
        if wrong := _wrong(key, entries[key]):
            problems.append(f"{path.name}, {_shown(key)}: {wrong}; the entry is left out.")
            continue
        prompts.append(_prompt(key, entries[key]))
        problems += [f"{path.name}, {key}: {odd}." for odd in _odd(folder, entries[key])]
    return Reading(tuple(prompts), tuple(problems))


def _distinct(problems: list[str], pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a key that is there twice the first counts, and it is named."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            problems.append(f"mapping_file.json has {_shown(key)} twice; the first counts.")
        found.setdefault(key, value)
    return found


def _wrong(key: str, entry: Any) -> str:
    """Why an entry cannot be used; empty where it can."""
    if not isinstance(entry, Mapping):
        return "no object"
    if lacking := [name for name in TEXTS if not _is_text(entry.get(name))]:
        return f"no text in {', '.join(lacking)}"
    kinds = [str(number) for number in range(len(KINDS))]
    if entry["editing_type_id"] not in kinds:
        return f"editing_type_id is '{entry['editing_type_id']}', not one of 0 to 9"
    if not _is_name(key):
        return "its id cannot be a file's name"
    if not all(map(_is_name, entry["image_path"].split("/"))):
        return "its image_path is no path below the pictures' folder"
    return _wrong_mask(entry.get("mask"))


def _is_text(value: Any) -> bool:
    """Whether it is a text that can be written and read; JSON can hold halves of letters."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _shown(key: str) -> str:
    return key if key.isprintable() else ascii(key)


def _is_name(text: str) -> bool:
    """Whether it can be a file's name, of this folder and of no other."""
    ok = bool(text) and text.isprintable() and not text.startswith(".") and not {"/", "\\"} & set(text)
    return ok and len(text.encode()) <= LONGEST_NAME


def _wrong_mask(mask: Any) -> str:
    if not isinstance(mask, list) or len(mask) % 2 or not all(type(number) is int for number in mask):
        return "its mask is no list of pairs of whole numbers"
    if any(number < 0 for number in mask):
        return "its mask has negative numbers"
    if any(start >= SIDE * SIDE for start in mask[::2]):
        return f"its mask begins beyond {SIDE} x {SIDE} pixels"
    return ""


def _odd(folder: Path, entry: Mapping[str, Any]) -> list[str]:
    """What is wrong with an entry that is kept: without its picture its image is unscored."""
    found = _odd_picture(folder / PICTURES / entry["image_path"])
    odd = [f"its picture {entry['image_path']} {found}"] if found else []
    ends = [start + length for start, length in zip(entry["mask"][::2], entry["mask"][1::2], strict=True)]
    return [*odd, *(["its mask is clipped at the picture's end"] if max(ends, default=0) > SIDE * SIDE else [])]


def _odd_picture(path: Path) -> str:
    """What is odd about a file, of which the beginning is read; empty where nothing is."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return "" if image.size == (SIDE, SIDE) else f"is {image.width} x {image.height}, not {SIDE} x {SIDE}"
    except FileNotFoundError:
        return "is not there"
    except UNREADABLE as error:
        return f"cannot be read ({reason(error)})"


def _prompt(key: str, entry: Mapping[str, Any]) -> Prompt:
    source, target = (_plain(entry[name]) for name in ("original_prompt", "editing_prompt"))
    tag = KINDS[int(entry["editing_type_id"])]
    facts = {"tag": tag, "prompt": target, "source": source, "image": entry["image_path"], "mask": list(entry["mask"])}
    return Prompt(key, target, tag, facts)


def _plain(prompt: str) -> str:
    return prompt.replace("[", "").replace("]", "")


def given(prompt: Prompt, size: int) -> Given:
    """The picture and mask of a prompt, brought to `size` pixels: bicubic and nearest."""
    facts = prompt.requirement
    path = ready(dataset("pie-bench")) / PICTURES / facts["image"]
    key = sha256(canonical_json([facts["image"], facts["mask"], size]).encode()).hexdigest()
    return Given(partial(_picture, path, size), key, facts["source"], partial(_mask, facts["mask"], size))


def decode_mask(pairs: Sequence[int], side: int = SIDE) -> np.ndarray:
    """bool [side, side], True where the picture is edited (evaluate.py, `mask_decode`)."""
    flat = np.zeros(side * side, dtype=bool)
    for start, length in zip(pairs[::2], pairs[1::2], strict=True):
        flat[start : start + length] = True
    return _bordered(flat.reshape(side, side))


def _bordered(mask: np.ndarray) -> np.ndarray:
    mask = mask.copy()
    mask[[0, -1], :] = True
    mask[:, [0, -1]] = True
    return mask


def _picture(path: Path, size: int) -> bytes:
    """Raises OSError where it is absent or no picture, ValueError where it is not square."""
    from PIL import Image

    from agsm_bench.images import open_rgb, to_png

    image = open_rgb(path.read_bytes())
    if image.width != image.height:
        raise ValueError(f"it is {image.width} x {image.height}, not square")
    return to_png(image if image.width == size else image.resize((size, size), Image.Resampling.BICUBIC))


def _mask(pairs: Sequence[int], size: int) -> bytes:
    from PIL import Image

    from agsm_bench.images import to_png

    image = Image.fromarray(decode_mask(pairs).astype(np.uint8) * 255)
    resized = np.asarray(image.resize((size, size), Image.Resampling.NEAREST)) > 0
    return to_png(Image.fromarray(_bordered(resized).astype(np.uint8) * 255))
