"""The results folder and what is read from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import agsm_bench
from agsm_bench.damage import DAMAGED, why
from agsm_bench.errors import MissingError

SCHEMA = 1
REINSTALL = "Reinstall agsm-bench, or point AGSM_BENCH_RESULTS to a results folder."


def results_dir() -> Path:
    """The results folder: `AGSM_BENCH_RESULTS`, else the installed package's, else the checkout's."""
    installed = Path(agsm_bench.__file__).parent / "results"
    shipped = installed if installed.is_dir() else installed.parents[1] / "results"
    return Path(os.environ.get("AGSM_BENCH_RESULTS") or shipped)


@contextmanager
def readable(path: Path, fix: str = REINSTALL) -> Iterator[None]:
    """Whatever goes wrong while reading `path` names it."""
    try:
        yield
    except DAMAGED as error:
        raise MissingError(f"{path} is missing or damaged ({why(error)}).", fix) from error


def checked(data: Any) -> Any:
    """`data`, whose schema is the one that this version reads; else ValueError."""
    if data["schema"] != SCHEMA:
        raise ValueError(f"schema {data['schema']}, expected {SCHEMA}")
    return data
