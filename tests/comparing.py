"""Results of runs that were never made, with known truths, for the tests of comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agsm_bench import plugins
from agsm_bench.measured import Column, Measured
from agsm_bench.types import RunSpec

SPEC = RunSpec("counting", "shapes", "shapes-unet", "w" * 64, 2.0, 16, 24, 0, 4, tokens="t" * 64)
PROMPTS = [prompt.id for prompt in plugins.load("benchmarks", "counting").prompts("shapes")]
UNITS = tuple(f"{prompt}/{i:04d}" for prompt in PROMPTS for i in range(SPEC.images_per_prompt))
CORRECT, COUNTING = "geneval/correct", "geneval/counting"


def trained(seed: int) -> dict[str, Any]:
    return {"tokens": {"trainer": "agsm", "seed": seed}, "variant": None}


def result(values: Mapping[str, np.ndarray], seeds: tuple[int, ...] = (0,), **changes: Any) -> Measured:
    """Of values [seeds, units] by column; the summaries are their means."""
    arrays = {name: np.atleast_2d(np.asarray(row, np.float64)) for name, row in values.items()}
    named = {COUNTING if name == CORRECT else name: rows for name, rows in arrays.items()}
    fields: dict[str, Any] = {
        "name": "run",
        "spec": SPEC,
        "trainings": tuple(map(trained, seeds)),
        "limited": False,
        "prompts": "p",
        "columns": {name: Column(UNITS, rows, "1") for name, rows in arrays.items()},
        "summaries": tuple({k: float(np.nanmean(rows[i])) for k, rows in named.items()} for i in range(len(seeds))),
    }
    return Measured(**fields | changes)


def verdicts(rng: np.random.Generator, shares: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Whether each image is right, with a probability of its prompt's own."""
    each = np.repeat(np.clip(shares + shift, 0, 1), SPEC.images_per_prompt)
    return (rng.random(len(each)) < each).astype(float)
