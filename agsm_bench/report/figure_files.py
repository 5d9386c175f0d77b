"""The figures that ship, by name, and the files that say what each shows; listing them imports nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

from agsm_bench.report.files import readable, results_dir

NAMES = ("4", "5", "geneval", "ablations")


def title(name: str) -> str:
    """Of one of `NAMES`, without looking at what it needs."""
    with readable(path_of(name)):
        return str(tomllib.loads(path_of(name).read_text(encoding="utf-8"))["title"])


def stem(name: str) -> str:
    """Of its file names."""
    return f"figure_{name:0>2}"


def path_of(name: str) -> Path:
    """The file that says what it shows."""
    return results_dir() / "tables" / f"{stem(name)}.toml"
