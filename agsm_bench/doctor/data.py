"""The data sets, by the record that `data get` has left of them."""

from __future__ import annotations

from collections.abc import Iterator

from agsm_bench.data import places
from agsm_bench.data.table import DATASETS, Dataset
from agsm_bench.doctor.check import Check, gigabytes
from agsm_bench.errors import MissingError

TRAINING = ("coco-train2017", "coco-val2017", "coco-captions")
"""What tokens of a photo backbone are trained and validated on."""


def datasets(needed: tuple[str, ...]) -> Iterator[Check]:
    """A line for every dataset."""
    for name, one in DATASETS.items():
        yield _check(one, name in needed)


def _check(one: Dataset, needed: bool) -> Check:
    try:
        found = places.state(one)
    except MissingError as error:
        return Check("data", one.name, "missing", error.message, error.fix, needed)
    if found != "there":
        size = f" ({gigabytes(one.size)})" if one.size else ""
        says = f"{one.holds}: {'not there' if found == 'absent' else 'only partly there'}"
        return Check("data", one.name, "missing", says, f"Get it{size}: {places.how_to_get(one)}", needed)
    count = len(places.read_record(one)["files"])
    return Check("data", one.name, "ok", f"{count:,} files, recorded, at {places.folder_of(one)}", needed=needed)


def room_for(one: Dataset) -> int:
    """Bytes that getting it takes: the archive and what comes out of it; 0 where it is there, or not downloaded."""
    try:
        return 0 if places.state(one) == "there" else 2 * (one.size or 0)
    except MissingError:
        return 2 * (one.size or 0)
