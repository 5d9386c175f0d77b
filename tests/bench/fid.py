"""The Fréchet distance of 5,000 images' 2048 features: ours against clean-fid's `frechet_distance`, equal and faster.

python tests/bench/fid.py
"""

from __future__ import annotations

import time

import numpy as np
from measured import Measured

import agsm_bench  # noqa: F401  torchvision beside a CPU torch
from agsm_bench.frechet import Statistics, distance, distance_with_interval

SAMPLES, FEATURES = 5000, 2048


def features(seed: int) -> np.ndarray:
    """Correlated and positive, as Inception's are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((FEATURES, FEATURES)) / FEATURES**0.5
    noise = rng.standard_normal((SAMPLES, FEATURES)) * np.linspace(0.05, 1, FEATURES)
    return np.abs(noise @ mixing + 0.01 * seed).astype(np.float32)


def measure() -> list[Measured]:
    """The distance in both ways, equal to ten digits, and ours with its interval."""
    from cleanfid.fid import frechet_distance

    one, other = features(1), features(2)
    a, b = Statistics.of(one), Statistics.of(other)
    begin = time.perf_counter()
    ours = distance(a, b)
    middle = time.perf_counter()
    theirs = float(frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
    end = time.perf_counter()
    difference = abs(ours / theirs - 1)
    assert difference < 1e-10, (ours, theirs)
    ratio, note = (end - middle) / (middle - begin), f"relative difference {difference:.0e}"
    start = time.perf_counter()
    distance_with_interval(one, [str(i // 4) for i in range(SAMPLES)], b)
    return [
        Measured("fid", "clean-fid's distance / ours", ratio, "ratio", 1, False, note),
        Measured("fid", "ours", middle - begin, "s"),
        Measured("fid", "with its interval", time.perf_counter() - start, "s"),
    ]


if __name__ == "__main__":
    for line in measure():
        print(line.line())
