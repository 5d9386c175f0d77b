"""The held-out denoising error as a metric of a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paired_runs import SPEC

from agsm_bench import plugins
from agsm_bench.diffusion.denoiser import Denoiser
from agsm_bench.diffusion.text import CachedText
from agsm_bench.errors import MissingError
from agsm_bench.metrics import denoising
from agsm_bench.store import Run
from agsm_bench.tokens.soft_tokens import SoftTokens
from agsm_bench.training.validation import GROUP_SIZE, ValidationSet, validate

NAMES = ("err_positive", "err_negative", "gap", "win_rate")
BACKBONES = ("shapes-mmdit", "shapes-unet")


@pytest.fixture(scope="module")
def denoisers() -> dict[str, Denoiser]:
    return {name: plugins.load("backbones", name).load() for name in BACKBONES}


def values(folder: Path, denoiser: Denoiser, tokens: SoftTokens | None) -> dict[str, float]:
    data = plugins.load("backbones", BACKBONES[0]).training_data(0, True)
    with Run.create_or_resume(folder, SPEC, 4, True, {}) as run:
        denoising.write_errors(run, denoiser, tokens, data, lambda *_: None)
        return {name: found.value for name, found in denoising.measure(run, [], lambda *_: None).items()}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_it_is_the_validation_curves_error(tmp_path: Path, denoisers: dict[str, Denoiser], backbone: str) -> None:
    denoiser, found = denoisers[backbone], plugins.load("backbones", backbone)
    tokens = SoftTokens(found.tokens)
    tokens.base.data.fill_(0.3)
    text = CachedText(denoiser.encode_text)
    pairs = ValidationSet.load(denoiser, found.training_data(0, True), text, groups=denoising.GROUPS)
    with tokens.attached(denoiser.network) as attachment:
        expected = validate(denoiser, attachment, pairs)
    measured = values(tmp_path / "tokens", denoiser, tokens)
    assert measured == {f"denoising/{name}": pytest.approx(expected[name], abs=2e-6) for name in NAMES}
    base = values(tmp_path / "base", denoiser, None)
    assert base["denoising/err_positive"] != measured["denoising/err_positive"]
    assert base["denoising/gap"] > 0


def test_metrics_in_closed_form() -> None:
    """Two groups of two: one image's own caption has the less error, and one pair is a false negative."""
    errors = {(0, 500): np.array([[1.0, 3.0], [1.0, 2.0]]), (1, 500): np.array([[1.0, np.nan], [6.0, 4.0]])}
    found = denoising.summarise(errors)
    expected = {"err_positive": 8 / 4, "err_negative": 10 / 3, "gap": 10 / 3 - 2, "win_rate": 3 / 4}
    assert {k: v.value for k, v in found.items()} == {f"denoising/{k}": pytest.approx(v) for k, v in expected.items()}
    assert {(v.n, v.clusters) for v in found.values()} == {(4, 2)}
    assert found["denoising/gap"].low < found["denoising/gap"].high


def test_a_file_that_lacks_lines_counts_as_none(tmp_path: Path, denoisers: dict[str, Denoiser]) -> None:
    values(tmp_path, denoisers["shapes-mmdit"], None)
    path = tmp_path / denoising.FILE
    assert denoising.is_measured(tmp_path)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert not denoising.is_measured(tmp_path)
    assert denoising.measure(Run.open(tmp_path), [], lambda *_: None) == {}


def test_errors_of_another_shape_are_named(tmp_path: Path) -> None:
    (tmp_path / denoising.FILE).write_text('{"group": 0, "timestep": 300, "errors": [[1, 2], [3, 4]]}\n')
    with pytest.raises(MissingError, match="line 1 is damaged"):
        denoising.is_measured(tmp_path)


def test_the_groups_are_as_large_as_the_validation_curves() -> None:
    assert denoising.SIZE == GROUP_SIZE
