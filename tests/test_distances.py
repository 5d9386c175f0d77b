"""Differences of distances, from features that runs have kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agsm_bench.distances import NotComparableError, difference
from agsm_bench.frechet import Statistics, distance
from agsm_bench.scoring.features import OF_REFERENCES, FeatureStore
from agsm_bench.store import Run
from agsm_bench.types import RunSpec

SPEC = RunSpec("geneval", "shapes", "shapes-unet", "w" * 64, 2.0, 16, 24, 0, 2)
NAME, WIDTH, PROMPTS = "shapes_frechet", 4, 60
IDS = [f"{prompt:05d}/{index:04d}" for prompt in range(PROMPTS) for index in range(2)]
SCENES = np.random.default_rng(0).normal(size=(len(IDS), WIDTH))


def make(folder: Path, features: np.ndarray, *, version: str = "1", references: np.ndarray | None = SCENES) -> Run:
    with Run.create_or_resume(folder, SPEC, len(IDS), False, {}) as run:
        FeatureStore(folder, NAME).add(IDS, [(each, version) for each in IDS], features)
        if references is not None:
            keys = [(str(row.sum()), version) for row in references]
            FeatureStore(folder, NAME + OF_REFERENCES).add(IDS, keys, references)
    return run


def images(seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SCENES.shape) + shift


def test_a_run_and_itself_differ_by_nothing(tmp_path: Path) -> None:
    run = make(tmp_path / "run", images(1))
    found = difference(NAME, run, run)
    assert (found.error, found.clusters, found.n) == (0.0, PROMPTS, len(IDS))


def test_the_error_is_that_of_fresh_samples(tmp_path: Path) -> None:
    """Known truth: images of two runs drawn again and again, the references too."""
    runs = [make(tmp_path / str(i), images(i, shift)) for i, shift in ((1, 0.3), (2, 0.6))]
    found = difference(NAME, *runs)
    drawn = []
    for seed in range(10, 210):
        scenes = Statistics.of(images(seed + 1000))
        ours, theirs = (distance(Statistics.of(images(seed * 2 + i, s)), scenes) for i, s in ((0, 0.3), (1, 0.6)))
        drawn.append(ours - theirs)
    assert found.error == pytest.approx(np.std(drawn), rel=0.35)


def test_prompts_are_drawn_together(tmp_path: Path) -> None:
    """The same images but for little noise: far less uncertain than two unpaired runs."""
    first = images(1)
    runs = [make(tmp_path / str(i), first + 0.01 * images(i + 2)) for i in range(2)]
    unpaired = [make(tmp_path / f"u{i}", images(i + 2)) for i in range(2)]
    assert difference(NAME, *runs).error < difference(NAME, *unpaired).error / 10


def _statistics(folder: Path, run: Run) -> None:
    Statistics.of(SCENES).save(folder / "reference.npz", {})
    kept = {NAME: {"reference": str(folder / "reference.npz")}}
    (run.folder / "distances.json").write_text(json.dumps(kept))


def test_references_of_no_prompt_are_read_where_they_are_kept(tmp_path: Path) -> None:
    runs = [make(tmp_path / str(i), images(i), references=None) for i in range(2)]
    with pytest.raises(NotComparableError, match="not known"):
        difference(NAME, *runs)
    for run in runs:
        _statistics(tmp_path, run)
    assert difference(NAME, *runs).error > 0
    (tmp_path / "reference.npz").unlink()
    with pytest.raises(NotComparableError, match="not there any more"):
        difference(NAME, *runs)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda folder: None, "neither its values"),
        (lambda folder: make(folder, images(1), version="2"), "other weights"),
        (lambda folder: make(folder, images(1), references=SCENES + 1), "references are others"),
        (lambda folder: Run.create_or_resume(folder, SPEC, 1, False, {}), "no features"),
    ],
)
def test_what_cannot_be_compared_says_why(tmp_path: Path, other: Callable[[Path], Run | None], said: str) -> None:
    with pytest.raises(NotComparableError, match=said):
        difference(NAME, make(tmp_path / "run", images(1)), other(tmp_path / "other"))
