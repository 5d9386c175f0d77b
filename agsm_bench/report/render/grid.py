"""A section of a joined table as a grid of text, which Markdown, LaTeX, HTML and the terminal draw each in their way.

Published and measured values never share a grid, so they never share a column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from agsm_bench.report.derived import (
    Mark,
    difference_to_paper,
    measured_difference,
    measured_groups,
    measured_marks,
    published_difference,
    published_groups,
    published_marks,
)
from agsm_bench.report.tables import Column, JoinedSection, Measured, MeasuredRow, Row, Section

ARROWS = {"up": "↑", "down": "↓", None: ""}
NOTHING = "-"
DELTA = "Δ "
TO_PAPER = "to paper "
GAP = 2
"""Characters between columns, where they are characters."""


@dataclass(frozen=True)
class Entry:
    """A cell: its value, and what is said below it."""

    lines: tuple[str, ...]
    mark: Mark = ""


@dataclass(frozen=True)
class Head:
    """Of a column of values."""

    label: str
    arrow: str
    group: str
    """The heading above it, which neighbours share; empty where there is none."""
    is_number: bool
    room: int
    """Characters of its widest entry, or of a longer word of its heading."""


@dataclass(frozen=True)
class Line:
    """A row."""

    names: tuple[tuple[str, ...], ...]
    """Under each of `Grid.corner`, the name first and what is said of it."""
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Grid:
    title: str
    kind: str
    """What all its values are, e.g. `measured on shapes`."""
    corner: tuple[str, ...]
    """Headings of the columns with names."""
    heads: tuple[Head, ...]
    blocks: tuple[tuple[str, tuple[Line, ...]], ...]
    """The backbone, empty where there is but one, and its rows."""

    def of_columns(self, chosen: slice) -> Grid:
        """The same rows with some of the columns."""
        blocks = tuple(
            (name, tuple(replace(line, entries=line.entries[chosen]) for line in lines)) for name, lines in self.blocks
        )
        return replace(self, heads=self.heads[chosen], blocks=blocks)

    def cut(self, height: int) -> Iterator[Grid]:
        """The grid, or one of each block where it has more than `height` lines of text."""
        lines = [line for _, own in self.blocks for line in own]
        whole = sum(max(len(texts) for texts in (*line.names, *(e.lines for e in line.entries))) for line in lines)
        yield from [self] if whole <= height else (replace(self, blocks=(block,)) for block in self.blocks)


def grids(section: JoinedSection, domain: str) -> list[Grid]:
    """All that is shown of a section: the published values, the settings used, the measured values."""
    found = [published_grid(section)]
    found += [used_grid(section.used, domain)] if section.used else []
    return [*found, *([measured_grid(section, section.measured)] if section.measured else [])]


def published_grid(section: JoinedSection) -> Grid:
    """The paper's numbers, as it lays them out."""
    published = section.published
    groups = {row.group for row in published.rows}
    grouped = len(groups) > 1 and any(row.group != row.label for row in published.rows)
    marks = published_marks(published)
    blocks = tuple(
        (group if grouped else "", tuple(_published_line(section, row, marks) for row in rows))
        for group, rows in published_groups(published)
    )
    title = f"{published.title}, published" + (f" ({groups.pop()})" if len(groups) == 1 else "")
    return Grid(title, "published", (published.row_header,), _heads(published.columns, blocks), blocks)


def used_grid(used: Section, domain: str) -> Grid:
    """The settings of our trainings; what differs from the paper is marked as the best elsewhere is."""
    rows = tuple(
        Line(
            ((row.label, *row.cite.split(": ")),),
            tuple(Entry((value,), "best" if key in row.marks else "") for key, value in row.values.items()),
        )
        for row in used.rows
    )
    return Grid(used.title, f"used on {domain}", (used.row_header,), _heads(used.columns, (("", rows),)), (("", rows),))


def measured_grid(section: JoinedSection, measured: Measured) -> Grid:
    """What our runs measured, with intervals and differences."""
    marks = measured_marks(measured)
    blocks = tuple(
        (name, tuple(_measured_line(section, measured, row, marks) for row in rows))
        for name, rows in measured_groups(measured)
    )
    kind = f"measured on {measured.domain}"
    # an arrow and the domain stand below each label
    heads = _heads(measured.columns, blocks, least=len(f"↑ {measured.domain}"))
    return Grid(f"Measured on {measured.domain}", kind, ("Tokens", "Runs"), heads, blocks)


def spans(heads: Sequence[Head]) -> Iterator[tuple[str, int]]:
    """The headings above the columns and how many neighbours each of them covers."""
    for group, own in groupby(heads, key=lambda head: head.group):
        yield group, len(list(own))


def fitting(grid: Grid, width: int) -> Iterator[Grid]:
    """The grid cut between columns into grids whose columns are no wider than `width` together."""
    start = 0
    for index in range(1, len(grid.heads)):
        if sum(GAP + room for room in rooms(grid.heads[start : index + 1])) > width:
            yield grid.of_columns(slice(start, index))
            start = index
    yield grid.of_columns(slice(start, None))


def rooms(heads: Sequence[Head]) -> list[int]:
    """The width of each column, where the heading that neighbours share has room, too."""
    widths, first = [head.room for head in heads], 0
    for group, count in spans(heads):
        together = sum(widths[first : first + count]) + GAP * (count - 1)
        widths[first] += max(0, len(group) - together)
        first += count
    return widths


def _heads(columns: Sequence[Column], blocks: Sequence[tuple[str, Sequence[Line]]], least: int = 1) -> tuple[Head, ...]:
    lines = [line for _, own in blocks for line in own]
    columns_of_entries = zip(*(line.entries for line in lines), strict=True)
    return tuple(
        Head(
            c.label,
            ARROWS[c.direction],
            c.group,
            c.direction is not None or c.metric is not None,
            max(least, _room(c, entries)),
        )
        for c, entries in zip(columns, columns_of_entries, strict=True)
    )


def _room(column: Column, entries: Sequence[Entry]) -> int:
    words = column.label.replace("/", "/ ").split()
    return max(*map(len, words), *(len(text) for entry in entries for text in entry.lines))


def signed(difference: float, decimals: int) -> str:
    """With its sign, but for what is rounded to zero."""
    return f"{difference:+.{decimals}f}" if round(difference, decimals) else f"{0:.{decimals}f}"


def _published_line(section: JoinedSection, row: Row, marks: dict[tuple[str, str], Mark]) -> Line:
    entries = []
    for column in section.published.columns:
        difference = published_difference(section, row, column)
        below = (DELTA + difference,) if difference else ()
        entries.append(Entry((row.values[column.key], *below), marks.get((row.key, column.key), "")))
    return Line(((row.label, *([f"({row.cite})"] if row.cite else [])),), tuple(entries))


def _measured_line(
    section: JoinedSection, measured: Measured, row: MeasuredRow, marks: dict[tuple[str, str], Mark]
) -> Line:
    entries = []
    for column in measured.columns:
        mark = marks.get((row.key, column.key), "")
        entries.append(Entry(_measured_lines(section, measured, row, column), mark))
    return Line((_names(row), _runs(row)), tuple(entries))


def _measured_lines(section: JoinedSection, measured: Measured, row: MeasuredRow, column: Column) -> tuple[str, ...]:
    cell, places = row.cells.get(column.key), column.decimals
    if cell is None:
        return (NOTHING,)
    lines = [f"{cell.value:.{places}f}", f"{cell.low:.{places}f}–{cell.high:.{places}f}"]
    if (difference := measured_difference(section, row, column)) is not None:
        lines.append(DELTA + signed(difference, places))
    if (difference := difference_to_paper(measured, row, column)) is not None:
        lines.append(TO_PAPER + signed(difference, places))
    return tuple(lines)


def _names(row: MeasuredRow) -> tuple[str, ...]:
    tuned, place = row.recipe.variant, [f"for {row.paper.label}"] if row.paper else []
    on = [f"on {tuned.trainer}"] if tuned else []
    return (row.recipe.trainer or "no tokens", *on, *row.options, *place)


def _runs(row: MeasuredRow) -> tuple[str, ...]:
    if not row.cells:
        return (NOTHING,)
    return (f"{len(row.runs)} run" + "s" * (len(row.runs) > 1), f"n {min(run.expected for run in row.runs)}")
