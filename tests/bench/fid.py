"""The Fréchet distance of 5,000 images' 2048 features: ours against clean-fid's `frechet_distance`, equal and faster.

python tests/bench/fid.py
"""

from __future__ import annotations

import time

import numpy as np

import agsm_bench  # noqa: F401  torchvision beside a CPU torch
from agsm_bench.frechet import Statistics, distance, distance_with_interval

SAMPLES, FEATURES = 5000, 2048


def features(seed: int) -> np.ndarray:
    """Correlated and positive, as Inception's are."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((FEATURES, FEATURES)) / FEATURES**0.5
    noise = rng.standard_normal((SAMPLES, FEATURES)) * np.linspace(0.05, 1, FEATURES)
    return np.abs(noise @ mixing + 0.01 * seed).astype(np.float32)


def main() -> None:
    from cleanfid.fid import frechet_distance

    one, other = features(1), features(2)
    a, b = Statistics.of(one), Statistics.of(other)
    start = time.perf_counter()
    ours = distance(a, b)
    middle = time.perf_counter()
    theirs = float(frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
    end = time.perf_counter()
    print(f"clean-fid {theirs:.9f} in {end - middle:.1f} s; ours {ours:.9f} in {middle - start:.1f} s")
    print(f"ratio {(end - middle) / (middle - start):.1f}, relative difference {abs(ours / theirs - 1):.1e}")
    start = time.perf_counter()
    found = distance_with_interval(one, [str(i // 4) for i in range(SAMPLES)], b)
    print(f"with its interval ({found.low:.6f} to {found.high:.6f}): {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main()
