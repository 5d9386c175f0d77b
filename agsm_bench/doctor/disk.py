"""Free space where a run writes, and where what it lacks would go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from agsm_bench.contracts import Backbone
from agsm_bench.data import places
from agsm_bench.data.table import DATASETS
from agsm_bench.doctor.check import Check, gigabytes
from agsm_bench.doctor.data import room_for
from agsm_bench.reproduce.estimates import TRAINING_BYTES
from agsm_bench.training.config import TrainingOptions, tokens_config

COPIES = 5
"""Of the tokens: saved, and in the state the student, its average, and Adam's two moments."""


@dataclass(frozen=True)
class Place:
    """A folder that will be written to."""

    name: str
    folder: Path
    needs: int
    """Bytes."""
    of: str
    """What takes them."""


_FIXES = {
    "output": "use another --out.",
    "hub cache": "set HF_HUB_CACHE to another folder.",
    "data": "set AGSM_BENCH_DATA to another folder.",
}


def disk(out: Path, training: int, download: float, data: tuple[str, ...]) -> Iterator[Check]:
    """A line for each place.

    Args:
        out: where the training writes.
        training: bytes that it writes there.
        download: gigabytes of models that are not there.
        data: datasets that the run needs.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    absent = sum(room_for(DATASETS[name]) for name in data)
    found = (
        Place("output", out, training, "of the training"),
        Place("hub cache", Path(HF_HUB_CACHE), int(download * 1e9), "of models to download"),
        Place("data", places.root(), absent, "of data to download and unpack"),
    )
    together: dict[int, int] = {}
    for place in found:
        device = _existing(place.folder).stat().st_dev
        together[device] = together.get(device, 0) + place.needs
    yield from (_check(place, together) for place in found)


def training_bytes(options: TrainingOptions, backbone: Backbone) -> int:
    """What a training of soft tokens writes, as `resolve`d options ask."""
    tokens = 4 * sum(prod(shape) for shape in tokens_config(options, backbone, 2).shapes.values())
    steps = int(options.steps or 0)
    kept = steps // options.keep_every if options.keep_every else 0
    return (COPIES + kept) * tokens + steps * TRAINING_BYTES[1]


def _check(place: Place, together: Mapping[int, int]) -> Check:
    existing = _existing(place.folder)
    if not existing.is_dir():
        return Check("disk", place.name, "missing", f"{existing} is no folder.", _FIXES[place.name])
    free, needs = shutil.disk_usage(existing).free, together[existing.stat().st_dev]
    says = f"{gigabytes(free)} free at {place.folder.absolute()}"
    says += f"; {gigabytes(place.needs)} {place.of}" if place.needs else ""
    if place.needs and not os.access(existing, os.W_OK):
        return Check("disk", place.name, "missing", f"{place.folder.absolute()} cannot be written.", _FIXES[place.name])
    if place.needs and needs > free:
        says += f", {gigabytes(needs)} with all that goes to this disk"
        return Check("disk", place.name, "missing", f"{says}.", f"Free space, or {_FIXES[place.name]}")
    return Check("disk", place.name, "ok", says)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
