"""The paired difference over several training seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from paired_runs import make_run, spread

from agsm_bench import plugins
from agsm_bench.report.paired_seeds import LINES, OTHERS, difference, main
from agsm_bench.store import Run
from agsm_bench.types import RunSpec, Sample, Score


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


def test_benchmarks_that_edit_have_metrics_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shares in points, the rest as it is."""
    prompts = plugins.load("benchmarks", "pie_bench").prompts("shapes")[:6]
    samples = [Sample(prompt, 0) for prompt in prompts]
    spec = RunSpec("pie_bench", "shapes", "shapes-unet", "w" * 64, 2.0, 4, 24, 0, 1, editing={"editor": "pnp"})
    for name, share, decibels in (("a", 0.0, 30.0), ("b", 0.5, 30.5)):
        with Run.create_or_resume(tmp_path / name, spec, len(samples), True, {}) as run:
            for number, sample in enumerate(samples):
                run.add_image(sample, b"a picture")
                success = float(number < share * len(samples))
                values = {"pie_bench/success": success, "pie_bench/kept": 0.0, "psnr/unedited": decibels}
                values["shapes_clip/lpips-unedited"] = 0.25
                run.add_scores([Score(sample.id, metric, value) for metric, value in values.items()])
    main([str(tmp_path / "a"), str(tmp_path / "b")])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == list(OTHERS["pie_bench"])
    assert said[0].split()[3] == "+50.0"
    assert said[3].endswith("+0.5000 (+0.5000 to +0.5000)")
