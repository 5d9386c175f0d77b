"""The regression gate on this package: it sees a broken objective, and not another training seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Cli

from agsm_bench import smoke
from agsm_bench.baseline import read_side
from agsm_bench.metrics import denoising
from agsm_bench.training import guided

GROUPS = denoising.GROUPS
"""As it is when nothing patches it: read before the tests' fixtures run."""


@pytest.fixture(autouse=True)
def _whole_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The held-out pairs of the baseline, not the few of other tests."""
    monkeypatch.setattr(denoising, "GROUPS", GROUPS)


def test_the_baseline_is_of_this_smoke() -> None:
    base = read_side(smoke.baseline_file())
    options = base.trainings[0]["tokens"]  # type: ignore[index]
    assert base.gate == {"denoising/gap": 0.0, "geneval/mean": 0.0}
    assert base.seeds >= 5
    assert (base.spec.backbone, len(base.samples)) == (smoke.BACKBONE, smoke.PROMPTS)
    assert (options["steps"], options["learning_rate"]) == (smoke.STEPS, smoke.LEARNING_RATE)
    assert options["objective"]["gamma_positive"] == smoke.GAMMA_POSITIVE
    assert len(base.columns["denoising/gap"].units) == GROUPS


def test_an_objective_of_the_wrong_sign_fails(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is guided away from the matched caption, not towards it; nothing crashes, only the numbers tell."""
    right = guided.plackett_luce
    monkeypatch.setattr(guided, "plackett_luce", lambda predictions, reward: -right(predictions, reward))
    code, said, _ = cli("smoke", "--folder", tmp_path / "smoke")
    assert code == 1
    assert said.startswith("REGRESSION")
    assert "denoising/gap" in said.splitlines()[0]
    code, _, error = cli("smoke", "--folder", tmp_path / "smoke")
    assert (code, "holds an earlier smoke" in error) == (2, True)


@pytest.mark.slow  # `nox -s tests` runs the smoke itself, with a seed that the baseline does not have
def test_another_training_seed_passes(cli: Cli) -> None:
    code, said, _ = cli("smoke", "--seed", 200)
    assert code == 0, said
    assert said.startswith("No regression in 2 tested metrics")
