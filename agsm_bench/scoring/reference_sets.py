"""Statistics of the images that a metric of sets compares with, made once and kept with the hash of what made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from agsm_bench.benchmark import Read
from agsm_bench.errors import MissingError
from agsm_bench.frechet import Statistics
from agsm_bench.identity import canonical_json, content_hash
from agsm_bench.scoring.items import Item, reader
from agsm_bench.scoring.judging import Progress, Task, judged
from agsm_bench.scoring.selection import Chosen
from agsm_bench.scoring.settings import PassSettings
from agsm_bench.scoring.sources import files_in


@dataclass(frozen=True)
class ReferenceSet:
    """Images to compare with."""

    pictures: Mapping[str, Read]
    """By name."""
    keys: Sequence[str]
    """Sorted; they change with any of the pictures."""

    @staticmethod
    def of_folder(folder: Path) -> ReferenceSet:
        """The pictures of a folder, or of a run."""
        files = files_in(folder)
        hashes = sorted(content_hash(path) for path in files.values())
        return ReferenceSet({str(path): reader(path) for _, path in sorted(files.items())}, hashes)


def statistics_of(
    chosen: Chosen, name: str, source: Path | ReferenceSet, settings: PassSettings, progress: Progress
) -> Statistics:
    """Mean and covariance of a set of images, from the cache where they are there; or an npz file's.

    Raises:
        MissingError: no such folder, a damaged file, or a picture that cannot be read: a set with a hole is another.
    """
    if isinstance(source, Path) and source.suffix == ".npz":
        return Statistics.load(source)
    references = ReferenceSet.of_folder(source) if isinstance(source, Path) else source
    made_of = {"metric": name, "weights": chosen.version_of(name), "images": list(references.keys)}
    path = cache_folder() / f"{sha256(canonical_json(made_of).encode()).hexdigest()[:32]}.npz"
    if path.is_file():
        return Statistics.load(path, made_of)
    statistics = Statistics.of(_features(chosen, name, references.pictures, settings, progress))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        statistics.save(path, made_of)
    except OSError:  # a cache that is full or read-only costs the next call time, and nothing else
        return statistics
    return replace(statistics, source=str(path))


def cache_folder() -> Path:
    """Below the user's cache folder."""
    from platformdirs import user_cache_path

    return user_cache_path("agsm-bench") / "statistics"


def _features(
    chosen: Chosen, name: str, pictures: Mapping[str, Read], settings: PassSettings, progress: Progress
) -> np.ndarray:
    tasks = [Task(Item(item, read), frozenset([name])) for item, read in pictures.items()]
    rows = []
    for outcomes in judged(tasks, [chosen], settings, lambda phase, *count: progress(f"{phase}, references", *count)):
        for outcome in outcomes:
            if not isinstance(outcome.value, np.ndarray):
                raise MissingError(
                    f"The reference {outcome.item.id} has no features: {outcome.reason}.", "Mend or remove it."
                )
            rows.append(outcome.value)
    return np.stack(rows)
