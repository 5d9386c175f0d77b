"""Features of images on disk, for metrics of sets: what a killed pass has encoded is not encoded again."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from agsm_bench.damage import DAMAGED
from agsm_bench.errors import MissingError
from agsm_bench.jsonl import write_atomically

OF_REFERENCES = "-references"
"""After a metric's name: the store of its references' features, where they belong to prompts."""
Key = tuple[str, str]
"""(digest of what the features are of, version of the network)."""


class FeatureStore:
    """`features/NAME/` of a folder: npz files of some rows each, one file in the end."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder / "features" / name.replace("/", "-")
        self._keys: dict[str, Key] = {}
        self._rows: dict[str, np.ndarray] = {}
        for part in self._parts():
            self._read(part)

    @property
    def keys(self) -> Mapping[str, Key]:
        """By item id."""
        return self._keys

    def add(self, ids: Sequence[str], keys: Sequence[Key], features: np.ndarray) -> None:
        """Stores float32 features [n, d] at once."""
        number = max((int(part.stem) for part in self._parts()), default=-1) + 1
        self._write(number, ids, keys, features.astype(np.float32))
        self._keys |= dict(zip(ids, keys, strict=True))
        self._rows |= dict(zip(ids, features.astype(np.float32), strict=True))

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        """Features [n, d] in the order of the ids."""
        return np.stack([self._rows[each] for each in ids])

    def finalise(self) -> None:
        """One file, sorted, whatever order made the parts."""
        ids = sorted(self._keys)
        if ids:
            self._write(0, ids, [self._keys[each] for each in ids], self.rows(ids))
            for part in self._parts()[1:]:
                part.unlink()

    def _parts(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.npz"))

    def _read(self, part: Path) -> None:
        try:
            with np.load(part) as data:
                ids, digests, versions = (data[name].tolist() for name in ("ids", "digests", "versions"))
                self._keys |= dict(zip(ids, zip(digests, versions, strict=True), strict=True))
                self._rows |= dict(zip(ids, data["features"], strict=True))
        except (*DAMAGED, MemoryError) as error:  # an array that says it is larger than all memory
            raise MissingError(f"{part} is damaged ({type(error).__name__}).", f"Delete it: rm {part}") from error

    def _write(self, number: int, ids: Sequence[str], keys: Sequence[Key], features: np.ndarray) -> None:
        digests, versions = zip(*keys, strict=True)
        stream = io.BytesIO()
        np.savez(stream, ids=np.array(ids), digests=np.array(digests), versions=np.array(versions), features=features)
        self._folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self._folder / f"{number:06d}.npz", stream.getvalue())
