"""Weight files of metrics: where they lie on this machine, and the command that gets them. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from agsm_bench.errors import MissingError
from agsm_bench.identity import content_hash


@dataclass(frozen=True)
class WeightFile:
    """One file of a model: on the Hugging Face hub, or behind a plain address."""

    file: str
    """Name in the repository, or in torch's folder of checkpoints."""
    repo: str | None = None
    revision: str | None = None
    """A commit; None: the newest that is in the cache."""
    url: str | None = None
    sha256: str | None = None
    """Hex, or the beginning of it; None where it could not be looked up."""

    def located(self) -> Path | None:
        """The file in the hub's cache, or in torch's; None where it is not there."""
        if self.repo is None:
            path = checkpoints_folder() / self.file
            return path if path.is_file() else None
        from huggingface_hub import constants

        if not Path(constants.HF_HUB_CACHE, f"models--{self.repo.replace('/', '--')}").is_dir():
            return None  # known without the hub's client, whose import takes longer than all else in `list`
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repo, self.file, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    @property
    def source(self) -> str:
        """For lists and manifests."""
        if self.repo is None:
            return self.url or self.file
        return f"{self.repo}{f'@{self.revision[:8]}' if self.revision else ''}: {self.file}"


def checkpoints_folder() -> Path:
    """Where torch.hub, and so lpips and torchvision, keep what they download."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def find(metric: str, weights: Sequence[WeightFile], given: Path | None = None) -> dict[str, Path]:
    """The files of a metric by name, from a folder or a single file that the user gives, or the caches.

    Raises:
        MissingError: a file is absent, with the command that gets all of them, or is another model's.
    """
    found = {weight.file: _given(weight, given, len(weights)) if given else weight.located() for weight in weights}
    if absent := [name for name, path in found.items() if path is None]:
        where = f"in {given}" if given else "on this machine"
        raise MissingError(f"{metric} needs {absent[0]}, which is not {where}.", f"agsm-bench metrics get {metric}")
    files = {name: path for name, path in found.items() if path is not None}
    for weight in weights:
        _check(metric, weight, files[weight.file])
    return files


def version_of(files: Mapping[str, Path]) -> str | None:
    """16 hex digits that change with any of the files; None where there are none."""
    if not files:
        return None
    return sha256(" ".join(content_hash(files[name]) for name in sorted(files)).encode()).hexdigest()[:16]


def are_there(weights: Iterable[WeightFile]) -> bool:
    """Whether all are on this machine."""
    return all(weight.located() is not None for weight in weights)


def _given(weight: WeightFile, given: Path, count: int) -> Path | None:
    path = given if given.is_file() and count == 1 else given / weight.file
    return path if path.is_file() else None


def _check(metric: str, weight: WeightFile, path: Path) -> None:
    if weight.sha256 and not content_hash(path).startswith(weight.sha256):
        raise MissingError(
            f"{path} is not the {weight.file} of {metric}: its SHA-256 begins with {content_hash(path)[:8]}, "
            f"not with {weight.sha256[:8]}.",
            f"Delete it, then agsm-bench metrics get {metric}",
        )
