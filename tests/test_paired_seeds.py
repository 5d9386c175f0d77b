"""The paired difference over several training seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from paired_runs import make_run, spread

from agsm_bench.report.paired_seeds import LINES, difference, main


@pytest.mark.parametrize(("metric", "tag"), LINES)
def test_it_is_the_mean_of_the_runs_own_differences(tmp_path: Path, metric: str, tag: str) -> None:
    prompts = spread(24)
    for name, right in (("base", 0.5), ("one", 0.7), ("two", 0.9)):
        make_run(tmp_path / name, right, trainer=None if name == "base" else "agsm", prompts=prompts)
    base, one, two = (tmp_path / name for name in ("base", "one", "two"))
    alone = [difference([base], [run], metric, tag).value for run in (one, two)]
    together = difference([base, base], [one, two], metric, tag)
    assert together.value == pytest.approx(sum(alone) / 2, abs=1e-12)
    low, high = together.interval()
    assert low <= together.value <= high
    assert difference([base], [base], metric, tag).value == 0
    crossed = difference([two, one], [one, two], metric, tag)
    assert crossed.value == pytest.approx(0, abs=1e-12)
    assert crossed.spread.variance == pytest.approx(2 * (alone[0] - alone[1]) ** 2)


def test_bases_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, right in (("a", 0.5), ("b", 0.7)):
        make_run(tmp_path / name, right, trainer="agsm", prompts=spread(24))
    a, b = (str(tmp_path / name) for name in "ab")
    said = []
    for arguments in ([a, b], [b, "--bases", a]):
        main(arguments)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != ""
    with pytest.raises(SystemExit):
        main([a, b, "--bases", a])
