"""Figure 4 from our runs: alignment and training loss over the steps of long trainings.

`results/tables/figure_04.toml` names the lines; a point is filled as a table's row is, by the runs of its settings.
The curves come from the training's own log, or from what is kept of it (`agsm_bench.report.evidence`).
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from agsm_bench.folders import read_json
from agsm_bench.report.commands import commands
from agsm_bench.report.drawing import LOOKS, Axis, empty, legend, missing_note, sheet
from agsm_bench.report.evidence import AGAIN, CURVE, curve_of
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.fills import recipe_of
from agsm_bench.report.points import Point, Source, Value, measured_point
from agsm_bench.report.recipes import Recipe, Training, training_differences
from agsm_bench.report.runs import REPRODUCED, Run, combine
from agsm_bench.report.tables import chosen
from agsm_bench.training import log
from agsm_bench.training.run import CONFIG_FILE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE = (
    "Left: means over training seeds with 95% intervals over prompts and seeds; step 0 is the backbone alone. "
    "Others: means over training seeds with their range."
)
FEWER = "Hollow: fewer seeds than elsewhere on the line. To add them:"
MARKERS = 12
"""Markers of a curve, at most."""
Curve = tuple[tuple[int, float], ...]
"""(step, value)."""


@dataclass(frozen=True)
class Line:
    """A training whose tokens are evaluated along the way."""

    label: str
    points: tuple[tuple[int, Recipe], ...]
    """Steps from 0 (the backbone alone) and what is evaluated there."""


@dataclass(frozen=True)
class CurvePanel:
    """What the logs of the longest trainings say."""

    y: Axis
    """Its metric is a column of the log."""
    smooth: int = 1
    """Lines of the log behind a point: of a loss a single one hangs on the timesteps that it happened to draw."""
    relative: bool = False
    """To the first point of the mean: objectives have losses of their own."""


@dataclass(frozen=True)
class Stability:
    title: str
    backbone: str
    y: Axis
    lines: tuple[Line, ...]
    curves: tuple[CurvePanel, ...]
    fill: str = "agsm-bench reproduce --figure 4"

    @property
    def recipes(self) -> list[Recipe]:
        """Of all points of the first panel."""
        return [recipe for line in self.lines for _, recipe in line.points]

    def points(self, runs: Sequence[Run]) -> list[Point]:
        """Those of the evaluations, then those of the logs."""
        points = [self._evaluated(line, *each, runs) for line in self.lines for each in line.points]
        folders = [(line, trainings(line.points[-1][1].tokens)) for line in self.lines]
        curves = [self._logged(panel, line, found) for panel in self.curves for line, found in folders]
        return [*points, *(point for curve in curves for point in curve)]

    def draw(self, points: Sequence[Point], path: Path) -> None:
        """A panel a measure."""
        evaluated = [point for point in points if point.panel == self.y.label]
        fewer = f"{FEWER} {self.fill}" if _fewer(evaluated) else ""
        note = "\n".join(filter(None, [NOTE, fewer, missing_note(points, self.fill)]))
        with sheet(path, self.title, 3.2, note) as figure:
            panels = [self.y, *(panel.y for panel in self.curves)]
            grid = figure.subplots(1, len(panels))
            for axes, axis in zip(grid, panels, strict=True):
                own = [point for point in points if point.panel == axis.label and not point.missing]
                _draw(axes, axis, own, self.fill)
            legend(figure, grid)

    def _evaluated(self, line: Line, step: int, recipe: Recipe, runs: Sequence[Run]) -> Point:
        cells = [run.cells[self.y.metric] for run in chosen(recipe, runs) if self.y.metric in run.cells]
        cell = combine(self.y.metric, cells) if cells else None
        x = Value("step", step)
        return measured_point(self.y.label, self.backbone, line.label, x, self.y.metric, cell, recipe)

    def _logged(self, panel: CurvePanel, line: Line, folders: Sequence[Path]) -> list[Point]:
        curves = [curve for folder in folders if (curve := logged(folder, panel.y.metric))]
        place: tuple[str, Source, str, str] = (panel.y.label, "measured", self.backbone, line.label)
        if not curves:
            asked = commands(line.points[-1][1])
            return [Point(*place, Value("step"), Value(panel.y.metric), command=asked)]
        return [
            Point(*place, Value("step", step), Value(panel.y.metric, *values), "range over seeds", len(curves))
            for step, *values in band(curves, panel.smooth, panel.relative)
        ]


def load() -> Stability:
    """The figure that ships. Raises MissingError: its file is damaged."""
    path = results_dir() / "tables" / "figure_04.toml"
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        lines = tuple(_line(spec, data) for spec in data["lines"])
        curves = [CurvePanel(Axis(**spec.pop("y")), **spec) for spec in data["curves"]]
        return Stability(data["title"], data["base"]["backbone"], Axis(**data["y"]), lines, tuple(curves))


def band(curves: Sequence[Curve], smooth: int = 1, relative: bool = False) -> list[tuple[int, float, float, float]]:
    """(step, mean, lowest, highest) over the seeds' curves, each of means over blocks of `smooth` points.

    Args:
        curves: one a seed. The band ends with the shortest of them: one may still run.
        smooth: points of a block, whose step is its last one's.
        relative: whether to divide by the first mean.
    """
    rows = [[curve[start : start + smooth] for start in range(0, len(curve), smooth)] for curve in curves]
    seeds = [[(block[-1][0], fmean(value for _, value in block)) for block in row] for row in rows]
    found = []
    for places in zip(*seeds, strict=False):
        if len({step for step, _ in places}) > 1:
            break  # the last block of one that still runs is not full
        values = [value for _, value in places]
        found.append((places[0][0], fmean(values), min(values), max(values)))
    start = found[0][1] if relative and found else 1.0
    return [(step, mean / start, low / start, high / start) for step, mean, low, high in found]


def trainings(wanted: Training | None) -> list[Path]:
    """The folders of a training, one a seed: your own first, then those that ship."""
    roots = (Path("runs"), REPRODUCED, results_dir() / "runs")
    folders = [path.parent for root in roots for path in sorted(root.glob(f"*/{CONFIG_FILE}"))]
    found = {seed: folder for folder in reversed(folders) if wanted and (seed := _seed(wanted, folder)) is not None}
    return [found[seed] for seed in sorted(found)]


def logged(folder: Path, column: str) -> Curve:
    """A column of a training's log, in means over blocks of steps; steps without a value are left out."""
    kept = (folder / CURVE).is_file()
    path = folder / (CURVE if kept else log.LOG_FILE)
    with readable(path, AGAIN if kept else f"Delete {folder} to train again."):
        text = path.read_text(encoding="utf-8") if kept else curve_of(list(log.read(path)))
        rows = list(csv.DictReader(io.StringIO(text)))
        return tuple((int(row["step"]), float(row[column])) for row in rows if row.get(column))


def _draw(axes: Axes, axis: Axis, points: Sequence[Point], fill: str) -> None:
    axes.set_title(axis.label)
    axes.set_xlabel("training step")
    if not points:
        empty(axes, fill)
        return
    for name in dict.fromkeys(point.series for point in points):
        own, look = [point for point in points if point.series == name], LOOKS[name]
        steps, values, low, high = zip(*((p.x.number, axis.of(p.y), *(axis.ends(p.y) or ())) for p in own), strict=True)
        every = -(-len(own) // MARKERS)
        axes.plot(steps, values, look.dash, color=look.color, marker=look.marker, markevery=every, label=name, zorder=3)
        axes.fill_between(steps, low, high, color=look.color, alpha=0.15, linewidth=0)
        for edge in (low, high):
            axes.plot(steps, edge, look.dash, color=look.color, linewidth=0.5)
        for point in _fewer(own):
            axes.plot(
                point.x.number, axis.of(point.y), look.marker, color=look.color, markerfacecolor="white", zorder=4
            )
    axes.xaxis.set_major_formatter(lambda step, _: f"{step / 1000:g}k" if step else "0")


def _fewer(points: Sequence[Point]) -> list[Point]:
    """Those of trained tokens with fewer seeds than another one of their series."""
    most = {point.series: max(p.runs for p in points if p.series == point.series) for point in points}
    return [point for point in points if point.x.value and not point.missing and point.runs < most[point.series]]


def _line(spec: Mapping[str, Any], data: Mapping[str, Any]) -> Line:
    evaluation, benchmark = data.get("evaluation", {}), data["benchmark"]
    points = [(0, recipe_of({**data["base"], "evaluation": evaluation}, benchmark))]
    for steps in data["steps"]:
        settings = {"options": spec.get("options", {}) | {"steps": steps}, "evaluation": evaluation}
        if not isinstance(steps, int):
            raise ValueError(f"steps = {steps!r}")
        points.append((steps, recipe_of({**spec, **settings}, benchmark)))
    return Line(spec["label"], tuple(points))


def _seed(training: Training, folder: Path) -> int | None:
    """The seed of a folder's training; None where it is another training than asked."""
    path, fix = folder / CONFIG_FILE, f"Delete {folder} to train again."
    with readable(path, fix):
        record = read_json(path, fix).get("training", {})
        made_by = (record.get("trainer"), record.get("backbone"))
        if made_by != (training.trainer, training.backbone) or training_differences(training, record):
            return None
        return int(record.get("seed", 0))
