"""Measures and keeps: `python tests/bench/run.py [SCRIPT…]` writes results/bench.json and results/BENCH.md.

Each script has a process of its own; what is compared is compared within it. Without names: all but `whole`, which
takes an hour. Scripts that were not asked for keep what they measured before, with the commit that it was measured at.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from measured import Measured
from page import page

from agsm_bench.provenance import provenance

RESULTS = Path(__file__).parents[2] / "results"
SCRIPTS = ("training", "ideas", "sampling", "scoring", "fid", "start", "growth", "store_load")
SLOW = ("whole",)


def measure(script: str) -> list[Measured]:
    """What a script measures, here."""
    found: list[Measured] = import_module(script).measure()
    return found


def in_a_process(script: str) -> list[Measured]:
    """What a script measures, in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, script).result()


def machine() -> dict[str, Any]:
    """Where it is measured; no host name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
    }


def main() -> None:
    path = RESULTS / "bench.json"
    for script in sys.argv[1:] or SCRIPTS:
        found = in_a_process(script)
        for line in found:
            print(line.line(), flush=True)
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        said = provenance("cpu") | {"command": f"python tests/bench/run.py {script}", "machine": machine()}
        kept[script] = {"measured": [asdict(line) for line in found], "provenance": said}
        path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        (RESULTS / "BENCH.md").write_text(page(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
