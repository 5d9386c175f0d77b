"""Figure 4 from runs whose values are known."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image
from report_runs import summary, write
from typer.testing import CliRunner

from agsm_bench.cli.main import app
from agsm_bench.report.evidence import keep
from agsm_bench.report.figures import load_figure, measure, smoothed
from agsm_bench.report.runs import find_runs


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
    training = Path("runs/long-agsm")
    training.mkdir()
    record = {"trainer": "agsm", "backbone": "shapes-mmdit", "seed": 0, "steps": 10200}
    (training / "config.json").write_text(json.dumps({"training": record}))
    (training / "soft_tokens.safetensors").write_bytes(b"tokens")
    lines = [json.dumps({"step": n, "loss": 2.0 / n}) + "\n" for n in range(1, 201)]
    (training / "train.jsonl").write_text("".join(lines))


def test_points_are_means_over_seeds_from_the_backbone_on() -> None:
    agsm, softrepa = measure(load_figure(4), find_runs())
    assert [step for step, _ in agsm.cells] == [0, 600, 5400]
    assert [cell.value for _, cell in agsm.cells] == pytest.approx([0.6, 0.611, 0.659])
    assert [cell.runs for _, cell in agsm.cells] == [1, 2, 2]
    assert [step for step, _ in softrepa.cells] == [0]


def test_losses_are_the_same_from_the_log_and_from_what_is_kept() -> None:
    before = measure(load_figure(4), [])[0].losses
    assert [step for step, _ in before["long-agsm"]] == [50, 100, 150, 200]
    keep(Path("runs/long-agsm"), Path("results/runs"))
    Path("runs/long-agsm/config.json").unlink()
    assert measure(load_figure(4), [])[0].losses == before


def test_the_picture_and_its_numbers() -> None:
    drawn = CliRunner().invoke(app, ["report", "--figure", "4", "--out", "four.png"])
    assert drawn.exit_code == 0, drawn.output
    assert Image.open("four.png").size[0] > 1000
    table = CliRunner().invoke(app, ["report", "--figure", "4"]).output
    assert "5400" in table
    assert "65.9" in table
    rows = list(
        csv.DictReader(io.StringIO(CliRunner().invoke(app, ["report", "--figure", "4", "--format", "csv"]).output))
    )
    assert {row["line"] for row in rows} == {"AGSM", "SoftREPA"}
    assert sum(row["quantity"] == "loss of long-agsm" for row in rows) == 4


def test_the_drawn_loss_is_smooth_and_begins_at_one() -> None:
    first, second = (tuple((50 * i, value + i % 2) for i in range(1, 41)) for value in (1.0, 3.0))
    mean, *seeds = smoothed([first, second])
    assert mean == tuple((step, 1.0) for step in (500, 1000, 1500, 2000))
    assert [row[0][1] for row in seeds] == [pytest.approx(1.5 / 2.5), pytest.approx(3.5 / 2.5)]
    assert smoothed([]) == smoothed([()]) == []
    mean, *seeds = smoothed([first, second[:25]])  # one still runs
    assert [step for step, _ in mean] == [500, 1000]
    assert [len(row) for row in seeds] == [4, 3]
    assert mean[0][1] == 1.0


def test_one_seed_is_one_curve_and_a_damaged_log_is_named() -> None:
    again = Path("runs/reproduce/agsm-shapes-mmdit-steps-10200-0")
    again.mkdir(parents=True)
    for name in ("config.json", "train.jsonl"):
        (again / name).write_bytes((Path("runs/long-agsm") / name).read_bytes())
    assert len(measure(load_figure(4), [])[0].losses) == 1
    for folder in (again, Path("runs/long-agsm")):
        (folder / "train.jsonl").write_text('{"step": 1}\n[]\n')
    result = CliRunner().invoke(app, ["report", "--figure", "4"])
    assert "train.jsonl line 2 is damaged" in str(result.exception)


def test_svg_is_the_same_every_time() -> None:
    pictures = []
    for name in ("a.svg", "b.svg"):
        CliRunner().invoke(app, ["report", "--figure", "4", "--out", name])
        pictures.append(Path(name).read_bytes())
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--figure", "6"], "No runs make Figure 6"),
        (["--figure", "4", "--table", "1"], "either --table N or --figure N"),
        ([], "either --table N or --figure N"),
        (["--figure", "4", "--out", "four.doc"], "no kind of picture"),
        (["--figure", "4", "--format", "json"], "no json form"),
    ],
)
def test_wrong_calls(arguments: list[str], word: str) -> None:
    result = CliRunner().invoke(app, ["report", *arguments])
    assert result.exit_code != 0
    assert word in str(result.exception)
