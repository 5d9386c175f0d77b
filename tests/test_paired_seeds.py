"""The paired difference over several training seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from paired_runs import make_run, spread

from agsm_bench.report.paired_seeds import LINES, difference


@pytest.mark.parametrize(("metric", "tag"), LINES)
def test_it_is_the_mean_of_the_runs_own_differences(tmp_path: Path, metric: str, tag: str) -> None:
    prompts = spread(24)
    for name, right in (("base", 0.5), ("one", 0.7), ("two", 0.9)):
        make_run(tmp_path / name, right, trainer=None if name == "base" else "agsm", prompts=prompts)
    base, one, two = (tmp_path / name for name in ("base", "one", "two"))
    alone = [difference(base, [run], metric, tag).value for run in (one, two)]
    together = difference(base, [one, two], metric, tag)
    assert together.value == pytest.approx(sum(alone) / 2, abs=1e-12)
    low, high = together.interval()
    assert low <= together.value <= high
    assert difference(base, [base], metric, tag).value == 0
