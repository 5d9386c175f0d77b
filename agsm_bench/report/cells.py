"""Cells of the paper's tables as points of figures: a figure shows what the table of the same runs says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from agsm_bench.report.points import Point, Printed, Source, Value, measured_point
from agsm_bench.report.runs import Run
from agsm_bench.report.tables import MeasuredRow, join


class Cells:
    """The tables of some runs on shapes."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self._joined = cache(lambda table: join(table, "shapes", runs))

    def measured(self, table: int, row: str, column: str) -> MeasuredRow:
        """The row of a table, of ours or beside the paper's, that has a column. Raises KeyError: there is none."""
        # two sections of a table may have rows of the same key
        sections = [section.measured for section in self._joined(table).sections if section.measured]
        having = [section for section in sections if column in {each.key for each in section.columns}]
        return {each.key: each for section in having for each in section.rows}[row]

    def point(
        self, panel: str, source: Source, group: str, series: str, x: Value, table: int, row: str, column: str
    ) -> Point:
        """A cell's point, which says how to measure it where the cell is empty."""
        if source == "published":
            return Point(panel, source, group, series, x, Value(column, Printed(table, row, column).value))
        found = self.measured(table, row, column)
        return measured_point(panel, group, series, x, column, found.cells.get(column), found.recipe)
