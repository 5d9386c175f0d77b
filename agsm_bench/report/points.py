"""The points of a figure exactly as they are drawn: a line of CSV, an object of JSON, a cell of a terminal's table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agsm_bench.report.commands import commands
from agsm_bench.report.csv_cells import guarded
from agsm_bench.report.recipes import Recipe
from agsm_bench.report.runs import Cell
from agsm_bench.report.tables import load_paper
from agsm_bench.terminal import plain_console

if TYPE_CHECKING:
    from rich.table import Table

Source = Literal["published", "measured"]
WIDTH = 120
"""Columns of a terminal's table."""
ROWS = 12
"""Lines of such a table that curves are thinned to."""


@dataclass(frozen=True)
class Value:
    """A coordinate."""

    name: str
    """A metric of `summary.json`, a column's key, or what else the axis shows."""
    value: float | str | None = None
    """None where it is not measured."""
    low: float | None = None
    high: float | None = None

    @property
    def number(self) -> float:
        """Of a value that is there and no word."""
        assert self.value is not None
        return float(self.value)


@dataclass(frozen=True)
class Point:
    """What a marker or a bar shows."""

    panel: str
    source: Source
    group: str
    """The backbone or editor."""
    series: str
    """The method, which gives colour and marker."""
    x: Value
    y: Value
    interval: str = ""
    """What `low` and `high` are: bootstrap95, seeds95, or the range over seeds."""
    runs: int = 0
    images: int = 0
    front: bool | None = None
    """Whether no other point of its panel is better in both directions; None where that is not asked."""
    command: str = ""
    """What measures it, where it is missing."""

    @property
    def missing(self) -> bool:
        """Whether there is nothing to draw yet."""
        return self.y.value is None


@dataclass(frozen=True)
class Printed:
    """A value of a published table."""

    table: int
    row: str
    column: str

    @property
    def value(self) -> float:
        """As a number. Raises KeyError, ValueError where the table has none there."""
        # two sections of a table may have rows of the same key
        rows = [row for section in load_paper(self.table).sections for row in section.rows if row.key == self.row]
        return float({name: text for row in rows for name, text in row.values.items()}[self.column])


def measured_value(name: str, cell: Cell | None) -> Value:
    """A table's cell as a coordinate."""
    return Value(name, cell.value, cell.low, cell.high) if cell else Value(name)


def measured_point(
    panel: str, group: str, series: str, x: Value, metric: str, cell: Cell | None, recipe: Recipe
) -> Point:
    """A point whose height is a table's cell, or which says how to measure it."""
    if cell is None:
        return Point(panel, "measured", group, series, x, Value(metric), command=commands(recipe))
    y = measured_value(metric, cell)
    return Point(panel, "measured", group, series, x, y, cell.interval, cell.runs, cell.n)


def record(point: Point) -> dict[str, object]:
    """A point's fields in the order of the columns."""
    axes = {
        f"{axis}_{key}".removesuffix("_value"): getattr(value, key)
        for axis, value in (("x", point.x), ("y", point.y))
        for key in ("name", "value", "low", "high")
    }
    where = {key: getattr(point, key) for key in ("panel", "source", "group", "series")}
    return where | axes | {key: getattr(point, key) for key in ("interval", "runs", "images", "front", "command")}


def to_csv(points: Sequence[Point]) -> str:
    """A line a point; what there is not is an empty field."""
    text = io.StringIO()
    rows = [record(point) for point in points]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guarded(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def to_json(figure: str, title: str, points: Sequence[Point]) -> str:
    """The same fields; what there is not is null."""
    data = {"schema": 1, "figure": figure, "title": title, "points": [record(point) for point in points]}
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def to_text(title: str, points: Sequence[Point]) -> str:
    """A table a panel, with intervals; long curves are thinned."""
    from rich.table import Table

    console = plain_console(highlight=False, width=WIDTH)
    with console.capture() as captured:
        console.print(title)
        for panel, source in dict.fromkeys((point.panel, point.source) for point in points):
            own = [point for point in points if (point.panel, point.source) == (panel, source)]
            table = Table(title=f"{panel}, {source}", title_justify="left", box=None)
            (_pivot if own[0].front is None else _pairs)(table, own)
            console.print(table)
    return captured.get()


def _pairs(table: Table, points: Sequence[Point]) -> None:
    """A row a point."""
    for name in ("", "", points[0].x.name, points[0].y.name, "", "front"):
        table.add_column(name)
    for point in points:
        shown = (point.group, point.series, _number(point.x), _number(point.y))
        table.add_row(*shown, _runs(point), "yes" if point.front else "")


def _pivot(table: Table, points: Sequence[Point]) -> None:
    """A row a place on the x axis, a column a series."""
    places = list(dict.fromkeys(str(point.x.value) for point in points))
    if len(places) > ROWS:
        places = places[:: -(-len(places) // ROWS)]
        table.caption, table.caption_justify = "thinned; every point: --format csv", "left"
    series = list(dict.fromkeys(point.series for point in points))
    for name in (points[0].x.name, *series):
        table.add_column(name)
    cells = {(str(point.x.value), point.series): " ".join((_number(point.y), _runs(point))) for point in points}
    for place in places:
        table.add_row(place, *(cells.get((place, name), "") for name in series))


def _number(value: Value) -> str:
    if not isinstance(value.value, float):
        return "-"
    return f"{value.value:.4g}" + (f" ({value.low:.4g} to {value.high:.4g})" if value.low is not None else "")


def _runs(point: Point) -> str:
    return f"{point.runs} run" + "s" * (point.runs > 1) if point.runs else ""
