"""Checks of a run folder that come before anything expensive."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError
from agsm_bench.faults import BACK
from agsm_bench.jsonl import write_atomically, writing


def ensure_writable(folder: Path) -> None:
    """Makes the folder and tries to write in it; raises UserError where that fails."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def check_there(file: Path) -> None:
    """Before a change of a folder that has the file; raises MissingError where it has gone.

    Moved away or unmounted, it is not to be begun anew at its old place.
    """
    if not file.is_file():
        raise MissingError(f"{file.parent} has lost its {file.name}: the folder was moved, or its disk is gone.", BACK)


@contextmanager
def saved_whole(folder: Path) -> Iterator[Path]:
    """An empty folder for a library to save into, whose files are then moved to `folder`, each of them whole.

    safetensors first writes under a random name beside the file: a kill would leave that for good. Its files are
    for their owner alone, too; here they get the permissions that any other file gets.
    """
    scratch = folder / ".saving"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        (scratch / ".mode").touch()
        mode = (scratch / ".mode").stat().st_mode
        (scratch / ".mode").unlink()
        yield scratch
        for path in [path for path in sorted(scratch.rglob("*")) if path.is_file()]:
            path.chmod(mode)
            place = folder / path.relative_to(scratch)
            place.parent.mkdir(exist_ok=True)
            os.replace(path, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def read_json(path: Path, fix: str) -> dict[str, Any]:
    """Reads a JSON object; raises MissingError, ending with `fix`, where it is absent or damaged."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise MissingError(f"There is no {path}.", fix) from error
    except DAMAGED as error:
        raise MissingError(f"{path} is damaged ({why(error)}).", fix) from error
    if not isinstance(value, dict):
        raise MissingError(f"{path} is damaged: it does not hold an object.", fix)
    return value
