"""A store of a million samples with generated scores: seconds and memory of what is done with it.

python tests/bench/store_load.py [SAMPLES [IMAGES]]

200 images of each of COCO-val5K's 5,000 captions, two scores each, without image files: a million of these would
measure the disk. Then eight processes that write shards at once, with image files, of which there are fewer, and the
union of the shards. Each step is a process of its own, whose peak memory is the system's word.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from made_runs import PROMPTS, SCENE, SCORE, SPEC, fill, finish, scratch
from measured import MB, Measured

from agsm_bench import plugins
from agsm_bench.compare import compare
from agsm_bench.measured import read_run
from agsm_bench.shards import in_shard, merge
from agsm_bench.store import Run
from agsm_bench.types import Sample

SAMPLES, IMAGES, SHARDS = 1_000_000, 100_000, 8
SECONDS = {"append": 300.0, "open again": 60.0, "resume check": 60.0, "summary": 120.0, "compared": 180.0}
"""Of a million samples, on an idle core."""
MEMORY = 2000.0
"""MB that no step should take more than."""


def samples_of(count: int) -> Iterator[Sample]:
    prompts = plugins.load("benchmarks", SPEC.benchmark).prompts("shapes")
    return (Sample(prompt, index) for prompt in prompts for index in range(count // PROMPTS))


def opened(folder: Path, count: int, shard: tuple[int, int] | None = None) -> Run:
    spec = replace(SPEC, images_per_prompt=count // PROMPTS)
    return Run.create_or_resume(folder, spec, count, False, {}, shard=shard)


def append(root: Path, count: int, name: str) -> None:
    """Every image and its scores, one sample after the other, as an evaluation does."""
    with opened(root / name, count) as run:
        fill(run, samples_of(count), int(name))


def open_again(root: Path, count: int) -> None:
    with opened(root / "0", count) as run:
        assert len(run.scores()) == count


def resume_check(root: Path, count: int) -> None:
    with opened(root / "0", count) as run:
        assert not any(run.unscored(samples_of(count), (SCENE, SCORE)))


def summary(root: Path, count: int, name: str) -> None:
    with opened(root / name, count) as run:
        finish(run, samples_of(count))


def compared(root: Path, count: int) -> None:
    found = compare(read_run(root / "1"), read_run(root / "0"))
    assert len(found.run.samples) == count


def write_shard(root: Path, count: int, index: str) -> None:
    shard = (int(index), SHARDS)
    with opened(root / f"shard{index}", count, shard) as run:
        fill(run, (s for s in samples_of(count) if in_shard(s.id, *shard)), 0, files=True)


def union(root: Path, count: int) -> None:
    with merge([root / f"shard{index}" for index in range(SHARDS)], root / "union") as run:
        finish(run, samples_of(count))


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step for step in (append, open_again, resume_check, summary, compared, write_shard, union)
}


def start(step: str, root: Path, count: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "--step", step, str(root), str(count), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Seconds and MB of a step."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    seconds, memory = map(float, out.split())
    return seconds, memory


def parts(count: int = SAMPLES, images: int = IMAGES) -> Iterator[Measured]:
    with scratch() as folder:
        root = Path(folder)
        single = [
            ("append", "0"),
            ("open_again",),
            ("resume_check",),
            ("summary", "0"),
            ("append", "1"),
            ("summary", "1"),
        ]
        for step, *more in [*single, ("compared",)]:
            seconds, memory = finished(start(step, root, count, *more))
            if more != ["1"]:
                name = step.replace("_", " ")
                yield from lines(f"{name} of {count:,} samples", seconds, memory, SECONDS[name] * count / SAMPLES)
        before = time.perf_counter()
        found = [finished(each) for each in [start("write_shard", root, images, str(i)) for i in range(SHARDS)]]
        seconds, memory = time.perf_counter() - before, max(memory for _, memory in found)
        yield from lines(f"{SHARDS} shards of {images:,} images at once", seconds, memory)
        yield from lines(f"union of {images:,} images", *finished(start("union", root, images)))


def measure() -> list[Measured]:
    return list(parts())


def lines(what: str, seconds: float, memory: float, target: float | None = None) -> Iterator[Measured]:
    yield Measured("load", what, seconds, "s", target)
    yield Measured("load", f"{what}, peak memory", memory, "MB", MEMORY)


def run_step(step: str, root: str, count: str, *more: str) -> None:
    before = time.perf_counter()
    STEPS[step](Path(root), int(count), *more)
    seconds = time.perf_counter() - before
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        run_step(*sys.argv[2:])
    else:
        for each in parts(*map(int, sys.argv[1:])):
            print(each.line(), flush=True)
