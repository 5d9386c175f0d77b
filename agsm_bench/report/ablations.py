"""The paper's ablations over a setting of AGSM: a column of panels a setting, a line a measure.

All values are cells of tables. Those of the backbone alone are a level line for comparison.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agsm_bench.report.cells import Cells
from agsm_bench.report.drawing import LOOKS, PAIRED, Axis, empty, legend, missing_note, sheet, whisker
from agsm_bench.report.files import checked, readable, results_dir
from agsm_bench.report.points import Point, Source, Value
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOTE = (
    "Published: on photographs, without intervals. Measured: on shapes, means over training seeds; bars and bands are "
    f"95% intervals over prompts and seeds. {PAIRED}"
)
BASE, OURS = "no tokens", "AGSM"


@dataclass(frozen=True)
class Sweep:
    """A setting that is varied."""

    table: int
    label: str
    line: bool
    """Whether its values have an order that a line may follow."""
    rows: Mapping[str, str]
    """Value of the setting -> key of the table's row."""
    published: Mapping[str, Any]
    """The backbone (`group`), and table and row (`base`) of what it does alone."""
    measured: Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    source: Source
    y: Axis


@dataclass(frozen=True)
class Ablations:
    title: str
    sweeps: tuple[Sweep, ...]
    measures: tuple[Measure, ...]

    @property
    def fill(self) -> str:
        """The command that measures what is missing."""
        return " ".join(["agsm-bench reproduce", *(f"--table {sweep.table}" for sweep in self.sweeps)])

    @property
    def recipes(self) -> list[Recipe]:
        """Of all measured points."""
        cells, column = Cells(()), next(m.y.metric for m in self.measures if m.source == "measured")
        rows = [(s.table, row) for s in self.sweeps for row in s.rows.values()]
        rows += [s.measured["base"] for s in self.sweeps]
        return [cells.measured(table, row, column).recipe for table, row in rows]

    def points(self, runs: Sequence[Run]) -> list[Point]:
        """The varied setting's, and at each of its values the backbone's alone."""
        cells, found = Cells(runs), []
        for sweep, measure in product(self.sweeps, self.measures):
            backbone = getattr(sweep, measure.source)
            places = [(OURS, x, (sweep.table, row)) for x, row in sweep.rows.items()]
            places += [(BASE, x, tuple(backbone["base"])) for x in sweep.rows]
            for series, x, where in places:
                panel = (_name(sweep, measure), measure.source, backbone["group"], series)
                found.append(cells.point(*panel, Value(sweep.label, x), *where, measure.y.metric))
        return found

    def draw(self, points: Sequence[Point], path: Path) -> None:
        """A grid: settings side by side, measures below each other."""
        note = "\n".join(filter(None, [NOTE, missing_note(points, self.fill)]))
        with sheet(path, self.title, 1.0 + 1.6 * len(self.measures), note) as figure:
            shape = len(self.measures), len(self.sweeps)
            grid = figure.subplots(*shape, squeeze=False)
            for axes, (measure, sweep) in zip(grid.flat, product(self.measures, self.sweeps), strict=True):
                name = _name(sweep, measure)
                own = [point for point in points if point.panel == name and not point.missing]
                _draw(axes, sweep, measure.y, own, self.fill)
                axes.set_title(f"{getattr(sweep, measure.source)['group']}, {measure.source}")
            for axes, sweep in zip(grid[-1], self.sweeps, strict=True):
                axes.set_xlabel(f"{sweep.label} (Table {sweep.table})")
            for axes, measure in zip(grid[:, 0], self.measures, strict=True):
                axes.set_ylabel(measure.y.label)
            figure.align_ylabels(grid[:, 0])
            legend(figure, list(grid.flat))


def load() -> Ablations:
    """The figure that ships. Raises MissingError: its file is damaged."""
    path = results_dir() / "tables" / "figure_ablations.toml"
    with readable(path):
        data = checked(tomllib.loads(path.read_text(encoding="utf-8")))
        measures = [
            Measure(each["source"], Axis(each["column"], each["label"], each.get("scale", 1.0)))
            for each in data["measures"]
        ]
        return Ablations(data["title"], tuple(Sweep(**spec) for spec in data["sweeps"]), tuple(measures))


def _name(sweep: Sweep, measure: Measure) -> str:
    return f"Table {sweep.table}, {measure.y.label}"


def _draw(axes: Axes, sweep: Sweep, y: Axis, points: Sequence[Point], fill: str) -> None:
    """Values of the setting stand at equal distances."""
    if not points:
        empty(axes, fill)
        return
    at = {x: place for place, x in enumerate(sweep.rows)}
    base = [point for point in points if point.series == BASE]
    if base:
        _level(axes, y, base[0])
    ours = [point for point in points if point.series == OURS]
    if ours:
        look = LOOKS[OURS]
        places, values = [at[str(p.x.value)] for p in ours], [y.of(p.y) for p in ours]
        form = look.marker + (look.dash if sweep.line else "")
        axes.plot(places, values, form, color=look.color, label=OURS, zorder=3)
        for place, point in zip(places, ours, strict=True):
            whisker(axes, place, y, point.y, look.color)
    axes.set_xticks(list(at.values()), list(at))
    axes.set_xlim(-0.4, len(at) - 0.6)


def _level(axes: Axes, y: Axis, base: Point) -> None:
    look = LOOKS[BASE]
    axes.axhline(y.of(base.y), color=look.color, linestyle=look.dash, label=BASE)
    if ends := y.ends(base.y):
        axes.axhspan(*ends, color=look.color, alpha=0.15, linewidth=0)
