"""The shapes world's own measures of images: the encoder's cosine, and the distance from what was asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paired_runs import PROMPTS, make_run, spread
from scipy.linalg import sqrtm

from agsm_bench.frechet import frechet_distance
from agsm_bench.geneval_rules import strict
from agsm_bench.metrics import shapes_frechet
from agsm_bench.metrics.shapes_clip import LPIPS, SCORE
from agsm_bench.metrics.shapes_frechet import Moments, distance_by_cluster
from agsm_bench.planning import samples_of
from agsm_bench.provenance import provenance
from agsm_bench.scoring.runs import How, score_samples
from agsm_bench.scoring.settings import PassSettings
from agsm_bench.shapes.clip import ROWS, ShapesClip, load_clip
from agsm_bench.shapes.detector import detect
from agsm_bench.shapes.reference import reference_scene
from agsm_bench.shapes.render import render
from agsm_bench.shapes.scene import Scene
from agsm_bench.shapes.truth import is_true
from agsm_bench.shapes.vocabulary import COLORS
from agsm_bench.stats import Interval
from agsm_bench.store import Run
from agsm_bench.types import Detection, Sample

Cov = tuple[np.ndarray, np.ndarray]


def test_reference_scenes_are_exactly_what_is_asked() -> None:
    for prompt in PROMPTS:
        scene = reference_scene(prompt.text, prompt.id)
        assert is_true(prompt.text, scene)
        assert strict(truly(scene), prompt.requirement), prompt.text


def test_the_detector_sees_reference_scenes_as_asked() -> None:
    seen = [strict(detect(render(reference_scene(p.text, p.id))), p.requirement) for p in spread(60)]
    assert np.mean(seen) > 0.95


def test_reference_scenes_are_a_pure_function() -> None:
    text = "a photo of three squares"
    scenes = [reference_scene(text, "00007", i) for i in range(60)]
    assert scenes == [reference_scene(text, "00007", i) for i in range(60)]
    assert reference_scene(text, "00008", 0) != scenes[0]
    # colours that nobody asked for are free, object by object
    assert {item.color for scene in scenes for item in scene.objects} == set(COLORS)
    assert len({len({item.color for item in scene.objects}) for scene in scenes}) > 1
    with pytest.raises(ValueError, match="not a caption"):
        reference_scene("a photo of a zebra")


def gaussian(seed: int, rank: int = 6, size: int = 6) -> Cov:
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(size, rank))
    return rng.normal(size=size), factor @ factor.T


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_frechet_distance_of_a_gaussian_to_itself_is_zero(rank: int) -> None:
    assert frechet_distance(*gaussian(0, rank), *gaussian(0, rank)) == pytest.approx(0, abs=1e-10)


def test_frechet_distance_is_fids() -> None:
    (mean_a, cov_a), (mean_b, cov_b) = gaussian(0), gaussian(1)
    expected = np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    assert frechet_distance(mean_a, cov_a, mean_b, cov_b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(mean_b, cov_b, mean_a, cov_a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_in_closed_form() -> None:
    """Along axes: the squared distance of the means plus that of the standard deviations."""
    zero, a, b = np.zeros(3), np.diag([4.0, 1.0, 0.0]), np.diag([1.0, 0.0, 9.0])
    assert frechet_distance(zero, a, zero, b) == pytest.approx(1 + 1 + 9)
    assert frechet_distance(zero, a, zero + 2, a) == pytest.approx(12)


def test_moments_of_weighted_clusters_are_those_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(12, 3)), np.repeat(np.arange(4), 3)
    weights = np.array([2.0, 0.0, 1.0, 1.0])
    repeated = np.concatenate([features[labels == c] for c in (0, 0, 2, 3)])
    mean, covariance = Moments.of(features, labels, 4).gaussian(weights[None])
    np.testing.assert_allclose(mean[0], repeated.mean(axis=0))
    np.testing.assert_allclose(covariance[0], np.cov(repeated.T))


def test_distance_by_cluster_grows_with_a_shift_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(50), 4)
    images, scenes = rng.normal(size=(200, 5)), rng.normal(size=(200, 5))
    near, far = (distance_by_cluster(images + shift, labels, scenes, labels) for shift in (0, 2))
    assert near.high < far.low
    assert far.low < far.value < far.high
    # the sample means are not 0, and the samples' own distance is in both
    assert far.value == pytest.approx(20 + near.value, abs=4)
    assert (far.n, far.clusters) == (200, 50)


def truly(scene: Scene) -> list[Detection]:
    return [Detection(item.shape, item.box, 1.0, item.color) for item in scene.objects]


@pytest.fixture(scope="module")
def clip() -> ShapesClip:
    return load_clip()


def test_features_are_the_same_bits_in_any_company(clip: ShapesClip) -> None:
    pictures = np.stack([render(reference_scene(p.text, p.id)) for p in spread(ROWS + 6)])
    order = np.random.default_rng(0).permutation(len(pictures))
    together = clip.image_features(pictures, filled=True)
    assert (clip.image_features(pictures[order], filled=True) == together[order.copy()]).all()
    assert (clip.image_features(pictures[5:6], filled=True) == together[5]).all()
    texts = [p.text for p in spread(ROWS + 6)]
    assert (clip.text_features(texts[7:8], filled=True) == clip.text_features(texts, filled=True)[7]).all()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Drawn by the renderer: half of one run is another scene than the asked one."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("half", "right")}
    for name, share in (("half", 0.5), ("right", 1.0)):
        make_run(folders[name], share)
    return folders


def scored(
    run: Run, samples: Sequence[Sample], progress: Any = lambda *_: None, *, name: str = SCORE, how: How | None = None
) -> dict[str, Interval]:
    return score_samples(run, samples, [name], progress, how).metrics


def measured(folder: Path, measure: Callable[..., dict[str, Interval]]) -> dict[str, Interval]:
    with Run.reopen(folder, provenance()) as run:
        return measure(run, samples_of(PROMPTS, 2), lambda *_: None)


def test_the_cosine_tells_what_was_asked_from_what_was_not(runs: dict[str, Path]) -> None:
    half, right = (measured(runs[name], scored)[SCORE] for name in ("half", "right"))
    assert right.low > half.high
    assert (right.n, right.clusters, right.unscored) == (48, 24, 0)
    assert -1 <= half.low < half.value < half.high <= 1


def test_scores_do_not_depend_on_which_are_there(runs: dict[str, Path], tmp_path: Path) -> None:
    whole = Run.open(runs["half"])
    measured(runs["half"], scored)
    make_run(tmp_path, 0.5)
    with Run.reopen(tmp_path, provenance()) as run:
        samples = samples_of(spread(24), 2)
        scored(run, samples[30:], how=How(settings=PassSettings(batch_size=5)))
        scored(run, samples)
        assert run.scores() == whole.scores()


def test_images_that_cannot_be_read_are_unscored(tmp_path: Path) -> None:
    make_run(tmp_path, 1.0, prompts=spread(3))
    samples = samples_of(spread(3), 2)
    with Run.reopen(tmp_path, provenance()) as run:
        run.add_image(samples[0], b"no PNG")
        score = scored(run, samples)[SCORE]
        distance = shapes_frechet.measure(run, samples, lambda *_: None)[shapes_frechet.DISTANCE]
        assert run.scores()[samples[0].id][SCORE].reason == "the image: it is no picture"
    assert (score.n, score.unscored) == (distance.n, distance.unscored) == (5, 1)


def test_a_picture_is_no_distance_from_itself_and_nearer_to_its_like(runs: dict[str, Path]) -> None:
    """The two runs share the scenes that are right in the one: they differ in the other half."""
    for base, least in (("half", True), ("right", False)):
        with Run.reopen(runs["half"], provenance()) as run:
            found = scored(run, samples_of(PROMPTS, 2), name=LPIPS, how=How(references=runs[base]))[LPIPS]
        assert (found.value == 0) == least
        assert 0 <= found.value < 4
        assert found.n == 48


def test_the_distance_is_least_for_what_was_asked(runs: dict[str, Path]) -> None:
    half, right = (measured(runs[name], shapes_frechet.measure)[shapes_frechet.DISTANCE] for name in ("half", "right"))
    assert 0 <= right.value < half.value
    assert measured(runs["half"], shapes_frechet.measure)[shapes_frechet.DISTANCE] == half
