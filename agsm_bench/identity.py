"""Stable hashes: of a run's settings, and of the files that it reads. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agsm_bench.errors import MissingError
from agsm_bench.types import RunSpec


def identity(spec: RunSpec) -> str:
    """SHA-256 (hex) of everything that an image of the run depends on; equal specs have equal identities."""
    values = asdict(spec)
    # a field that came later plays no part while it says nothing, so that earlier runs keep their identity
    later = [name for name in ("model", "editing") if not values[name]]
    return hashlib.sha256(canonical_json({k: v for k, v in values.items() if k not in later}).encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values: keys sorted, 3.0 written as 3.

    Raises:
        ValueError: a NaN or an infinity.
        TypeError: what JSON cannot hold.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_files(paths: Iterable[str | Path]) -> str:
    """SHA-256 (hex) over the names and contents of files, whatever their order.

    A name is the path below the deepest folder that holds them all, so a copy elsewhere has the same hash.

    Raises:
        MissingError: a file cannot be read.
        ValueError: no file at all: a constant hash would hide that weights are absent.
    """
    files = {Path(path).absolute() for path in paths}
    if not files:
        raise ValueError("no files to hash")
    root = os.path.commonpath([file.parent for file in files])
    digest = hashlib.sha256()
    for name, file in sorted((file.relative_to(root).as_posix(), file) for file in files):
        digest.update(f"{hashlib.sha256(name.encode()).hexdigest()} {content_hash(file)}\n".encode())
    return digest.hexdigest()


def content_hash(file: Path) -> str:
    """SHA-256 (hex) of a file's contents; raises MissingError where it cannot be read."""
    target = file.readlink() if file.is_symlink() else file
    if target.parent.name == "blobs" and len(target.name) == 64:
        return target.name  # the hub's cache names large files by their SHA-256
    return read_hash(file)


def read_hash(file: Path) -> str:
    """As `content_hash`, of the contents themselves, whatever the file's name says of them."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise MissingError(
            f"{file} cannot be read ({error.strerror}).",
            "Restore the file; `agsm-bench doctor` lists the others.",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
