"""GenEval by task: bars of Table 1's cells, the published ones and those of our backbones each in a panel."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.report.cells import Cells
from agsm_bench.report.drawing import INK, LOOKS, PAIRED, Axis, empty, legend, missing_note, panel_title, sheet, whisker
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.points import Point, Source, Value
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE = f"Bars: means over training seeds; lines: 95% intervals over prompts and seeds. {PAIRED}"
BROAD = 0.8
"""Of the width of a task that its bars take."""


@dataclass(frozen=True)
class Panel:
    """The bars of a backbone."""

    source: Source
    group: str
    rows: Mapping[str, str]
    """Series -> key of the table's row."""


@dataclass(frozen=True)
class Bars:
    title: str
    table: int
    y: Axis
    columns: Mapping[str, str]
    """Key of a column -> what is written below its bars."""
    panels: tuple[Panel, ...]

    @property
    def fill(self) -> str:
        """The command that measures what is missing."""
        return f"agsm-bench reproduce --table {self.table}"

    @property
    def recipes(self) -> list[Recipe]:
        """Of all measured bars."""
        rows = [row for panel in self.panels if panel.source == "measured" for row in panel.rows.values()]
        cells, column = Cells(()), next(iter(self.columns))
        return [cells.measured(self.table, row, column).recipe for row in rows]

    def points(self, runs: Sequence[Run]) -> list[Point]:
        """A point a bar."""
        cells, found = Cells(runs), []
        for panel in self.panels:
            for series, row in panel.rows.items():
                place = (panel.group, panel.source, panel.group, series)
                found += [cells.point(*place, Value("task", x), self.table, row, x) for x in self.columns]
        return found

    def draw(self, points: Sequence[Point], path: Path) -> None:
        """The panels below each other."""
        note = "\n".join(filter(None, [NOTE, missing_note(points, self.fill)]))
        with sheet(path, self.title, 0.9 + 1.75 * len(self.panels), note) as figure:
            grid = list(figure.subplots(len(self.panels), 1, squeeze=False).flat)
            for axes, panel in zip(grid, self.panels, strict=True):
                own = [p for p in points if (p.panel, p.source) == (panel.group, panel.source) and not p.missing]
                axes.set_title(panel_title(panel.group, panel.source))
                self._draw(axes, own)
            legend(figure, grid)

    def _draw(self, axes: Axes, points: Sequence[Point]) -> None:
        axes.set_ylabel(self.y.label)
        if not points:
            empty(axes, self.fill)
            return
        series = list(dict.fromkeys(point.series for point in points))
        width = BROAD / len(series)
        for number, name in enumerate(series):
            own, look = [point for point in points if point.series == name], LOOKS[name]
            shift = (number - (len(series) - 1) / 2) * width
            places = [list(self.columns).index(str(point.x.value)) + shift for point in own]
            heights = [self.y.of(point.y) for point in own]
            form: dict[str, Any] = {"color": look.fill or look.color, "hatch": look.hatch, "edgecolor": "white"}
            axes.bar(places, heights, width, label=name, linewidth=0.5, **form)
            for place, point in zip(places, own, strict=True):
                whisker(axes, place, self.y, point.y, INK)
        axes.set_xticks(range(len(self.columns)), list(self.columns.values()))
        axes.set(ylim=(0, self.y.scale * 1.04), xlim=(-0.5, len(self.columns) - 0.5))
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")


def load() -> Bars:
    """The figure that ships. Raises MissingError: its file is damaged."""
    path = results_dir() / "tables" / "figure_geneval.toml"
    with readable(path):
        data: Mapping[str, Any] = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        y = Axis("", data["label"], data["scale"])
        return Bars(data["title"], data["table"], y, data["columns"], tuple(Panel(**spec) for spec in data["panels"]))
