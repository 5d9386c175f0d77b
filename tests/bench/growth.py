"""What many runs, prompts and images cost: `python tests/bench/growth.py`.

200 runs of COCO-val5K's 5,000 samples, with generated scores, and what reports on them takes; by how much that grows
with prompts, images and runs; and the memory that making and scoring 100 to 5,000 images takes. Each command is a
process of its own with one thread a library; of some calls the shortest counts, since others only make one longer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from made_runs import made_run, scratch
from measured import MB, Measured
from PIL import Image

RUNS, FEW = 200, 20
CALLS = 3
REPORT = ["report", "--all"]
COMPARE = ["compare", "runs/1", "--baseline", "runs/0"]
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "report --table 8": (["report", "--table", "8"], 2.0),
    "report --all": (REPORT, 2.0),
    "compare": (COMPARE, 2.0),
    "claims": (["claims"], None),
    "view of two": (["view", "runs/0", "runs/1"], None),
    f"leaderboard of {FEW}": (["leaderboard", *(f"runs/{i}" for i in range(FEW))], None),
}
"""On the 200 runs, with the seconds that they may take."""
IMAGES = (100, 1000, 5000)
FLAT = 1.1
"""Ratio of peak memory to that of the fewest images; batches are full from 32 images on."""


def call(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and MB of a command; a regression is no failure of it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "agsm_bench", *arguments]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(said.decode())
    return time.perf_counter() - start, usage.ru_maxrss * 1024 / MB


def best(arguments: list[str], folder: Path) -> float:
    return min(call(arguments, folder)[0] for _ in range(CALLS))


def two_runs(folder: Path, prompts: int, images: int = 1) -> Path:
    for seed in range(2):
        made_run(folder / "runs" / str(seed), seed, prompts=prompts, images=images, files=True)
    return folder


def of_many_runs(root: Path) -> Iterator[Measured]:
    two_runs(root, 5000)
    for number in range(2, FEW):
        made_run(root / "runs" / str(number), number)
    few = best(REPORT, root)
    for number in range(FEW, RUNS):
        made_run(root / "runs" / str(number), number)
    where = f"{RUNS} runs of 5,000 samples"
    many = {name: best(arguments, root) for name, (arguments, _) in COMMANDS.items()}
    for name, seconds in many.items():
        yield Measured("growth", f"{name}, {where}", seconds, "s", COMMANDS[name][1], note=f"best of {CALLS}")
    yield Measured("growth", "report --all, runs x 10", many["report --all"] / few, "ratio", 10.0)


def of_size(root: Path) -> Iterator[Measured]:
    once = best(COMPARE, two_runs(root / "once", 2500))
    for name, prompts, images in (("prompts", 5000, 1), ("images", 2500, 2)):
        seconds = best(COMPARE, two_runs(root / name, prompts, images))
        yield Measured("growth", f"compare, {name} x 2", seconds / once, "ratio", 2.0, note=f"from {once:.2f} s")


def of_memory(root: Path) -> Iterator[Measured]:
    """Real images of the smallest backbone, and PNGs that are scored; the least number is the base."""
    found: dict[str, list[float]] = {}
    for count in IMAGES:
        (root / f"images{count}").mkdir()
        for i in range(count):
            Image.new("RGB", (32, 32), (i % 256, i // 256, 0)).save(root / f"images{count}" / f"{i:05d}.png")
        evaluation = ["eval", "coco", "--backbone", "shapes-unet", "--steps", "1", "--limit", str(count)]
        commands = {
            "generation": [*evaluation, "--metrics", "none", "--out", f"made{count}"],
            "evaluation": [*evaluation, "--out", f"made{count}"],
            "score --images": [
                "score",
                "--images",
                f"images{count}",
                "--metrics",
                "psnr",
                "--references",
                f"images{count}",
                "--out",
                f"scores{count}",
            ],
            "report": ["report", "--table", "8"],
        }
        for name, arguments in commands.items():
            found.setdefault(name, []).append(call(arguments, root)[1])
    for name, (base, *more) in found.items():
        for count, memory in zip(IMAGES[1:], more, strict=True):
            what = f"{name}, memory of {count:,} images beside {IMAGES[0]}"
            yield Measured("growth", what, memory / base, "ratio", FLAT, note=f"{memory:.0f} and {base:.0f} MB")


def parts() -> Iterator[Measured]:
    for part in (of_many_runs, of_size, of_memory):
        with scratch() as folder:
            yield from part(Path(folder))


def measure() -> list[Measured]:
    return list(parts())


if __name__ == "__main__":
    for each in parts():
        print(each.line(), flush=True)
