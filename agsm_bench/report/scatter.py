"""Figure 5: two measures against each other, a point for each backbone or editor with each kind of soft tokens.

Published and measured points are of other pictures and other measures, so each has panels of its own. A front is of
the points that no other of the panel beats in both directions.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.report.commands import commands
from agsm_bench.report.drawing import LOOKS, PAIRED, Axis, empty, legend, missing_note, panel_title, sheet
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.fills import recipe_of
from agsm_bench.report.labels import Place, annotate
from agsm_bench.report.points import Point, Printed, Source, Value, measured_value
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Run, combine
from agsm_bench.report.tables import chosen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE = (
    "Better is to the top left. Filled: on the front (grey), beaten by no other point in both directions; hollow: not. "
    "Thin lines join one backbone or editor. Bars: 95% intervals over prompts, and over training seeds where there are "
    f"several. {PAIRED}"
)


@dataclass(frozen=True)
class Setting:
    """A point, and where its values come from."""

    group: str
    series: str
    recipe: Recipe | None = None
    """Of a measured point."""
    printed: tuple[int, str] | None = None
    """Of a published one: a table and the key of its row."""


@dataclass(frozen=True)
class Panel:
    """A plot: smaller is better along x, larger along y."""

    title: str
    source: Source
    x: Axis
    y: Axis
    settings: tuple[Setting, ...]


@dataclass(frozen=True)
class Scatter:
    title: str
    panels: tuple[Panel, ...]
    fill: str = "agsm-bench reproduce --figure 5"

    @property
    def recipes(self) -> list[Recipe]:
        """Of all measured points."""
        return [each.recipe for panel in self.panels for each in panel.settings if each.recipe]

    def points(self, runs: Sequence[Run]) -> list[Point]:
        """Those of all panels; the values of measured ones are means over their seeds."""
        return [point for panel in self.panels for point in with_front(_points(panel, runs))]

    def draw(self, points: Sequence[Point], path: Path) -> None:
        """The published panels above the measured ones."""
        columns = len({panel.title for panel in self.panels})
        note = "\n".join(filter(None, [NOTE, missing_note(points, self.fill)]))
        with sheet(path, self.title, 6.8, note) as figure:
            grid = figure.subplots(len(self.panels) // columns, columns, squeeze=False).flat
            pairs = list(zip(grid, self.panels, strict=True))
            own = {
                panel: [p for p in points if (p.panel, p.source) == (panel.title, panel.source) and not p.missing]
                for panel in self.panels
            }
            for axes, panel in pairs:
                _draw(axes, panel, own[panel], self.fill)
            legend(figure, [axes for axes, _ in pairs])
            figure.draw_without_rendering()
            for axes, panel in pairs:
                _name(axes, panel, own[panel])


def load() -> Scatter:
    """The figure that ships. Raises MissingError: its file is damaged."""
    path = results_dir() / "tables" / "figure_05.toml"
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        published = [_published(spec) for spec in data["published"]]
        measured = [_measured(spec, data["series"]) for spec in data["measured"]]
        return Scatter(data["title"], (*published, *measured))


def with_front(points: Sequence[Point]) -> list[Point]:
    """The points, each with whether it is on the front of them all."""
    return [replace(point, front=_on_front(point, points)) for point in points]


def _on_front(point: Point, points: Sequence[Point]) -> bool:
    if point.missing:
        return False
    x, y = _place(point)
    others = [_place(other) for other in points if not other.missing]
    return not any(a <= x and b >= y and (a, b) != (x, y) for a, b in others)


def _place(point: Point) -> Place:
    return point.x.number, point.y.number


def _points(panel: Panel, runs: Sequence[Run]) -> list[Point]:
    return [
        _of_runs(panel, each, each.recipe, runs) if each.recipe else _of_paper(panel, each) for each in panel.settings
    ]


def _of_paper(panel: Panel, setting: Setting) -> Point:
    assert setting.printed is not None
    x, y = (Value(axis.metric, Printed(*setting.printed, axis.metric).value) for axis in (panel.x, panel.y))
    return Point(panel.title, panel.source, setting.group, setting.series, x, y)


def _of_runs(panel: Panel, setting: Setting, recipe: Recipe, runs: Sequence[Run]) -> Point:
    rows = [run.cells for run in chosen(recipe, runs)]
    both = [row for row in rows if panel.x.metric in row and panel.y.metric in row]
    point = Point(
        panel.title, panel.source, setting.group, setting.series, Value(panel.x.metric), Value(panel.y.metric)
    )
    if not both:
        return replace(point, command=commands(recipe))
    x, y = (combine(axis.metric, [row[axis.metric] for row in both]) for axis in (panel.x, panel.y))
    values = measured_value(panel.x.metric, x), measured_value(panel.y.metric, y)
    return replace(point, x=values[0], y=values[1], interval=y.interval, runs=y.runs, images=y.n)


def _draw(axes: Axes, panel: Panel, points: Sequence[Point], fill: str) -> None:
    axes.set_title(panel_title(panel.title, panel.source))
    axes.set_xlabel(f"{panel.x.label} ↓")
    axes.set_ylabel(f"{panel.y.label} ↑")
    axes.margins(0.12)
    if not points:
        empty(axes, fill)
        return
    for group in dict.fromkeys(point.group for point in points):
        own = [_drawn(panel, point) for point in points if point.group == group]
        axes.plot(*zip(*own, strict=True), color="#aaaaaa", linewidth=0.6, zorder=1)
    for point in points:
        _mark(axes, panel, point)
    for name in dict.fromkeys(point.series for point in points):
        axes.plot([], [], LOOKS[name].marker, color=LOOKS[name].color, label=name)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.plot(*zip(*_stairs(axes, panel, points), strict=True), color="#bbbbbb", linewidth=2, zorder=0)
    axes.set(xlim=limits[0], ylim=limits[1])


def _mark(axes: Axes, panel: Panel, point: Point) -> None:
    look, (x, y) = LOOKS[point.series], _drawn(panel, point)
    for start, end in _bars(panel, point):
        axes.plot([start[0], end[0]], [start[1], end[1]], color=look.color, linewidth=0.6, zorder=2)
    face = look.color if point.front else "white"
    axes.plot(x, y, look.marker, markerfacecolor=face, markeredgecolor=look.color, zorder=3)


def _stairs(axes: Axes, panel: Panel, points: Sequence[Point]) -> list[Place]:
    """The corners of the front: from the bottom up to its first point, and from its last one to the right."""
    front = sorted(_drawn(panel, point) for point in points if point.front)
    steps = [corner for (_, low), (x, high) in pairwise(front) for corner in ((x, low), (x, high))]
    return [(front[0][0], axes.get_ylim()[0]), front[0], *steps, (axes.get_xlim()[1], front[-1][1])]


def _name(axes: Axes, panel: Panel, points: Sequence[Point]) -> None:
    """The groups, each at its first point."""
    if points:
        names = {point.group: _drawn(panel, point) for point in reversed(points)}
        lines = [*pairwise(_stairs(axes, panel, points)), *(bar for point in points for bar in _bars(panel, point))]
        annotate(axes, dict(reversed(names.items())), [_drawn(panel, point) for point in points], lines)


def _drawn(panel: Panel, point: Point) -> Place:
    return panel.x.of(point.x), panel.y.of(point.y)


def _bars(panel: Panel, point: Point) -> list[tuple[Place, Place]]:
    """Its intervals, across and up; none where it has none."""
    x, y = _drawn(panel, point)
    across, up = panel.x.ends(point.x), panel.y.ends(point.y)
    return [((across[0], y), (across[1], y)), ((x, up[0]), (x, up[1]))] if across and up else []


def _published(spec: Mapping[str, Any]) -> Panel:
    settings = [
        Setting(group["label"], series, printed=(int(table), row))
        for group in spec["groups"]
        for series, (table, row) in group["rows"].items()
    ]
    return Panel(spec["title"], "published", Axis(**spec["x"]), Axis(**spec["y"]), tuple(settings))


def _measured(spec: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> Panel:
    settings = [
        Setting(group["label"], tokens["label"], recipe_of({**group, **tokens}, spec["benchmark"]))
        for group in spec["groups"]
        for tokens in series
    ]
    return Panel(spec["title"], "measured", Axis(**spec["x"]), Axis(**spec["y"]), tuple(settings))
