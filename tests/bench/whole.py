"""The commands that newcomers run first, whole: `python tests/bench/whole.py`. An hour on two cores."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measured import Measured

COMMANDS = {
    "agsm-bench demo": (("demo", "--out", "demo"), 10.0),
    "agsm-bench reproduce --all --quick": (("reproduce", "--all", "--quick", "--out", "runs"), 60.0),
}
"""By what is typed: what is run, in an empty folder, and the minutes that it may take."""


def minutes(arguments: tuple[str, ...]) -> float:
    """Of a command that ends well."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "agsm_bench", *arguments], cwd=Path(folder), check=True)
        return (time.perf_counter() - start) / 60


def measure() -> list[Measured]:
    """All of them."""
    return [Measured("whole", name, minutes(how), "min", most) for name, (how, most) in COMMANDS.items()]


if __name__ == "__main__":
    for found in measure():
        print(found.line())
