"""The JSONL log of a training run: one line a step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOG_FILE = "train.jsonl"


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line."""
    with path.open("a") as log:
        log.write(json.dumps(record) + "\n")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines in order; a torn last one (a killed process) is left out."""
    if not path.exists():
        return
    with path.open() as log:
        for line in log:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def rewind(path: Path, step: int) -> None:
    """Drops the lines after `step`, which a resumed run will write again."""
    kept = [json.dumps(record) + "\n" for record in read(path) if record["step"] <= step]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept))
    os.replace(partial, path)
