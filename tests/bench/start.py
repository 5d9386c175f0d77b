"""How long the command line takes to start, as a user waits for it: `python tests/bench/start.py`.

The shortest of some calls with files in the cache, each a process of its own: others only ever make a call longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from measured import Measured

CALLS = 7
TARGETS = {
    ("--help",): 0.3,
    ("list",): 0.4,
    ("report", "--table", "6"): 1.0,
    ("report", "--all"): None,
}


def seconds(command: list[str]) -> tuple[float, float]:
    """Wall time and processor time of a call."""
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - start, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def measure() -> list[Measured]:
    found = []
    for arguments, target in TARGETS.items():
        command = [sys.executable, "-m", "agsm_bench", *arguments]
        seconds(command)  # fills the cache
        wall, busy = (min(each) for each in zip(*(seconds(command) for _ in range(CALLS)), strict=True))
        name = " ".join(arguments)
        found.append(Measured("start", name, wall, "s", target, note=f"best of {CALLS}, {busy:.2f} s of processor"))
    return found


if __name__ == "__main__":
    for each in measure():
        print(each.line())
