"""What a benchmark measured, and how to measure two ways of doing the same in one process."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

MB = 1e6


@dataclass(frozen=True)
class Measured:
    """A line of results/bench.json."""

    group: str
    name: str
    value: float
    unit: str
    """`ratio`, `s`, `MB`, `1/s` …"""
    target: float | None = None
    lower_is_better: bool = True
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.lower_is_better else self.value >= self.target

    def line(self) -> str:
        """As a script prints it."""
        sign = "<=" if self.lower_is_better else ">="
        target = "" if self.target is None else f"  (target {sign} {self.target:g}: {'met' if self.met else 'NOT met'})"
        return f"{self.group}: {self.name}: {self.value:.3g} {self.unit}{target}{'  ' + self.note if self.note else ''}"


def seconds_in_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Wall time of every way, one after the other in each round, so that a busy moment hits them alike.

    A first round warms up and does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if number:
                found[name].append(time.perf_counter() - start)
    return found


def ratio(seconds: Mapping[str, list[float]], one: str, other: str) -> float:
    """How many times longer `one` takes than `other`: the median over the rounds."""
    return median(a / b for a, b in zip(seconds[one], seconds[other], strict=True))


def peak_memory(way: Callable[[], object]) -> float:
    """Bytes that the process grew by while it ran, at most (Linux)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is resident now
    before = _status("VmRSS")
    way()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
