"""For the tests of tables: the committed runs in all of them, and summaries of runs that were never made."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from agsm_bench.report.files import results_dir
from agsm_bench.report.runs import find_runs, read_run
from agsm_bench.report.tables import NUMBERS, JoinedTable, Measured, join
from agsm_bench.summary_file import write_summary

COMMITTED = results_dir() / "runs"
KEYS = ("mean", "single_object", "two_object", "counting", "colors", "position", "color_attr", "strict_mean")
METRICS = (*(f"geneval/{key}" for key in KEYS), "shapes/too_many", "shapes/too_few")


@cache
def committed() -> dict[int, JoinedTable]:
    """All tables with the committed runs, and no others."""
    runs = [read_run(path.parent) for path in sorted(COMMITTED.glob("*/summary.json"))]
    return {number: join(number, "shapes", runs) for number in NUMBERS}


def summary(value: float, trainer: str | None = None, seed: int = 0, **changes: Any) -> dict[str, Any]:
    run = {
        "name": "run",
        "benchmark": "geneval",
        "domain": "shapes",
        "backbone": "shapes-mmdit",
        "tokens": {"trainer": trainer, "seed": seed, "steps": 600, "hash": f"{seed}"} if trainer else None,
        "seed": 0,
        "guidance_scale": 2.0,
        "steps": 12,
        "identity": f"{trainer}-{seed}-{value}",
    } | changes.pop("run", {})
    metric = {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 2212, "clusters": 553}
    metrics = {name: metric | {"higher_is_better": "too" not in name} for name in METRICS}
    counts = {"expected": 2212, "scored": 2212, "unscored": 0}
    return {"schema": 1, "run": run, "complete": True, "limited": False, "metrics": metrics} | counts | changes


def write(name: str, data: dict[str, Any], root: Path = Path("runs")) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    write_summary(folder, data)
    return folder


def table_one() -> JoinedTable:
    return join(1, "shapes", find_runs())


def measured() -> Measured:
    found = table_one().sections[1].measured
    assert found is not None
    return found
