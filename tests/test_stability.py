"""Figure 4 from runs whose values are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli
from report_runs import summary, write

from agsm_bench.report.evidence import keep
from agsm_bench.report.points import Point
from agsm_bench.report.runs import find_runs
from agsm_bench.report.stability import Stability, band, load, logged, trainings


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "tables").symlink_to(Path(__file__).parents[1] / "results" / "tables")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(results))
    write("base", summary(0.6))
    for step in (600, 5400):
        for seed in (0, 1):
            data = summary(0.6 + step / 1e5 + seed / 100, "agsm", seed)
            data["run"]["tokens"]["steps"] = step
            data["run"]["identity"] += str(step)
            write(f"agsm-{step}-{seed}", data)
    training("long-agsm", seed=0)


def training(name: str, seed: int) -> Path:
    """A long training of 200 steps so far, validated every 100."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    record = {"trainer": "agsm", "backbone": "shapes-mmdit", "seed": seed, "steps": 10200}
    (folder / "config.json").write_text(json.dumps({"training": record}))
    (folder / "soft_tokens.safetensors").write_bytes(b"tokens")
    records = [
        {"step": n, "loss": (2.0 + seed) / n} | ({"val_gap": 0.1} if n % 100 == 0 else {}) for n in range(1, 201)
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return folder


def panel(figure: Stability, points: list[Point], number: int, series: str) -> list[Point]:
    labels = [figure.y.label, *(each.y.label for each in figure.curves)]
    return [point for point in points if (point.panel, point.series) == (labels[number], series)]


def test_points_are_means_over_seeds_from_the_backbone_on() -> None:
    figure = load()
    points = figure.points(find_runs())
    agsm = [point for point in panel(figure, points, 0, "AGSM") if not point.missing]
    assert [point.x.value for point in agsm] == [0, 600, 5400]
    assert [point.y.value for point in agsm] == pytest.approx([0.6, 0.611, 0.659])
    assert [point.runs for point in agsm] == [1, 2, 2]
    assert all(point.y.low < point.y.number < point.y.high for point in agsm)  # type: ignore[operator]
    softrepa = panel(figure, points, 0, "SoftREPA")
    assert [point.missing for point in softrepa] == [False, True, True, True, True]
    assert "train softrepa" in softrepa[1].command


def test_curves_are_the_same_from_the_log_and_from_what_is_kept() -> None:
    agsm = load().lines[0].points[-1][1].tokens
    before = [logged(folder, "loss") for folder in trainings(agsm)]
    assert [step for step, _ in before[0]] == [50, 100, 150, 200]
    assert logged(Path("runs/long-agsm"), "val_gap") == ((100, 0.1), (200, 0.1))
    keep(Path("runs/long-agsm"), Path("results/runs"))
    Path("runs/long-agsm/config.json").unlink()
    assert [logged(folder, "loss") for folder in trainings(agsm)] == before


def test_a_curve_is_the_mean_over_seeds_with_their_range() -> None:
    training("second", seed=1)
    figure = load()
    points = figure.points([])
    (loss,) = panel(figure, points, 2, "AGSM")
    assert (loss.x.value, loss.y.number, loss.runs, loss.interval) == (200, 1.0, 2, "range over seeds")
    assert (loss.y.low, loss.y.high) == (pytest.approx(2 / 2.5, rel=1e-4), pytest.approx(3 / 2.5, rel=1e-4))
    gap = panel(figure, points, 1, "AGSM")
    assert [(point.x.value, point.y.value, point.y.low) for point in gap] == [(100, 0.1, 0.1), (200, 0.1, 0.1)]
    assert [point.missing for point in panel(figure, points, 2, "SoftREPA")] == [True]


def test_a_band_is_smooth_and_begins_at_one() -> None:
    first, second = (tuple((50 * i, value + i % 2) for i in range(1, 41)) for value in (1.0, 3.0))
    found = band([first, second], 10, relative=True)
    assert [(step, mean) for step, mean, _, _ in found] == [(step, 1.0) for step in (500, 1000, 1500, 2000)]
    assert found[0][2:] == (pytest.approx(1.5 / 2.5), pytest.approx(3.5 / 2.5))
    assert band([], 10) == []
    one_still_runs = band([first, second[:25]], 10, relative=True)
    assert [step for step, *_ in one_still_runs] == [500, 1000]


def test_one_seed_is_one_curve_and_a_damaged_log_is_named(cli: Cli) -> None:
    again = training("reproduce/agsm-shapes-mmdit-steps-10200-0", seed=0)
    assert len(trainings(load().lines[0].points[-1][1].tokens)) == 1
    for folder in (again, Path("runs/long-agsm")):
        (folder / "train.jsonl").write_text('{"step": 1}\n[]\n')
    code, _, err = cli("report", "--figure", 4)
    assert (code, "train.jsonl line 2 is damaged" in err) == (3, True), err
