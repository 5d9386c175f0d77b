"""Figure 5: two measures against each other, a point for each backbone or editor with each kind of soft tokens."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.errors import UserError
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.fills import recipe_of
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Cell, Run, combine
from agsm_bench.report.tables import chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS = (5,)
LOOKS = (("#333333", "o"), ("#D55E00", "s"), ("#0072B2", "^"))
"""Colour and marker of each series, Okabe and Ito's: neither carries the meaning alone."""


@dataclass(frozen=True)
class Axis:
    """What a direction shows."""

    metric: str
    label: str
    scale: float = 1.0
    """Value x this is drawn."""


@dataclass(frozen=True)
class Point:
    """One setting."""

    group: str
    """Of the backbone or editor."""
    series: str
    """Of the soft tokens."""
    recipe: Recipe


@dataclass(frozen=True)
class Panel:
    title: str
    x: Axis
    y: Axis
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Scatter:
    number: int
    title: str
    panels: tuple[Panel, ...]

    @property
    def recipes(self) -> list[Recipe]:
        """Of all points."""
        return [point.recipe for panel in self.panels for point in panel.points]


@dataclass(frozen=True)
class Measured:
    """A point with what the runs say."""

    point: Point
    x: Cell
    y: Cell


def load_scatter(number: int) -> Scatter:
    """A figure that ships.

    Raises:
        UserError: no runs make it.
        MissingError: its file is damaged.
    """
    if number not in NUMBERS:
        raise UserError(f"Figure {number} is no scatter of runs.", f"Known: {', '.join(map(str, NUMBERS))}.")
    path = results_dir() / "tables" / f"figure_{number:02d}.toml"
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        return Scatter(number, data["title"], tuple(_panel(spec, data["series"]) for spec in data["panels"]))


def measure(panel: Panel, runs: Sequence[Run]) -> list[Measured]:
    """The points whose runs are there, means over their seeds."""
    found = []
    for point in panel.points:
        cells = [run.cells for run in chosen(point.recipe, runs)]
        both = [row for row in cells if panel.x.metric in row and panel.y.metric in row]
        if both:
            x, y = (combine(axis.metric, [row[axis.metric] for row in both]) for axis in (panel.x, panel.y))
            found.append(Measured(point, x, y))
    return found


def to_csv(scatter: Scatter, runs: Sequence[Run]) -> str:
    """Every point, one a line, with 95% intervals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("x", "x_low", "x_high", "y", "y_low", "y_high")
    writer.writerow(["panel", "group", "tokens", "x_metric", "y_metric", *names, "runs"])
    for panel in scatter.panels:
        for each in measure(panel, runs):
            values = [getattr(cell, name) for cell in (each.x, each.y) for name in ("value", "low", "high")]
            metrics = panel.x.metric, panel.y.metric
            writer.writerow([panel.title, each.point.group, each.point.series, *metrics, *values, each.y.runs])
    return text.getvalue()


def draw(scatter: Scatter, runs: Sequence[Run], path: Path) -> None:
    """The panels side by side, by the suffix of `path` as PNG, SVG or PDF; the same bytes for the same runs."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({"svg.hashsalt": "agsm-bench", "font.size": 10}):
        canvas = Canvas(figsize=(5.2 * len(scatter.panels), 4.4), layout="constrained")
        for axes, panel in zip(canvas.subplots(1, len(scatter.panels), squeeze=False)[0], scatter.panels, strict=True):
            _draw(axes, panel, measure(panel, runs))
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
        canvas.savefig(path, dpi=150, metadata=metadata)


def _draw(axes: Axes, panel: Panel, measured: Sequence[Measured]) -> None:
    """Groups are joined by a line and named at their first point; bars are 95% intervals."""
    series = list(dict.fromkeys(point.series for point in panel.points))
    for number, group in enumerate(dict.fromkeys(each.point.group for each in measured)):
        own = [each for each in measured if each.point.group == group]
        places = [(each.x.value * panel.x.scale, each.y.value * panel.y.scale) for each in own]
        axes.plot(*zip(*places, strict=True), color="#bbbbbb", linewidth=0.8, zorder=1)
        # two ways of one method often lie together: one name below the point, the next one above
        beside = (5, 5 if number % 2 else -11)
        axes.annotate(group, places[0], xytext=beside, textcoords="offset points", fontsize=8, color="#555555")
    for name, (color, marker) in zip(series, LOOKS[: len(series)], strict=True):
        own = [each for each in measured if each.point.series == name]
        if own:
            x, y = ([each.x.value * panel.x.scale for each in own], [each.y.value * panel.y.scale for each in own])
            up, across = _bars([each.y for each in own], panel.y.scale), _bars([each.x for each in own], panel.x.scale)
            axes.errorbar(x, y, up, across, fmt=marker, color=color, label=name, zorder=2, elinewidth=0.6)
    axes.set_title(f"{panel.title}: better is to the top left", fontsize=10)
    axes.set_xlabel(f"{panel.x.label} ↓")
    axes.set_ylabel(f"{panel.y.label} ↑")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if measured:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "not measured yet", transform=axes.transAxes, ha="center")


def _bars(cells: Sequence[Cell], scale: float) -> list[list[float]]:
    below = [max(0.0, cell.value - cell.low) * scale for cell in cells]
    return [below, [max(0.0, cell.high - cell.value) * scale for cell in cells]]


def _panel(spec: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> Panel:
    points = [
        Point(group["label"], tokens["label"], recipe_of({**group, **tokens}, spec["benchmark"]))
        for group in spec["groups"]
        for tokens in series
    ]
    return Panel(spec["title"], Axis(**spec["x"]), Axis(**spec["y"]), tuple(points))
