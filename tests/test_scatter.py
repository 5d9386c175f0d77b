"""Figure 5 from runs whose values are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_runs import summary, write

from agsm_bench.editor import EditorChoice
from agsm_bench.report.points import Point, Value
from agsm_bench.report.recipes import editor_of
from agsm_bench.report.runs import find_runs
from agsm_bench.report.scatter import load, with_front
from agsm_bench.report.tables import load_paper


def run_of(panel: int, group: str, series: str, x: float, y: float, seed: int = 0) -> dict[str, Any]:
    """A summary of the run behind a point."""
    found = [each for each in load().panels if each.source == "measured"][panel]
    recipe = next(each.recipe for each in found.settings if (each.group, each.series) == (group, series))
    assert recipe is not None
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
    for name in ("tables", "paper"):
        (results / name).symlink_to(Path(__file__).parents[1] / "results" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGSM_BENCH_RESULTS", str(results))
    write("base", run_of(1, "FlowEdit", "no tokens", 0.05, 0.5))
    write("agsm-0", run_of(1, "FlowEdit", "AGSM", 0.06, 0.6, 0))
    write("agsm-1", run_of(1, "FlowEdit", "AGSM", 0.08, 0.7, 1))
    write("coco", run_of(0, "MMDiT", "SoftREPA", 1.5, 0.4))


def measured(panel: str) -> list[Point]:
    return [point for point in load().points(find_runs()) if point.panel.startswith(panel) and not point.missing]


def at(x: float | None, y: float | None) -> Point:
    return Point("", "measured", "", "", Value("x", x), Value("y", y))


def test_points_are_means_over_seeds_of_their_own_settings() -> None:
    (generation,) = [point for point in measured("Generation") if point.source == "measured"]
    assert (generation.group, generation.series) == ("MMDiT", "SoftREPA")
    assert (generation.x.value, generation.y.value) == (1.5, 0.4)
    editing = [point for point in measured("Editing") if point.source == "measured"]
    values = {point.series: (point.x.value, point.y.value, point.runs) for point in editing}
    assert values == {"no tokens": (0.05, 0.5, 1), "AGSM": (pytest.approx(0.07), pytest.approx(0.65), 2)}


def test_it_has_every_editor_and_both_backbones_with_each_kind_of_tokens() -> None:
    generation, editing = (panel for panel in load().panels if panel.source == "measured")
    assert len(generation.settings) == 2 * 3
    assert len(editing.settings) == 7 * 3
    assert {each.recipe.trainer for each in editing.settings if each.recipe} == {None, "softrepa", "agsm"}


def test_published_points_are_all_rows_of_tables_8_and_10_and_softrepa_of_table_2() -> None:
    points = [point for point in load().points([]) if point.source == "published"]
    for panel, table, x, y in (("Gen", 8, "fid", "image_reward"), ("Edit", 10, "lpips_whole", "clip_whole")):
        found = {(p.x.number, p.y.number) for p in points if p.panel.startswith(panel)}
        rows = load_paper(table).sections[0].rows
        extra = [row for row in load_paper(2).sections[0].rows if row.key.endswith("softrepa")]
        rows += tuple(extra if table == 10 else ())
        assert found == {(float(row.values[x]), float(row.values[y])) for row in rows}
        assert all(p.y.low is None and not p.runs for p in points)


def test_the_front_is_of_points_that_no_other_beats_in_both_directions() -> None:
    points = [at(1, 1), at(2, 3), at(2, 2), at(3, 3), at(4, 4), at(1, 1), at(None, None)]
    assert [point.front for point in with_front(points)] == [True, True, False, False, True, True, False]
    assert [point.front for point in with_front(list(reversed(points)))][::-1] == [
        *(True, True, False, False, True, True, False)
    ]


def test_a_missing_point_says_what_measures_it() -> None:
    missing = [point for point in load().points(find_runs()) if point.missing]
    assert len(missing) == 5 + 19
    pnp = next(p for p in missing if (p.group, p.series) == ("PnP, ddim", "AGSM"))
    assert "agsm-bench eval pie_bench" in pnp.command
    assert "--editor pnp --inversion ddim" in pnp.command
