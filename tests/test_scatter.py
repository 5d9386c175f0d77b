"""Figure 5 from runs whose values are known."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from PIL import Image
from report_runs import summary, write

from agsm_bench.editor import EditorChoice
from agsm_bench.report.recipes import editor_of
from agsm_bench.report.runs import find_runs
from agsm_bench.report.scatter import load_scatter, measure


def run_of(panel: int, group: str, series: str, x: float, y: float, seed: int = 0) -> dict[str, Any]:
    """A summary of the run behind a point."""
    found = load_scatter(5).panels[panel]
    recipe = next(p.recipe for p in found.points if (p.group, p.series) == (group, series))
    data = summary(0.5, recipe.trainer, seed)
    editor = editor_of(recipe)
    data["run"] |= {"benchmark": recipe.benchmark, "backbone": recipe.backbone, "images_per_prompt": 1}
    data["run"]["identity"] += f"{group}{series}"
    if isinstance(editor, EditorChoice):
        settings = {"steps": editor.options.steps, "guidance_scale": editor.options.guidance_scale}
        data["run"] |= settings | {"editing": editor.describe("both" if recipe.trainer else None)}
    if recipe.backbone == "shapes-unet" and not editor:
        data["run"] |= {"steps": 16}
    entry = next(iter(data["metrics"].values()))
    for axis, value in ((found.x, x), (found.y, y)):
        data["metrics"][axis.metric] = {**entry, "value": value, "low": value - 0.01, "high": value + 0.01}
    return data


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "tables").symlink_to(Path(__file__).parents[1] / "results" / "tables")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(results))
    write("base", run_of(1, "FlowEdit", "no tokens", 0.05, 0.5))
    write("agsm-0", run_of(1, "FlowEdit", "AGSM", 0.06, 0.6, 0))
    write("agsm-1", run_of(1, "FlowEdit", "AGSM", 0.08, 0.7, 1))
    write("coco", run_of(0, "MMDiT", "SoftREPA", 1.5, 0.4))


def test_points_are_means_over_seeds_of_their_own_settings() -> None:
    generation, editing = (measure(panel, find_runs()) for panel in load_scatter(5).panels)
    assert [(each.point.group, each.point.series) for each in generation] == [("MMDiT", "SoftREPA")]
    assert (generation[0].x.value, generation[0].y.value) == (1.5, 0.4)
    values = {each.point.series: (each.x.value, each.y.value, each.y.runs) for each in editing}
    assert values == {"no tokens": (0.05, 0.5, 1), "AGSM": (pytest.approx(0.07), pytest.approx(0.65), 2)}


def test_it_has_every_editor_and_both_backbones_with_each_kind_of_tokens() -> None:
    generation, editing = load_scatter(5).panels
    assert len(generation.points) == 2 * 3
    assert len(editing.points) == 7 * 3
    assert {point.recipe.trainer for point in editing.points} == {None, "softrepa", "agsm"}


def test_the_picture_and_its_numbers(cli: Cli) -> None:
    for name in ("five.png", "five.svg", "again.svg"):
        assert cli("report", "--figure", 5, "--out", name)[0] == 0
    with Image.open("five.png") as image:
        assert min(image.size) > 500
    assert Path("five.svg").read_bytes() == Path("again.svg").read_bytes()
    code, out, _ = cli("report", "--figure", 5, "--format", "csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["group"], row["tokens"], row["x"]) for row in rows][:1] == [("MMDiT", "SoftREPA", "1.5")]
    code, out, _ = cli("report", "--figure", 5)
    assert (code, "FlowEdit" in out, "65 (" in out) == (0, True, True), out


def test_without_runs_it_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("report", "--figure", 5, "--out", "five.png")[0] == 0
    assert Path("five.png").stat().st_size > 1000
