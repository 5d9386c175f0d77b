"""The Fréchet distance: closed forms, other implementations, singular covariances, intervals and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from upstream import folder_of

from agsm_bench.errors import MissingError
from agsm_bench.frechet import Statistics, distance, distance_with_interval, frechet_distance, too_few

MADE = {"metric": "fid/clean", "images": ["a", "b"]}


def features(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / 3 + shift).astype(np.float32)


def test_diagonal_gaussians_have_a_closed_form() -> None:
    rng = np.random.default_rng(0)
    (mean_a, mean_b), (std_a, std_b) = rng.standard_normal((2, 6)), rng.random((2, 6))
    a, b = (Statistics(m, np.diag(s**2), 9) for m, s in ((mean_a, std_a), (mean_b, std_b)))
    assert distance(a, b) == pytest.approx(((mean_a - mean_b) ** 2).sum() + ((std_a - std_b) ** 2).sum())


@pytest.mark.parametrize(("n", "d"), [(200, 20), (15, 40), (41, 40)])
def test_it_is_pytorch_fids_and_clean_fids(n: int, d: int) -> None:
    """Also with fewer samples than features, where theirs take the root of a singular product."""
    folder_of("pytorch_fid")
    from cleanfid.fid import frechet_distance as clean
    from pytorch_fid.fid_score import calculate_frechet_distance

    a, b = Statistics.of(features(n, d, 1)), Statistics.of(features(n + 3, d, 2, 0.3))
    found = distance(a, b)
    for theirs in (clean, calculate_frechet_distance):
        expected = theirs(a.mean, a.covariance, b.mean, b.covariance)
        assert found == pytest.approx(expected, rel=1e-5 if n <= d else 1e-9)
    assert found == pytest.approx(float(frechet_distance(a.mean, a.covariance, b.mean, b.covariance)), rel=1e-6)
    assert distance(b, a) == pytest.approx(found, rel=1e-6)
    by_image = distance_with_interval(features(n, d, 1), [str(i) for i in range(n)], b)
    assert by_image.value == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(300, 30), (10, 50)])
def test_nothing_is_between_a_set_and_itself(n: int, d: int) -> None:
    a = Statistics.of(features(n, d, 3))
    assert distance(a, a) == pytest.approx(0, abs=1e-6 * np.trace(a.covariance))


def by_singular_values(x: np.ndarray, y: np.ndarray) -> float:
    """The distance without a covariance and without a square that a root takes back: exact whatever the ranks."""
    (mean_x, x), (mean_y, y) = ((each.mean(axis=0), each - each.mean(axis=0)) for each in (x.astype(float), y))
    x, y = x / np.sqrt(len(x) - 1), y / np.sqrt(len(y) - 1)
    cross = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(((mean_x - mean_y) ** 2).sum() + (x**2).sum() + (y**2).sum() - 2 * cross)


@pytest.mark.parametrize(("n", "m"), [(600, 100), (100, 600), (220, 100), (100, 50), (600, 500)])
def test_singular_covariances_lose_no_digits(n: int, m: int) -> None:
    """Zeros among the eigenvalues are rounded to 1e-16 of the largest, and the root of that is 1e-8 each."""
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((220, 220)))[0] / np.arange(1, 221)[:, None]
    x, y = (features(k, 220, seed).astype(float) @ turn for k, seed in ((n, 11), (m, 12)))
    x[:, 7] = y[:, 7] = 0.25  # a dead unit
    expected, reference = by_singular_values(x, y), Statistics.of(y)
    found = distance_with_interval(x, ["one"] * n, reference).value
    assert found == pytest.approx(expected, rel=1e-8)
    assert distance(Statistics.of(x), reference) == pytest.approx(expected, rel=1e-8)


def test_a_set_of_one_image_repeated_has_no_spread() -> None:
    same, other = np.full((5, 3), 2.0), Statistics.of(features(30, 3, 13))
    expected = np.square(2 - other.mean).sum() + np.trace(other.covariance)
    assert distance(Statistics.of(same), other) == pytest.approx(expected)
    assert distance(other, Statistics.of(same)) == pytest.approx(expected)


def test_features_of_another_network_are_refused() -> None:
    with pytest.raises(MissingError, match="The reference has 5 features, and the images have 4"):
        distance(Statistics.of(features(9, 4, 0)), Statistics.of(features(9, 5, 0)))


def test_the_interval_covers_the_spread_of_fresh_samples() -> None:
    """Of 40 draws of 400 samples, nearly all intervals hold the mean distance at that size."""
    reference, rng = Statistics.of(features(4000, 8, 4)), np.random.default_rng(5)
    pool = features(40000, 8, 4, 0.1)
    found = []
    for _ in range(40):
        own = pool[rng.choice(len(pool), 400, replace=False)]
        found.append(distance_with_interval(own, [f"{i // 2:04d}" for i in range(400)], reference))
    mean = np.mean([each.value for each in found])
    assert sum(each.low <= mean <= each.high for each in found) >= 34
    assert all(0 <= each.low < each.value < each.high for each in found)


@pytest.mark.parametrize(("n", "d"), [(60, 4), (30, 50)])
def test_the_interval_is_the_jackknifes(n: int, d: int) -> None:
    """Ten distances computed from scratch, each without a tenth of the clusters."""
    own, reference = features(n, d, 9), Statistics.of(features(200, d, 10))
    clusters = [f"{i:03d}" for i in range(n)]
    found = distance_with_interval(own, clusters, reference)
    values = [distance(Statistics.of(own[np.arange(n) % 10 != g]), reference) for g in range(10)]
    half = 2.262157 * np.sqrt(0.9 * np.square(values - np.mean(values)).sum())
    assert found.high - found.value == pytest.approx(half, rel=1e-5)


def test_the_order_of_the_images_changes_nothing() -> None:
    own, clusters = features(60, 4, 6), [f"{i % 20}" for i in range(60)]
    own[:, 0] = 0  # it tells no image from another
    reference = Statistics.of(features(80, 4, 7))
    order = np.random.default_rng(0).permutation(60)
    turned = distance_with_interval(own[order], [clusters[i] for i in order], reference)
    plain = distance_with_interval(own, clusters, reference)
    assert turned == plain


def test_few_clusters_leave_the_bounds_unknown() -> None:
    found = distance_with_interval(features(60, 4, 6), ["one", "two"] * 30, Statistics.of(features(80, 4, 7)))
    assert found.value > 0
    assert np.isnan([found.low, found.high]).all()
    assert found.clusters == 2


def test_too_few_samples_are_warned_of() -> None:
    assert "500 for 2048 features" in str(too_few(500, 2048))
    assert too_few(5000, 2048) is None
    assert too_few(0, 2048) is None, "a file of pytorch-fid does not say"


def test_statistics_come_back(tmp_path: Path) -> None:
    made, path = Statistics.of(features(30, 5, 8)), tmp_path / "stats.npz"
    made.save(path, MADE)
    again = Statistics.load(path, MADE)
    assert (again.mean == made.mean).all()
    assert (again.covariance == made.covariance).all()
    assert again.n == 30
    with pytest.raises(MissingError, match="made of other images or weights"):
        Statistics.load(path, MADE | {"metric": "fid/legacy_pytorch"})


def test_files_of_pytorch_fid_and_damaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    assert Statistics.load(path).n == 0
    zeros, eye = np.zeros(3), np.eye(3)
    wrong = ({"sigma": np.eye(2)}, {"sigma": eye * np.nan}, {"sigma": eye * 1j}, {"sigma": eye, "n": [1, 2]})
    for damage in ({}, *wrong):
        np.savez(path, mu=zeros, **damage)
        with pytest.raises(MissingError, match="holds no statistics"):
            Statistics.load(path)
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    whole = path.read_bytes()
    with path.open("wb") as stream:
        np.save(stream, np.eye(3))
    for data in (b"no zip", b"", whole[: len(whole) // 2], whole.replace(b"\xf0\x3f", b"\xf0\x3e"), path.read_bytes()):
        path.write_bytes(data)
        with pytest.raises(MissingError, match="holds no statistics"):
            Statistics.load(path)
