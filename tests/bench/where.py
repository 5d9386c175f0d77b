"""Where the time goes: `python tests/bench/where.py > results/profile.txt`. Python's own profiler, one thread.

Per command: our functions by the time in and below them, then whatever took most time by itself.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import re
import sys
import tempfile
import time
from collections.abc import Iterator

from agsm_bench.cli.main import app

COMMANDS = (
    "train agsm --backbone shapes-unet --steps 120 --out agsm",
    "eval geneval --backbone shapes-unet --tokens agsm --limit 60 --images-per-prompt 2 --out geneval",
    "eval pie_bench --backbone shapes-unet --tokens agsm --limit 30 --out pie",
    "report --table 6",
)
OURS, ANY = 25, 12
"""Lines of each list."""
PLACE = re.compile(r".*/(?=(?:agsm_bench|trainers|benchmarks)/)|.*/site-packages/|.*/lib/python[\d.]+/")
Function = tuple[str, int, str]


def profiled(command: str) -> tuple[float, dict[Function, tuple[int, int, float, float, object]]]:
    """Seconds and statistics of a command in this process, imports included; what it prints is thrown away."""
    profile, start, out = cProfile.Profile(), time.perf_counter(), sys.stdout
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = nowhere
        profile.enable()
        try:
            app(command.split(), standalone_mode=False)
        finally:
            profile.disable()
            sys.stdout = out
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    return time.perf_counter() - start, found


def lines(command: str) -> Iterator[str]:
    """Both lists of a command."""
    total, found = profiled(command)
    yield f"\n$ agsm-bench {command}\n{total:.1f} s with the profiler on\n"
    yield "in and below     calls  our function"
    ours = [item for item in found.items() if re.search(r"/(agsm_bench|trainers|benchmarks)/", item[0][0])]
    for function, (_, calls, _, below, _) in sorted(ours, key=lambda item: -item[1][3])[:OURS]:
        yield f"{below:10.2f} s {calls:9,d}  {name(function)}"
    yield "\n    itself     calls  any function"
    for function, (_, calls, itself, _, _) in sorted(found.items(), key=lambda item: -item[1][2])[:ANY]:
        yield f"{itself:10.2f} s {calls:9,d}  {name(function)}"


def name(function: Function) -> str:
    """Where it is, without this machine's folders."""
    file, _, called = function
    return called if file == "~" else f"{PLACE.sub('', file)}: {called}"


def main() -> None:
    import torch

    torch.set_num_threads(1)
    print((__doc__ or "").strip())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for command in COMMANDS:
            print("\n".join(lines(command)), flush=True)


if __name__ == "__main__":
    main()
