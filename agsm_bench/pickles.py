"""Files of `torch.save`, read without running code from them."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

LONGEST_NAME = 500
"""Characters of what a pickle may ask for. torch looks through its refusal of a name with a pattern that takes the
square of its length: a damaged file with a long one would keep it busy for hours."""
OLD_PARTS = 5
"""Pickles at the beginning of a file of torch before 1.6: magic number, version, system, contents, storages."""


def load_pickle(path: Path, map_location: str | Callable[[Any, str], Any]) -> Any:
    """What a `.pt`, `.pth` or `.bin` file holds: tensors, plain values and what `safe_globals` allows.

    Raises:
        Exception: of nearly any kind, where it is damaged or asks for anything else.
    """
    import torch

    for name in _asked(path):
        if len(name) > LONGEST_NAME:
            raise ValueError("it asks for what can be no name")
    return torch.load(path, map_location=map_location, weights_only=True)


def _asked(path: Path) -> Iterator[str]:
    """The names of classes and functions that a file asks for."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            for _ in range(OLD_PARTS):
                yield from _names(stream)
        return
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith("data.pkl"):
                with archive.open(name) as stream:
                    yield from _names(stream)


def _names(stream: IO[bytes]) -> Iterator[str]:
    return (str(argument) for code, argument, _ in pickletools.genops(stream) if code.name == "GLOBAL")
