"""The JSONL log of a training run: one line a step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agsm_bench.errors import MissingError
from agsm_bench.jsonl import Journal, write_atomically

LOG_FILE = "train.jsonl"
FIX = "Get it back, or use another --out to train again."


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one line."""
    with path.open("a") as log:
        log.write(_line(record))


def sync(path: Path) -> None:
    """Brings the log to the disk: what a checkpoint goes on from, the log is to have."""
    with path.open("a") as log:
        os.fsync(log.fileno())


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The lines in order; a torn last one (a killed process) is left out.

    Raises:
        MissingError: another line is damaged.
    """
    return Journal(path, FIX).read(_parse)


def rewind(path: Path, step: int, every: int = 1) -> None:
    """Drops the lines after `step`, which a resumed run will write again.

    Args:
        path: the log.
        step: that the run goes on from.
        every: steps between two lines.

    Raises:
        MissingError: a line up to there is absent or damaged.
    """
    kept = [record for record in read(path) if record["step"] <= step]
    if len(kept) < step // every:
        raise MissingError(f"{path} has {len(kept)} lines for {step} steps.", FIX)
    write_atomically(path, "".join(map(_line, kept)).encode())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"


def _parse(line: Any) -> dict[str, Any]:
    return {**line, "step": int(line["step"])}
